"""The judge: a small CNN that reads from a picture which things stand at the left and the right, in which colours, how many
there are, the place, the light, and whether they are whole. `migm eval` runs it; its features before the head are those of the
Frechet distance.

It learns from endless labelled scenes of all splits, so that it can judge combinations that the models never saw. A quarter of
them are torn: one thing is patched along the grid of tokens from two colours or two nouns, as pictures are whose tokens do not
agree. Of these it learns the rest, not noun and colour. Pictures are in [-1, 1], and softened a little at random, so that a
tokenizer's pictures are read as well.

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
from layers import EPS, Downsample, ResnetBlock
from scenes import Scenes, source_of

GROUPS = 16
COUNTS = 3  # one, two, three things
TORN = 0.25
# The outputs in order; those before `count` say nothing of torn scenes.
NAMES = ("left_noun", "right_noun", "left_colour", "right_colour", "count", "place", "light", "whole")
OF_WHOLE = 4
SOFTENED = 0.5  # share of pictures


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

    def levels(self, x):
        """Features of each level, from fine to coarse: what two pictures are compared by."""
        x, found = self.conv_in(x), []
        for level, block in enumerate(self.blocks):
            x = block(x)
            found.append(x)
            if level < len(self.downs):
                x = self.downs[level](x)
        return found

    def features(self, x):
        return F.silu(self.norm_out(self.levels(x)[-1])).mean((2, 3))

    def forward(self, x):
        return self.head(self.features(x))


def sizes(header):
    """How many classes each output has."""
    nouns, colours = len(header["nouns"]), len(header["colours"])
    return (nouns, nouns, colours, colours, COUNTS, len(header["places"]), len(header["lights"]), 2)


def build(metadata, config):
    """For `common.load_weights`."""
    return Judge(config.judge, sizes(metadata["header"]))


def pictures(pixels, device):
    """u8 `[n, size, size, 3]` to what the judge reads."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def targets(labels, device):
    """The class of each output, `[n, 8]`."""
    rows = torch.from_numpy(labels.astype("int64")).to(device)
    left, right = rows[:, scenes.LEFTMOST], rows[:, scenes.RIGHTMOST]
    colour = lambda noun: torch.where(noun == rows[:, scenes.NOUN_A], rows[:, scenes.COLOUR_A], rows[:, scenes.COLOUR_B])  # noqa: E731
    columns = [left, right, colour(left), colour(right), rows[:, scenes.COUNT] - 1]
    return torch.stack([*columns, rows[:, scenes.PLACE], rows[:, scenes.LIGHT], 1 - rows[:, scenes.TORN]], 1)


def correct(logits, classes, shape):
    """Whether each output is right, `[n, 8]`; noun and colour of torn scenes count as right."""
    found = torch.stack([part.argmax(1) for part in logits.split(shape, 1)], 1) == classes
    torn = classes[:, -1:] == 0
    return torch.cat((found[:, :OF_WHOLE] | torn, found[:, OF_WHOLE:]), 1)


def asked(logits, labels, shape, caption=True):
    """Whether pictures show what was asked for, `[n, 9]`: each output, and all. What a caption leaves open is right in any way.

    "a fox and a koala" does not say which is left: the better of the two counts. Without `caption`, a class's name was all.
    """

    def marks(labels):
        right = correct(logits, targets(labels, logits.device), shape)
        rows = torch.from_numpy(labels.astype("int64")).to(logits.device)
        bits = rows[:, scenes.STATED] * int(caption)
        of = lambda noun: bits & torch.where(noun == rows[:, scenes.NOUN_A], 4, 8) > 0  # noqa: E731
        always = torch.ones_like(bits, dtype=torch.bool)
        said = [always, always, of(rows[:, scenes.LEFTMOST]), of(rows[:, scenes.RIGHTMOST]), always, bits & 1 > 0, bits & 2 > 0, always]
        right = right | ~torch.stack(said, 1)
        return torch.cat((right, right.all(1, keepdim=True)), 1).float()

    turned = labels.copy()
    turned[:, [scenes.LEFTMOST, scenes.RIGHTMOST]] = labels[:, [scenes.RIGHTMOST, scenes.LEFTMOST]]
    ours, other = marks(labels), marks(turned)
    either = torch.from_numpy(labels[:, scenes.RELATION] == scenes.AND).to(logits.device)
    return torch.where((either & (other.sum(1) > ours.sum(1)))[:, None], other, ours)


def loss_of_logits(logits, classes, shape):
    """The sum of the outputs' cross-entropies."""
    whole, total = classes[:, -1] == 1, 0.0
    for index, part in enumerate(logits.split(shape, 1)):
        losses = F.cross_entropy(part, classes[:, index], reduction="none")
        total = total + ((losses * whole).sum() / whole.sum().clamp(min=1) if index < OF_WHOLE else losses.mean())
    return total


def softened(x):
    """Half of the pictures a little soft: made small and large again, blurred, or noisy."""
    n, side = len(x), x.shape[-1]
    kinds = torch.rand(n, device=x.device)
    small = F.interpolate(x, size=int(side * (0.5 + 0.4 * float(torch.rand(())))), mode="bilinear", antialias=True)
    small = F.interpolate(small, size=side, mode="bilinear")
    blurred = torch.lerp(x, F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), float(torch.rand(())))
    noisy = x + 0.1 * float(torch.rand(())) * torch.randn_like(x)
    for index, changed in enumerate((small, blurred, noisy)):
        chosen = (kinds >= index * SOFTENED / 3) & (kinds < (index + 1) * SOFTENED / 3)
        x = torch.where(chosen[:, None, None, None], changed, x)
    return x


def write_model(folder, judge, header, config):
    """The folder that `migm eval` opens."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    common.save_weights(folder / "judge.safetensors", judge, {})
    values = {"architecture": "scene-judge", "size": config.size, "channels": list(config.judge), "groups": judge.groups}
    values |= {name: header[name] for name in ("nouns", "places", "lights", "colours")}
    common.write_whole(folder / "config.json", lambda path: Path(path).write_text(json.dumps(values, indent=2) + "\n"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    args = parser.parse_args()
    config = common.prepare(args)
    held_stream = Scenes(source_of(args), config.size, config.nouns, args.seed + 21, which="all", torn=TORN)
    held = held_stream.take(min(512, 8 * config.size))
    header = held_stream.header.names()
    held_stream.close()
    shape = sizes(header)
    model = Judge(config.judge, shape).to(args.device)
    trainer = common.Trainer(args, "judge", model, {"config": config.as_dict(), "header": header}, (0.9, 0.99), 0.01)
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed + 20, trainer.position, which="all", torn=TORN)
    print(f"judge: {sum(p.numel() for p in model.parameters()):,} parameters, {args.precision} on {common.device_name(args)}")
    net = torch.compile(model) if args.compile else model

    def loss_of():
        batch = stream.take(trainer.batch)
        trainer.position = stream.position
        with common.autocast(args):
            logits = net(softened(pictures(batch.pixels, args.device))).float()
        return loss_of_logits(logits, targets(batch.labels, args.device), shape), {}

    @torch.no_grad()
    def validate():
        x = pictures(held.pixels, args.device)
        with common.autocast(args):
            logits = torch.cat([trainer.average(part) for part in x.split(64)]).float()
        right = correct(logits, targets(held.labels, args.device), shape).float()
        return {**dict(zip(NAMES, right.mean(0).tolist(), strict=True)), "all": float(right.prod(1).mean())}

    trainer.run(loss_of, validate, every=120)
    stream.close()
    write_model(args.out / "judge", trainer.average, header, config)


if __name__ == "__main__":
    main()
