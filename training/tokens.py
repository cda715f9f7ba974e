"""Scenes as codes: what the bases learn from, in files that one process writes while others read.

`python training/tokens.py --config small --out runs/small` tokenizes scenes of the seen split with the run's tokenizer, from
where it stopped, until there are as many as the configuration (or `--count`) says. Run it beside the bases: they read a shard
as soon as it is there, in order, and go back to the oldest only while they are ahead. A million scenes of 256 tokens are 600 MB.

`RUN/tokens` holds `index.json` (labels, words, and the fingerprint of encoder and codebook), `held.npz` (scenes that no base
learns from) and `00000.npz`, `00001.npz`... Each has `codes` u16 `[n, tokens]`, `labels` i16 `[n, 16]` and `ids` u16 `[n, 32]`.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import common
import scenes
import tokenizer
from scenes import Scenes, source_of

SHARD = 8192
HELD = 1024
AT_ONCE = 32
SIDES_KEPT = 0.2  # of the captions that are told apart by their sides: five times as many are as by their colours


@dataclass
class Part:
    """Some tokenized scenes, whose captions have one length if they are a batch: `ids` are cut to it."""

    codes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def __len__(self):
        return len(self.codes)

    def of(self, chosen):
        """The scenes at these indices (or where a mask says so)."""
        return Part(self.codes[chosen], self.labels[chosen], self.ids[chosen])

    def lengths(self):
        """Words of each caption."""
        return (self.ids != scenes.NO_WORD).sum(1)

    def of_length(self, length):
        """Those whose captions have so many words."""
        found = self.of(self.lengths() == length)
        return Part(found.codes, found.labels, found.ids[:, :length])


def joined(parts):
    """Several as one."""
    return Part(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "labels", "ids")))


def read(path):
    """A shard."""
    with np.load(path, allow_pickle=False) as held:
        return Part(held["codes"], held["labels"], held["ids"])


def write(path, part):
    """A shard, whole or not at all."""

    def save(file):
        with open(file, "wb") as out:
            np.savez(out, codes=part.codes, labels=part.labels, ids=part.ids)

    common.write_whole(path, save)


def away(labels, places, columns, weights=1.0):
    """How far tokens at `places` `[B, N]`, in rows of `columns`, are from the things of their scenes: in rows or in columns, whichever is more, and 0
    between them. `weights` `[2, 2, B, 1]` make some sides count more: above, below, left and right."""
    weights = torch.as_tensor(weights, device=places.device).expand(2, 2, len(places), 1)
    first, last = (torch.from_numpy(labels[:, [field]].astype(np.int64)).to(places.device) for field in (scenes.FIRST, scenes.LAST))
    rows = weights[0, 0] * (first // columns - places // columns), weights[0, 1] * (places // columns - last // columns)
    across = weights[1, 0] * (first % columns - places % columns), weights[1, 1] * (places % columns - last % columns)
    return torch.stack((*rows, *across)).amax(0).clamp(min=0)


def windows(labels, count, rows, columns):
    """So many tokens of each scene's grid, in order, `[B, count]`: what is nearest to its things, to some sides more than to others.

    Skies and grounds are learnt soon; what things look like takes all the scenes that there are.
    """
    places = torch.arange(rows * columns).expand(len(labels), -1)
    far = away(labels, places, columns, np.exp(np.random.uniform(-1, 1, (2, 2, len(labels), 1)))).numpy()
    far = far + 1e-3 * np.random.rand(*far.shape)
    return torch.from_numpy(np.sort(np.argsort(far, 1)[:, :count], 1))


def exchangeable(labels):
    """Which captions mean another scene when their sides, and when their two colours, are exchanged: `[n]` of booleans each."""
    states_both = labels[:, scenes.STATED] & scenes.STATES_COLOURS == scenes.STATES_COLOURS
    other = labels[:, scenes.COLOUR_A] != labels[:, scenes.COLOUR_B]
    return np.isin(labels[:, scenes.RELATION], scenes.SIDES), (labels[:, scenes.KIND] == 1) & states_both & other


def sides_exchanged(ids, header):
    """Captions with "left" in the place of "right" and the other way round."""
    left, right = header["words"].index("left"), header["words"].index("right")
    return np.where(ids == left, right, np.where(ids == right, left, ids))


def colours_exchanged(ids, header):
    """Captions of two colours, each in the place of the other."""
    ids = ids.copy()
    colours = [header["words"].index(word) for word in header["colours"] if word in header["words"]]
    for row in ids:
        first, second = np.flatnonzero(np.isin(row, colours))[:2]
        # With their articles: only "an" stands before "orange".
        row[[first - 1, first, second - 1, second]] = row[[second - 1, second, first - 1, first]]
    return ids


def stating_colours(part, header):
    """The same scenes under captions that state both colours, where they show two things of two colours: what is known of three times as
    many scenes as say it."""
    labels, ids = part.labels.copy(), part.ids.copy()
    number = {word: i for i, word in enumerate(header["words"])}
    shown = labels[:, [scenes.COLOUR_A, scenes.COLOUR_B]]
    two = (labels[:, scenes.KIND] == 1) & (shown > 0).all(1) & (shown[:, 0] != shown[:, 1])
    for at in np.flatnonzero(two):
        words = list(ids[at][ids[at] != scenes.NO_WORD])
        # From the end, so that the first thing's place stays: the second's follows "of" or "and".
        behind = next(i for i, word in enumerate(words) if word in (number.get("of"), number.get("and")))
        for thing, article in ((1, behind + 1), (0, 0)):
            if not labels[at, scenes.STATED] & scenes.STATES_COLOUR[thing]:
                colour = header["colours"][shown[at, thing]]
                if words[article] != number.get("some"):
                    words[article] = number.get("an", number["a"]) if colour == "orange" else number["a"]
                words.insert(article + 1, number[colour])
        ids[at, : len(words)] = words
    labels[two, scenes.STATED] |= scenes.STATES_COLOURS
    return Part(part.codes, labels, ids)


EXCHANGED = sides_exchanged, colours_exchanged  # in the order of `exchangeable`


def exchanged(part, header):
    """Captions `[n, words]` of scenes that `exchangeable` allows, with their sides exchanged or their colours, by chance where both can be."""
    sides, colours = exchangeable(part.labels)
    by_side = sides & (~colours | (np.random.rand(len(part)) < 0.5))
    ids = part.ids.copy()
    for chosen, other in zip((by_side, ~by_side), EXCHANGED, strict=True):
        ids[chosen] = other(part.ids[chosen], header)
    return ids


class Folder:
    """The tokens of a run, for those who read them."""

    def __init__(self, run, owner=None, wait=False):
        """Where `owner` is given, tokens must be of this tokenizer; with `wait`, a folder that is not there yet will be."""
        self.path = run / "tokens"
        index = self.path / "index.json"
        if not index.exists():
            if not wait:
                raise SystemExit(f"error: {index} does not exist yet; run training/tokens.py")
            self._wait(index)
        about = json.loads(index.read_text())
        self.header, self.fingerprint = about["header"], about["fingerprint"]
        if owner is not None and (found := tokenizer.fingerprint(owner)) != self.fingerprint:
            raise SystemExit(f"error: {self.path} holds tokens of tokenizer {self.fingerprint}, the run's is {found}; remove the folder")

    def _wait(self, path):
        print(f"waiting for {path}: run training/tokens.py beside this", flush=True)
        while not path.exists():
            time.sleep(1)

    def shard(self, number):
        """The path of a shard."""
        return self.path / f"{number:05}.npz"

    def held(self):
        """The scenes that no base learns from."""
        if not (self.path / "held.npz").exists():
            self._wait(self.path / "held.npz")
        return read(self.path / "held.npz")

    def first(self):
        """The first shard, when it is there."""
        if not self.shard(0).exists():
            self._wait(self.shard(0))
        return read(self.shard(0))


class Batches:
    """Batches of scenes whose captions have one length, over one shard after the other.

    What does not fill a batch waits for the next shard, so that captions of every length come as often as they are. `single`
    takes scenes of one thing only, `pairs` those whose captions mean another scene when two of their words are exchanged (`exchanged`):
    with both colours stated (`stating_colours`), and of sides alone few, which are learnt soon (`SIDES_KEPT`).
    `state_dict` is enough to go on from where it was.
    """

    def __init__(self, folder, size, seed=0, single=False, pairs=False):
        self.folder, self.size, self.seed, self.single, self.pairs = folder, size, seed, single, pairs
        self.turn, self.new, self.again, self.at = -1, 0, 0, 0
        self.shard, self.waiting, self.batches = None, None, []

    def state_dict(self):
        """Numbers, and what waited when the present shard began."""
        waiting = self.waiting and (self.waiting.codes, self.waiting.labels, self.waiting.ids)
        names = ("turn", "new", "again", "at", "shard")
        return {**{name: getattr(self, name) for name in names}, "waiting": waiting}

    def load_state_dict(self, state):
        """Goes on from a `state_dict`."""
        waiting, at = state["waiting"], state["at"]
        for name in ("turn", "new", "again", "shard"):
            setattr(self, name, state[name])
        self.waiting = waiting and Part(*waiting)
        self._cut()
        self.at = at

    def scenes_reused(self):
        """How many shards were read again because no new one was there."""
        return self.again

    def _next(self):
        left = self.left if self.turn >= 0 else None
        if self.folder.shard(self.new).exists() or self.new == 0:
            self.shard, self.new = self.new, self.new + 1
        else:
            self.shard, self.again = self.again % self.new, self.again + 1
        self.turn += 1
        self.waiting = left
        self._cut()

    def _cut(self):
        part = self.folder.first() if self.shard == 0 else read(self.folder.shard(self.shard))
        if self.single:
            part = part.of(part.labels[:, scenes.KIND] == 0)
        random = np.random.default_rng((self.seed, self.turn))
        if self.pairs:
            part = stating_colours(part, self.folder.header)
            sides, colours = exchangeable(part.labels)
            part = part.of(colours | sides & (random.random(len(part)) < SIDES_KEPT))
        if self.waiting:
            part = joined([self.waiting, part])
        lengths, self.batches, left = part.lengths(), [], []
        for length in np.unique(lengths):
            chosen = np.flatnonzero(lengths == length)
            # What waited goes first, or the last of it might wait for ever.
            fresh = chosen[chosen >= (len(self.waiting) if self.waiting else 0)]
            chosen = np.concatenate((chosen[: len(chosen) - len(fresh)], random.permutation(fresh)))
            full = len(chosen) // self.size * self.size
            for some in chosen[:full].reshape(-1, self.size):
                found = part.of(some)
                self.batches.append(Part(found.codes, found.labels, found.ids[:, :length]))
            left.append(chosen[full:])
        self.left, self.at = part.of(np.concatenate(left)), 0
        random.shuffle(self.batches)

    def take(self):
        """The next batch."""
        while self.at >= len(self.batches):
            self._next()
        self.at += 1
        return self.batches[self.at - 1]


@torch.no_grad()
def tokenize(args, model, stream, count):
    """The next scenes of a stream as codes, in f32: bf16 turned 4 to 5 of 100 codes into near ones, which bases would take for chance."""
    parts, made = [], 0
    while made < count:
        batch = stream.take(min(AT_ONCE, count - made))
        codes = model.encode(tokenizer.pictures(batch, args.device))
        parts.append(Part(codes.cpu().numpy().astype(np.uint16), batch.labels, batch.ids))
        made += len(batch.captions)
    return joined(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--count", type=int, help="scenes in all, at most (default: the configuration's)")
    parser.add_argument("--shard", type=int, default=SHARD, help="scenes a file")
    args = parser.parse_args()
    config = common.prepare(args)
    model, _ = common.load_weights(args.out / "tokenizer.safetensors", tokenizer.build, args.device)
    found = tokenizer.fingerprint(model)
    if args.compile:
        model.latents = torch.compile(model.latents)
    folder = args.out / "tokens"
    folder.mkdir(exist_ok=True)
    index = folder / "index.json"
    about = {"fingerprint": found, "shard": args.shard, "seed": args.seed}
    if index.exists():
        before = json.loads(index.read_text())
        if changed := [name for name in about if before[name] != about[name]]:
            raise SystemExit(f"error: {folder} was begun with another {' and '.join(changed)}; remove it to begin again")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))  # a shard that was begun is made again
    count = args.count or config.scenes
    held = Scenes(source_of(args), config.size, config.nouns, args.seed + 11)
    if index.exists() and held.header.names() != before["header"]:
        raise SystemExit(f"error: {folder} was begun with scenes of other labels or words; remove it to begin again")
    if not index.exists():
        text = json.dumps(about | {"header": held.header.names()}, indent=2)
        common.write_whole(index, lambda file: Path(file).write_text(text + "\n"))
    if not (folder / "held.npz").exists():
        write(folder / "held.npz", tokenize(args, model, held, min(HELD, args.shard)))
    held.close()
    number = 0
    while (folder / f"{number:05}.npz").exists():
        number += 1
    if number * args.shard >= count:
        return
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed + 10, number * args.shard)
    while number * args.shard < count:
        since = time.monotonic()
        part = tokenize(args, model, stream, args.shard)
        write(folder / f"{number:05}.npz", part)
        number += 1
        rate, used = args.shard / (time.monotonic() - since), len(np.unique(part.codes))
        print(f"tokens: {number * args.shard} scenes, {rate:.1f} a second, {used} codes in use", flush=True)
    stream.close()


if __name__ == "__main__":
    main()
