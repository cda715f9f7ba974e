"""The judge: a small CNN that reads from a picture which objects are there, how many, which is leftmost and rightmost, the
place, the light and the style. `migm eval` runs it; its features before the head are those of the Frechet distance.

It learns from endless labelled scenes of all splits, so that it can judge combinations that the models never saw.
Pictures are in [-1, 1].

Train it: `python training/judge.py --config small --out runs/small`.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import common
import scenes
from scenes import Scenes, source_of
from tokenizer import EPS, Downsample, ResnetBlock

GROUPS = 16
COUNTS = 3  # one, two, three objects


class Judge(nn.Module):
    """Pictures `[n, 3, size, size]` to logits `[n, outputs]`; `features` are the pooled ones before the head."""

    def __init__(self, channels, sizes):
        super().__init__()
        self.sizes = sizes  # of each group of outputs, in order
        groups = min(GROUPS, channels[0])
        self.groups = groups
        self.conv_in = nn.Conv2d(3, channels[0], 3, padding=1)
        ins = (channels[0], *channels[:-1])
        self.blocks = nn.ModuleList(ResnetBlock(i, o, groups) for i, o in zip(ins, channels, strict=True))
        self.downs = nn.ModuleList(Downsample(c) for c in channels[:-1])
        self.norm_out = nn.GroupNorm(groups, channels[-1], EPS)
        self.head = nn.Linear(channels[-1], sum(sizes))

    def features(self, x):
        x = self.conv_in(x)
        for level, block in enumerate(self.blocks):
            x = block(x)
            if level < len(self.downs):
                x = self.downs[level](x)
        return F.silu(self.norm_out(x)).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


def sizes(header):
    """Outputs: present, leftmost, rightmost, count, place, light, style."""
    nouns = len(header["nouns"])
    return (nouns, nouns, nouns, COUNTS, len(header["places"]), len(header["lights"]), len(header["styles"]))


def build(metadata, config):
    """For `common.load_weights`."""
    return Judge(config.judge, sizes(metadata["header"]))


def pictures(pixels, device):
    """u8 `[n, size, size, 3]` to what the judge reads."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def targets(labels, nouns, device):
    """`present` `[n, nouns]` and the classes of the other outputs."""
    rows = torch.from_numpy(labels.astype("int64")).to(device)
    present = F.one_hot(rows[:, scenes.NOUN_A], nouns)
    second = rows[:, scenes.NOUN_B]
    present = present + F.one_hot(second.clamp(min=0), nouns) * (second >= 0)[:, None]
    columns = (scenes.LEFTMOST, scenes.RIGHTMOST, scenes.COUNT, scenes.PLACE, scenes.LIGHT, scenes.STYLE)
    classes = [rows[:, column] - (1 if column == scenes.COUNT else 0) for column in columns]
    return present.clamp(max=1).float(), classes


NAMES = ("objects", "leftmost", "rightmost", "count", "place", "light", "style")


def correct(logits, present, classes, shape):
    """Whether each output is right, `[n, 7]`; objects: exactly those that are there, as many as there are the likeliest."""
    parts = logits.split(shape, 1)
    kinds = present.sum(1, keepdim=True).long()
    order = parts[0].argsort(1, descending=True).argsort(1)
    objects = ((order < kinds) == present.bool()).all(1)
    return torch.stack([objects, *(part.argmax(1) == wanted for part, wanted in zip(parts[1:], classes, strict=True))], 1)


def write_model(folder, judge, header, config):
    """The folder that `migm eval` opens."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    common.save_weights(folder / "judge.safetensors", judge, {})
    values = {"architecture": "scene-judge", "size": config.size, "channels": list(config.judge), "groups": judge.groups}
    values |= {name: header[name] for name in ("nouns", "places", "lights", "styles")}
    common.write_whole(folder / "config.json", lambda path: Path(path).write_text(json.dumps(values, indent=2) + "\n"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    args = parser.parse_args()
    config = common.prepare(args)
    held_stream = Scenes(source_of(args), config.size, config.nouns, args.seed + 21, which="all")
    held = held_stream.take(min(512, 8 * config.size))
    header = {name: getattr(held_stream.header, name) for name in ("nouns", "places", "lights", "styles")}
    held_stream.close()
    shape = sizes(header)
    model = Judge(config.judge, shape).to(args.device)
    trainer = common.Trainer(args, "judge", model, {"config": config.as_dict(), "header": header}, (0.9, 0.99), 0.01)
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed + 20, trainer.position, which="all")
    print(f"judge: {sum(p.numel() for p in model.parameters()):,} parameters, {args.precision} on {common.device_name(args)}")
    net = torch.compile(model) if args.compile else model

    def loss_of():
        batch = stream.take(trainer.batch)
        trainer.position = stream.position
        present, classes = targets(batch.labels, shape[0], args.device)
        with common.autocast(args):
            logits = net(pictures(batch.pixels, args.device)).float()
        parts = logits.split(shape, 1)
        # Summed over the nouns: a mean would make the output of one noun in many all but silent.
        losses = [F.binary_cross_entropy_with_logits(parts[0], present, reduction="none").sum(1).mean()]
        losses += [F.cross_entropy(part, wanted) for part, wanted in zip(parts[1:], classes, strict=True)]
        return sum(losses), {}

    @torch.no_grad()
    def validate():
        present, classes = targets(held.labels, shape[0], args.device)
        x = pictures(held.pixels, args.device)
        logits = torch.cat([trainer.average(part) for part in x.split(64)]).float()
        shares = correct(logits, present, classes, shape).float().mean(0)
        return dict(zip(NAMES, shares.tolist(), strict=True))

    trainer.run(loss_of, validate)
    stream.close()
    write_model(args.out / "judge", trainer.average, header, config)


if __name__ == "__main__":
    main()
