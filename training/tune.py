"""Guidance and temperatures of a base, by the judge: prints how often sampled scenes show what was asked for, by setting.

What the bases sample with stands in `config.py`, and shortcuts learn from trajectories made with it: tune after the base and
before its shortcut. Prompts are those that the base was validated on.

`python training/tune.py --arch dimoo --config small --out runs/small --guidance 1,2,3 --choice 0.5,1,2`
"""

import argparse

import torch

import base
import common
import judge
import sampling
import tokenizer
import tokens
import watch

AT_ONCE = 32


def numbers(text):
    """`1,2,3` as floats."""
    return [float(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--arch", required=True, choices=("dimoo", "maskgit"))
    parser.add_argument("--guidance", type=numbers, default=[1.0, 2.0, 3.0], metavar="W,W")
    parser.add_argument("--choice", type=numbers, metavar="T,T", help="temperatures of the choice (default: the configuration's)")
    parser.add_argument("--draw", type=numbers, metavar="T,T", help="text: temperatures of the draw; class: the draw's sharpness")
    parser.add_argument("--sampling-steps", type=int, help="steps of sampling (default: the configuration's)")
    parser.add_argument("--count", type=int, default=128, help="pictures of each setting")
    args = parser.parse_args()
    config, arch = common.prepare(args), args.arch
    owner, metadata = common.load_weights(args.out / f"base-{arch}.safetensors", base.build, args.device)
    vq, _ = common.load_weights(args.out / "tokenizer.safetensors", tokenizer.build, args.device)
    critic, about = common.load_weights(args.out / "judge.safetensors", judge.build, args.device)
    held = tokens.Folder(args.out).held()
    if arch == "maskgit":
        held = base.of_one_thing(held)
    vocabulary = base.Vocabulary(metadata["header"]["words"])
    shape = judge.sizes(about["header"])
    start = dict(config.text_sampling if arch == "dimoo" else config.class_sampling)
    start["steps"] = args.sampling_steps or start["steps"]
    sharpness = "draw_temperature" if arch == "dimoo" else "softmax_temperature"

    share = min(1.0, args.count / len(held))
    parts = [part.of(slice(0, max(1, round(share * len(part))))) for part in watch.groups(held, 1000, len(held))]
    parts = [part.of(slice(at, at + AT_ONCE)) for part in parts for at in range(0, len(part), AT_ONCE)]

    @torch.no_grad()
    def judged(settings):
        torch.manual_seed(args.seed)
        marks, shown = [], []
        for part in parts:
            with common.autocast(args):
                condition = base.condition_of(arch, owner, part, vocabulary, args.device)
                codes = sampling.sample(owner, arch, condition, vocabulary, settings)
                shown.append(vq.decode(codes, config.grid).float().clamp(0, 1))
                logits = critic(shown[-1] * 2 - 1).float()
            marks.append(judge.asked(logits, part.labels, shape, caption=arch == "dimoo"))
        return torch.cat(marks).mean(0).tolist(), torch.cat(shown)

    for guidance in args.guidance:
        for choice in args.choice or [start["choice_temperature"]]:
            for draw in args.draw or [start[sharpness]]:
                settings = {**start, "guidance": guidance, "choice_temperature": choice, sharpness: draw}
                shares, pictures = judged(settings)
                named = ", ".join(f"{name} {share:.3f}" for name, share in zip((*judge.NAMES, "all"), shares, strict=True))
                print(f"guidance {guidance:g}, choice {choice:g}, draw {draw:g}: {named}", flush=True)
                name = f"tune-{arch}-{guidance:g}-{choice:g}-{draw:g}.png"
                common.sheet(args.out / name, common.to_bytes(pictures[:32]))


if __name__ == "__main__":
    main()
