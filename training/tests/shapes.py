"""A stand-in for `migm scenes --raw`: coloured shapes on coloured ground, in the same format, for tests without the composer."""

import argparse
import json
import sys

import numpy as np

NOUNS = ["disc", "square", "cross", "bar", "ring", "dot"]
PLACES = ["meadow", "desert", "snow", "beach", "sea", "road", "forest floor", "moon"]
LIGHTS = ["sunny", "sunset", "night", "grey"]
STYLES = ["3D", "flat", "cartoon"]
COLOURS = np.array([[220, 40, 40], [40, 80, 220], [240, 220, 60], [250, 250, 250], [200, 60, 200], [20, 20, 20]])
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


def scene(rng, size, nouns, single):
    kind = 0 if single else rng.choice(3, p=[0.45, 0.4, 0.15])
    a, b = rng.choice(nouns, 2, replace=False)
    place, light, style, stated = rng.integers(8), rng.integers(4), rng.integers(3), rng.integers(8)
    horizon = int(size * rng.uniform(0.35, 0.6))
    pixels = np.empty((size, size, 3), np.int64)
    pixels[:horizon], pixels[horizon:] = SKY[light], GROUND[place]
    objects = [[a], [a, b], [a] * (2 + rng.integers(2))][kind]
    for index, noun in enumerate(objects):
        x = (index + 0.5) / len(objects) + rng.uniform(-0.06, 0.06)
        y, radius = rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.3) / (1 + 0.6 * (len(objects) > 1))
        grid = np.mgrid[0:size, 0:size] / size
        pixels[shape(noun, ((grid[0] - y) / radius, (grid[1] - x) / radius))] = COLOURS[noun] * (1, 0.8, 0.6)[style]
    pixels = pixels + rng.normal(0, 3, pixels.shape)
    relation = rng.integers(3) if kind == 1 else -1
    caption = {
        0: f"a {NOUNS[a]}",
        1: [f"a {NOUNS[a]} left of a {NOUNS[b]}", f"a {NOUNS[b]} right of a {NOUNS[a]}", f"a {NOUNS[a]} and a {NOUNS[b]}"][relation],
        2: f"{['two', 'three'][len(objects) - 2]} {NOUNS[a]}",
    }[kind]
    caption += f" on {PLACES[place]}" if stated & 1 else ""
    caption += f" {LIGHTS[light]}" if stated & 2 else ""
    caption += f" {STYLES[style]}" if stated & 4 else ""
    labels = np.zeros(16, "<i2")
    labels[:12] = [kind, a, b if kind == 1 else -1, len(objects), relation, objects[0], objects[-1], place, light, style, stated, 0]
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
    args = parser.parse_args()
    nouns = NOUNS[: args.nouns]
    words = list(dict.fromkeys(" ".join(["a left right of and two three on", *nouns, *PLACES, *LIGHTS, *STYLES]).lower().split()))
    pixels = args.size * args.size * 3
    record = {"bytes": pixels + 288, "pixels": [0, pixels], "labels": [pixels, 16], "ids": [pixels + 32, 32], "caption": [pixels + 96, 192]}
    header = {"format": "migm-scenes", "version": 1, "size": args.size, "nouns": nouns, "places": PLACES, "lights": LIGHTS}
    header |= {"styles": STYLES, "words": words, "record": record}
    out = sys.stdout.buffer
    try:
        out.write(json.dumps(header).encode() + b"\n")
        for index in range(args.count):
            image, labels, caption = scene(np.random.default_rng((args.seed, index)), args.size, len(nouns), args.single)
            ids = np.full(32, 65535, "<u2")
            found = [words.index(word) for word in caption.lower().split()]
            ids[: len(found)] = found
            out.write(image.tobytes() + labels.tobytes() + ids.tobytes() + caption.encode().ljust(192, b"\0"))
    except BrokenPipeError:
        sys.stderr.close()


if __name__ == "__main__":
    main()
