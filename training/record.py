"""Records what PyTorch computes with trained weights, in the form that `migm verify` replays.

`python training/record.py --arch dimoo --out runs/small --to text.safetensors`, then `migm verify text.safetensors`: parts of
the model, and whole sampling runs with their noise, vanilla and with the shortcut; with `--accelerators` by those that need no
training as well (accelerators.py). Weights are those of the export, in f16, and computed in f32. Noise is drawn again where a draw
or a choice would win by so little that rounding could turn it.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import accelerators
import base
import common
import export
import sampling

DRAW_MARGIN, CHOICE_MARGIN = 0.02, 0.006


def apart(values, margin):
    """Where the largest of the last axis leads by at least `margin`."""
    best = values.topk(2, -1).values
    return best[..., 0] - best[..., 1] >= margin


def clear_noise(run, union=0):
    """Noise for a step of a run under which every draw and choice is clear, and that of so many tokens for a union."""
    positions, _ = run.masked()
    logits = run.logits(positions)
    z = logits * run.settings.get("softmax_temperature", 1.0)
    token = sampling.gumbel(*z.shape)
    scale = run.settings.get("draw_temperature", 1.0)
    while not (clear := apart(z + scale * token, DRAW_MARGIN)).all():
        token[~clear] = sampling.gumbel(int((~clear).sum()), z.shape[-1])
    _, temperature = sampling.numbers(run.arch, run.settings, run.step, run.steps)
    counts = {run.counts[run.step], union or run.counts[run.step]}
    choice = sampling.gumbel(*positions.shape)
    for row in range(run.batch):
        for _ in range(1000):
            _, scores, _ = run.choose(logits, positions, token, choice)
            order = scores[row].sort(descending=True).values
            if all(count in (0, len(order)) or order[count - 1] - order[count] >= CHOICE_MARGIN for count in counts):
                break
            choice[row] = sampling.gumbel(positions.shape[1])
            if temperature == 0:  # noise of the choice is silent here: draw others
                token[row] = sampling.gumbel(*token[row].shape)
        else:
            raise SystemExit("error: no clear choice was found in 1,000 draws; record another seed")
    return token, choice


class Shortcut:
    """A learned shortcut, as an accelerator."""

    def __init__(self, student):
        self.student = student

    def full(self, run):
        return run.full()

    def predicted(self, run):
        return sampling.predict(self.student, run)

    def allowed(self, run):
        return None


def trace(out, index, model, arch, condition, vocabulary, settings, method):
    """One whole run, into `out`: `method` gives an accelerator of a run and its full steps."""
    name = f"trace.{index}."
    run = sampling.Run(model, arch, condition, vocabulary, settings)
    accelerator, full_steps = method(run)
    tokens, choices, draws, masks, features, full_ids, before = [], [], [], [], [], [], []
    for full in full_steps:
        positions, _ = run.masked()
        before.append(positions.shape[1])
        if full:
            full_ids.append(run.ids()[0][0])
        run.features = accelerator.full(run) if full else accelerator.predicted(run)
        run.allowed = accelerator.allowed(run)
        union = accelerator.sizes[run.step] if isinstance(accelerator, accelerators.Recap) else 0
        token, choice = clear_noise(run, union)
        if union:
            accelerator.choose(run, positions, run.choose(run.logits(positions), positions, token, choice)[1])
        drawn, _ = run.reveal(token, choice)
        features.append(run.features[0] if arch == "dimoo" else torch.cat(run.features))
        if arch == "dimoo":
            tokens.append(token[0])
            choices.append(choice[0])
            continue
        # MaskGIT's recordings have all positions; only masked ones are read.
        at = (torch.arange(run.batch)[:, None], positions)
        everywhere = torch.zeros(run.batch, model.tokens, model.codebook)
        everywhere[at] = token
        tokens.append(everywhere)
        everywhere = torch.zeros(run.batch, model.tokens, dtype=torch.float64)
        everywhere[at] = choice.double()
        choices.append(everywhere)
        codes = run.codes.clone().int()
        codes[at] = drawn.int()
        draws.append(codes)
        masks.append((run.codes == model.codebook).to(torch.uint8))
    if arch == "dimoo":
        out |= {name + "gumbel_token": torch.cat(tokens), name + "gumbel_choice": torch.cat(choices)}
        out |= {name + "masked_before": torch.tensor(before).int(), name + "codes": run.codes.int()}
        out |= {name + "full_step_ids": torch.stack(full_ids).int()}
        # Those of the sequence with the prompt.
        out |= {name + "features": torch.stack(features)}
    else:
        out |= {name + "gumbel_token": torch.stack(tokens), name + "gumbel_choice": torch.stack(choices)}
        out |= {name + "pred_codes": torch.stack(draws), name + "masked_after": torch.stack(masks)}
        # Where there is no guidance, migm makes no features of sequences without a class: tokens alone are compared.
        if "guidance_interval" not in settings:
            out |= {name + "features": torch.stack(features)}


# Runs by accelerators that need no training, and by what else changes a run: what `migm verify` is told of each.
OTHERS = [
    {"predictor": "taylor:1", "refresh": "list:0,1,4,6"},
    {"predictor": "taylor:2", "refresh": "list:0,2,3,6"},
    {"predictor": "taylorseer:0", "refresh": "list:0,4"},
    {"predictor": "taylorseer:2", "refresh": "list:0,1,4,7"},
    {"predictor": "dllm-cache:100,7,0.25", "refresh": "list:0"},
    {"predictor": "dllm-cache:2,3,0.4", "refresh": "list:0,7"},
    {"predictor": "dllm-cache:2,3,0", "refresh": "list:0"},
    {"predictor": "recap", "refresh": "list:0,1,3,5,7"},
    {"predictor": "recap", "refresh": "list:0,4"},
    {"refresh": "every", "order": "halton"},
    {"refresh": "every", "guidance_interval": [0.23, 0.77], "guidance": 12.0},
    {"predictor": "recap", "refresh": "list:0,3", "order": "halton"},
]
OTHER_STEPS = 9


def method_of(other):
    """The accelerator of one of these, and its full steps."""

    def method(run):
        if other["refresh"] == "every":
            return Shortcut(None), [True] * run.steps
        listed = {int(step) for step in other["refresh"].removeprefix("list:").split(",")}
        full = [step in listed for step in range(run.steps)]
        return accelerators.of(other["predictor"], run, full), full

    return method


def clear_trace(*arguments):
    """A trace whose choices of rows are clear, if there is one."""
    for _ in range(100):
        try:
            return trace(*arguments)
        except accelerators.Unclear:
            continue
    raise SystemExit("error: no clear run was found in 100; record another seed")


def example(run):
    """A run half way: new ids, their rows and the mask ratio of the conditional sequence."""
    run.full()
    for _ in range(run.steps // 2):
        run.full()
        run.reveal()
    ids, rows = run.new()[0]
    return run.features[0], ids, rows, torch.full((run.batch,), run.masked()[1])


def without(student):
    """The official code's flags of what a shortcut is trained without."""
    return {} if student.options["cross_attention"] else {"no_ca": True}


