"""A stand-in for `migm scenes --raw`: coloured shapes on coloured ground, in the same format, for tests without the composer."""

import argparse
import json
import sys

import numpy as np

NOUNS = ["disc", "square", "cross", "bar", "ring", "dot"]
PLACES = ["meadow", "desert", "snow", "beach", "sea", "road", "forest floor", "moon"]
LIGHTS = ["sunny", "sunset", "night", "grey"]
COLOURS = ["natural", "red", "orange", "yellow", "green", "blue", "purple", "pink"]
NATURAL = np.array([[120, 60, 20], [90, 90, 90], [250, 250, 250], [20, 20, 20], [150, 200, 200], [170, 150, 60]])
HUES = np.array([[220, 40, 40], [240, 140, 30], [240, 220, 60], [50, 180, 70], [40, 80, 220], [130, 50, 190], [250, 150, 190]])
GROUND = np.array([[90, 170, 70], [220, 180, 90], [225, 235, 245], [240, 225, 170], [40, 110, 160], [100, 100, 110], [60, 80, 40], [130, 130, 140]])
SKY = np.array([[120, 190, 240], [240, 140, 90], [15, 20, 50], [160, 165, 170]])


def shape(noun, grid):
    y, x = grid
    inside = [
        x * x + y * y < 1,
        np.maximum(abs(x), abs(y)) < 0.85,
        np.minimum(abs(x), abs(y)) < 0.35,
        abs(y) < 0.4,
        (x * x + y * y < 1) & (x * x + y * y > 0.35),
        x * x + y * y < 0.3,
    ][noun]
    return inside & (np.maximum(abs(x), abs(y)) < 1)


def scene(rng, size, nouns, single, torn_share):
    kind = 0 if single else rng.choice(3, p=[0.45, 0.4, 0.15])
    a, b = rng.choice(nouns, 2, replace=False)
    place, light, stated = rng.integers(8), rng.integers(4), rng.integers(4)
    horizon = int(size * rng.uniform(0.35, 0.6))
    pixels = np.empty((size, size, 3), np.int64)
    pixels[:horizon], pixels[horizon:] = SKY[light], GROUND[place]
    colours = rng.integers(len(COLOURS), size=2)
    things = [[(a, colours[0])], [(a, colours[0]), (b, colours[1])], [(a, colours[0])] * (2 + rng.integers(2))][kind]
    torn = rng.random() < torn_share
    covered = np.zeros((size, size), bool)
    for index, (noun, colour) in enumerate(things):
        x = (index + 0.5) / len(things) + rng.uniform(-0.06, 0.06)
        y, radius = rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.3) / (1 + 0.6 * (len(things) > 1))
        grid = np.mgrid[0:size, 0:size] / size
        inside = shape(noun, ((grid[0] - y) / radius, (grid[1] - x) / radius))
        covered |= inside
        pixels[inside] = NATURAL[noun] if colour == 0 else HUES[colour - 1]
        if torn and index == 0:
            patches = np.kron(rng.random((size // 8, size // 8)) < 0.5, np.ones((8, 8))) > 0
            pixels[inside & patches] = HUES[(colour + rng.integers(6)) % 7]
    pixels = pixels + rng.normal(0, 3, pixels.shape)
    relation = rng.integers(3) if kind == 1 else -1
    said = rng.random(2) < 0.5
    stated |= 4 * (said[0] and colours[0] > 0) + 8 * (kind == 1 and said[1] and colours[1] > 0)
    first, second = things[0], things[-1]
    if relation == 1:
        first, second, colours, said = second, first, colours[::-1], said[::-1]
        stated = stated & 3 | (stated & 4) << 1 | (stated & 8) >> 1
    name = lambda thing, which: f"{COLOURS[thing[1]]} {NOUNS[thing[0]]}" if said[which] and thing[1] else NOUNS[thing[0]]  # noqa: E731
    caption = {
        0: f"a {name(first, 0)}",
        1: f"a {name(first, 0)} {['to the left of', 'to the right of', 'and'][relation]} a {name(second, 1)}",
        2: f"{['two', 'three'][len(things) - 2]} {name(first, 0)}",
    }[kind]
    caption += f" on {PLACES[place]}" if stated & 1 else ""
    caption += f" {LIGHTS[light]}" if stated & 2 else ""
    labels = np.zeros(16, "<i2")
    second = second if kind == 1 else (-1, -1)
    labels[:8] = [kind, first[0], second[0], len(things), relation, things[0][0], things[-1][0], place]
    labels[8:14] = [light, first[1], second[1], stated, 0, torn]
    rows, columns = (np.flatnonzero(covered.any(axis)) // 8 for axis in (1, 0))
    labels[14:] = [rows[end] * (size // 8) + columns[end] for end in (0, -1)]
    return np.clip(pixels, 0, 255).astype(np.uint8), labels, caption


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--nouns", type=int, default=len(NOUNS))
    parser.add_argument("--split", default="seen")
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--torn", type=float, default=0.0)
    args = parser.parse_args()
    nouns = NOUNS[: args.nouns]
    words = list(dict.fromkeys(" ".join(["a to the left right of and two three on", *nouns, *COLOURS[1:], *PLACES, *LIGHTS]).lower().split()))
    pixels = args.size * args.size * 3
    record = {"bytes": pixels + 288, "pixels": [0, pixels], "labels": [pixels, 16], "ids": [pixels + 32, 32], "caption": [pixels + 96, 192]}
    header = {"format": "migm-scenes", "version": 2, "size": args.size, "nouns": nouns, "places": PLACES, "lights": LIGHTS}
    header |= {"colours": COLOURS, "words": words, "record": record}
    out = sys.stdout.buffer
    try:
        out.write(json.dumps(header).encode() + b"\n")
        for index in range(args.count):
            image, labels, caption = scene(np.random.default_rng((args.seed, index)), args.size, len(nouns), args.single, args.torn)
            ids = np.full(32, 65535, "<u2")
            found = [words.index(word) for word in caption.lower().split()]
            ids[: len(found)] = found
            out.write(image.tobytes() + labels.tobytes() + ids.tobytes() + caption.encode().ljust(192, b"\0"))
    except BrokenPipeError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
