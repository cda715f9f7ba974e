"""Records what PyTorch computes with trained weights, in the form that `migm verify` replays.

`python training/record.py --arch dimoo --out runs/small --to text.safetensors`, then `migm verify text.safetensors`: parts of
the model, and whole sampling runs with their noise, vanilla and with the shortcut. Weights are those of the export, in f16,
and computed in f32. Noise is drawn again where a draw or a choice would win by so little that rounding could turn it.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import base
import common
import export
import sampling

DRAW_MARGIN, CHOICE_MARGIN = 0.02, 0.006


def apart(values, margin):
    """Where the largest of the last axis leads by at least `margin`."""
    best = values.topk(2, -1).values
    return best[..., 0] - best[..., 1] >= margin


def clear_noise(run):
    """Noise for a step of a run under which every draw and choice is clear."""
    positions, _ = run.masked()
    logits = run.logits(positions)
    z = logits * run.settings.get("softmax_temperature", 1.0)
    token = sampling.gumbel(*z.shape)
    scale = run.settings.get("draw_temperature", 1.0)
    while not (clear := apart(z + scale * token, DRAW_MARGIN)).all():
        token[~clear] = sampling.gumbel(int((~clear).sum()), z.shape[-1])
    _, temperature = sampling.numbers(run.arch, run.settings, run.step, run.steps)
    count = run.counts[run.step]
    choice = sampling.gumbel(*positions.shape)
    for row in range(run.batch):
        for _ in range(1000):
            _, scores, _ = sampling.choose(logits, run.arch, run.settings, token, choice, temperature, count)
            order = scores[row].sort(descending=True).values
            if count >= len(order) or order[count - 1] - order[count] >= CHOICE_MARGIN:
                break
            choice[row] = sampling.gumbel(positions.shape[1])
            if temperature == 0:  # noise of the choice is silent here: draw others
                token[row] = sampling.gumbel(*token[row].shape)
        else:
            raise SystemExit("error: no clear choice was found in 1,000 draws; record another seed")
    return token, choice


def trace(out, index, model, arch, condition, vocabulary, settings, student, budget):
    """One whole run, into `out`."""
    name = f"trace.{index}."
    run = sampling.Run(model, arch, condition, vocabulary, settings)
    tokens, choices, draws, masks, features, full_ids, before = [], [], [], [], [], [], []
    for full in sampling.full_steps(run.steps, budget):
        positions, _ = run.masked()
        before.append(positions.shape[1])
        if full:
            full_ids.append(run.ids()[0][0])
        run.features = run.full() if full else sampling.predict(student, run)
        token, choice = clear_noise(run)
        drawn, _ = run.reveal(token, choice)
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
        features.append(torch.cat(run.features))
    if arch == "dimoo":
        out |= {name + "gumbel_token": torch.cat(tokens), name + "gumbel_choice": torch.cat(choices)}
        out |= {name + "masked_before": torch.tensor(before).int(), name + "codes": run.codes.int()}
        out |= {name + "full_step_ids": torch.stack(full_ids).int()}
    else:
        out |= {name + "gumbel_token": torch.stack(tokens), name + "gumbel_choice": torch.stack(choices)}
        out |= {name + "pred_codes": torch.stack(draws), name + "masked_after": torch.stack(masks)}
        out |= {name + "features": torch.stack(features)}


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
def record(run_folder, arch, path, seed=0, budget=0, shortcut_name=""):
    """Writes a recording of a run's models."""
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
        trace(out, index, model, arch, condition, vocabulary, settings, student, budget_)
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
    args = parser.parse_args()
    record(args.out, args.arch, args.to, args.seed, args.budget)


if __name__ == "__main__":
    main()