@torch.no_grad()
def record(run_folder, arch, path, seed=0, budget=0, shortcut_name="", others=()):
    """Writes a recording of a run's models; `others` are runs as in OTHERS."""
    torch.manual_seed(seed)
    model, metadata, config, student, vq = export.load(run_folder, arch, shortcut_name=shortcut_name)
    for module in (model, vq, *([student] if student else [])):
        module.load_state_dict({name: value.half().float() for name, value in module.state_dict().items()})
    out = {}
    parts = {"dimoo" if arch == "dimoo" else "maskgit": model, "shortcut": student}
    parts |= {"vq": vq} if arch == "dimoo" else {}
    for part, module in parts.items():
        if module is not None:
            out |= {f"{part}.{name}": value.half().contiguous() for name, value in module.state_dict().items()}
    header, sizes = metadata["header"], config.shortcut
    vocabulary = base.Vocabulary(header["words"])
    budgets = [0] + ([budget or max(2, config.text_sampling["steps"] // 4)] if student else [])
    if arch == "dimoo":
        settings = config.text_sampling
        condition = torch.randint(len(vocabulary.words), (1, 7))
        about = export.text_transformer(model, config, vocabulary) | {"vq": export.tokenizer_config(config)}
        about |= {"sc_blocks": sizes.blocks, "ratio": sizes.ratio} | without(student) if student else {}
        kept = {"steps": settings["steps"], "temp": settings["choice_temperature"], "cfg": settings["guidance"]}
        settings = settings | {"draw_temperature": settings["choice_temperature"]}  # recordings have one for both
        codes = torch.randint(model.codebook + 1, (1, model.tokens))
        ids = model.sequence(condition, codes, vocabulary)
        features = model(ids)
        out |= {"io.base.ids": ids.int(), "io.base.features": features}
        out |= {"io.base.logits": torch.nn.functional.linear(features, model.net.ff_out.weight)}
        out |= {"io.prompt_ids": condition[0].int(), "io.uncond_ids": torch.tensor([vocabulary.uncondition]).int()}
        codes = torch.randint(model.codebook, (1, model.tokens))
        images = torch.rand(1, 3, config.size, config.size)
        out |= {"io.vq.codes": codes.int(), "io.vq.image": vq.decode(codes, config.grid), "io.vq.enc_in": images}
        out |= {"io.vq.enc_z": vq.latents(images), "io.vq.enc_codes": vq.encode(images).int()}
        traces = [kept | {"budget": b} for b in budgets]
    else:
        settings = config.class_sampling
        labels = torch.randint(model.classes, (2,))
        condition = model.class_id(labels)
        about = export.class_transformer(model, config)
        sc = {"blocks": sizes.blocks, "ratio": sizes.ratio, "heads": model.heads}
        about |= {"sc": sc | without(student)} if student else {}
        codes = torch.randint(model.codebook + 1, (2, model.tokens))
        features = model(torch.cat((codes, condition[:, None]), 1))
        out |= {"io.base.ids": codes.int(), "io.base.labels": labels.int(), "io.base.features": features}
        everywhere = torch.arange(model.tokens).expand(2, -1)
        out |= {"io.base.drop": torch.zeros(2, dtype=torch.uint8)}
        out |= {"io.base.logits": model.logits(features[:, : model.tokens], everywhere)}
        kept = {"steps": settings["steps"], "batch": 2, "labels": labels.tolist(), "sched": settings["schedule"]}
        kept |= {"sm_temp": settings["softmax_temperature"], "w": settings["guidance"], "r_temp": settings["choice_temperature"]}
        traces = [kept | {"budget": b} for b in budgets]
    if student:
        features, ids, rows, ratio = example(sampling.Run(model, arch, condition, vocabulary, settings))
        new_map = torch.zeros(features.shape[:2], dtype=torch.uint8).scatter_(1, rows, 1)
        out |= {"io.shortcut.features": features, "io.shortcut.new_ids": ids.int(), "io.shortcut.new_map": new_map}
        out |= {"io.shortcut.mask_ratio": ratio, "io.shortcut.out": student(features, model, ids, rows, ratio)}
    for index, budget_ in enumerate(budgets):
        method = lambda run, b=budget_: (Shortcut(student), sampling.full_steps(run.steps, b))  # noqa: E731
        trace(out, index, model, arch, condition, vocabulary, settings, method)
    for other in others:
        changed = settings | {"steps": OTHER_STEPS} | other
        clear_trace(out, len(traces), model, arch, condition, vocabulary, changed, method_of(other))
        told = {"steps": OTHER_STEPS, "cfg" if arch == "dimoo" else "w": changed["guidance"]}
        traces.append(kept | told | other)
    about["traces"] = traces
    tensors = {name: value.contiguous().clone() for name, value in out.items()}
    common.write_whole(path, lambda file: save_file(tensors, file, {"config": json.dumps(about)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=("dimoo", "maskgit"))
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--to", required=True, type=Path, help="the recording")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=0, help="full steps of the accelerated run (default: a quarter)")
    parser.add_argument("--accelerators", action="store_true", help="runs by accelerators that need no training, too")
    args = parser.parse_args()
    record(args.out, args.arch, args.to, args.seed, args.budget, others=OTHERS if args.accelerators else ())


if __name__ == "__main__":
    main()
