"""Reads scenes: the raw stream of `migm scenes --raw`, from the command itself or from a file.

The stream is a line of JSON (sizes, labels, the closed vocabulary, where each field lies) and then records of one length.
Scenes come in chunks, each a run of the command with a seed of its own, so that a position in the endless stream is two
numbers and training resumes where it stopped. A thread reads ahead while the trainer computes.

Look at some: `python training/scenes.py --config small --out sheet.png`.
"""

import argparse
import json
import queue
import shlex
import subprocess
import threading
from dataclasses import dataclass

import numpy as np

CHUNK = 4096
# Fields of `labels`. FIRST and LAST are the tokens, top left and bottom right, between which all things stand.
KIND, NOUN_A, NOUN_B, COUNT, RELATION, LEFTMOST, RIGHTMOST, PLACE, LIGHT, COLOUR_A, COLOUR_B, STATED, HELD_OUT, TORN, FIRST, LAST = range(16)
STATES_COLOUR = 4, 8  # bits of STATED, of the first thing and of the second
STATES_COLOURS = sum(STATES_COLOUR)
SIDES, AND = (0, 1), 2  # relations that say which is on which side, and the one that does not
NO_WORD = 65535


@dataclass
class Header:
    """What the first line says."""

    size: int
    nouns: list
    places: list
    lights: list
    colours: list
    words: list
    record: dict

    @classmethod
    def read(cls, line):
        """Parses the first line of a stream."""
        try:
            values = json.loads(line)
        except ValueError:
            raise SystemExit(f"error: this is no stream of scenes: it begins with {line[:60]!r}") from None
        if values.get("format") != "migm-scenes" or values.get("version") != 2:
            raise SystemExit(f"error: the stream is {values.get('format')} version {values.get('version')}, not migm-scenes 2")
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})


    def names(self):
        """What models keep of it: their labels and words, as JSON takes it."""
        return {name: getattr(self, name) for name in ("nouns", "places", "lights", "colours", "words")}


@dataclass
class Batch:
    """Some scenes: `pixels` u8 `[n, size, size, 3]`, `labels` i16 `[n, 16]`, `ids` u16 `[n, 32]`, `captions`."""

    pixels: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    captions: list


def split(header, data):
    """Records of a stream as arrays (views where possible)."""
    length = header.record["bytes"]
    rows = np.frombuffer(data, np.uint8).reshape(-1, length)

    def field(name, width, kind):
        start = header.record[name][0]
        return np.ascontiguousarray(rows[:, start : start + width]).view(kind)

    first, pixels = header.record["pixels"]
    images = rows[:, first : first + pixels].reshape(-1, header.size, header.size, 3)
    start, width = header.record["caption"]
    captions = [bytes(row[start : start + width]).rstrip(b"\0").decode() for row in rows]
    return Batch(images, field("labels", 32, "<i2"), field("ids", 64, "<u2"), captions)


class Scenes:
    """An endless stream of scenes, from `position` (a number of scenes) on."""

    def __init__(self, source, size, nouns, seed=0, position=0, single=False, which="seen", torn=0.0, ahead=4):
        self.source, self.size, self.nouns, self.seed = source, size, nouns, seed
        self.single, self.which, self.torn, self.position = single, which, torn, position
        self.header = None
        self.ready = queue.Queue(maxsize=ahead)
        self.left = None
        self.stopped = threading.Event()
        self.reader = threading.Thread(target=self._read, args=(position,), daemon=True)
        self.reader.start()
        self._next()

    def _open(self, chunk):
        if self.source.file:
            return open(self.source.file, "rb"), None
        command = [*shlex.split(self.source.command), "--raw", "--count", str(CHUNK)]
        # Chunks of different streams must not share seeds: a stream owns a range of them.
        command += ["--seed", str(self.seed * 1_000_003 + chunk), "--size", str(self.size), "--split", self.which]
        command += ["--nouns", str(self.nouns)] if self.nouns else []
        command += ["--single"] if self.single else []
        command += ["--torn", str(self.torn)] if self.torn else []
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
        except OSError as error:
            raise SystemExit(f"error: {shlex.join(command)} could not be started: {error}; name it with --scenes") from None
        return process.stdout, process

    def _read(self, position):
        try:
            chunk, skip = divmod(position, CHUNK) if not self.source.file else (0, position)
            while not self.stopped.is_set():
                stream, process = self._open(chunk)
                header = Header.read(stream.readline())
                length, count = header.record["bytes"], 0
                while not self.stopped.is_set():
                    data = stream.read(length * 128)
                    usable = len(data) // length
                    if not usable:
                        break
                    count += usable
                    if skip >= usable:
                        skip -= usable
                        continue
                    self._put((header, data[skip * length : usable * length]))
                    skip = 0
                stream.close()
                if process and self.stopped.is_set():
                    process.terminate()
                if process and process.wait() != 0 and not self.stopped.is_set():
                    raise SystemExit("error: the command that makes scenes failed; its message stands above")
                if not count:
                    raise SystemExit("error: the stream of scenes has no records")
                chunk += 1
        except BaseException as error:
            self._put(error)

    def _put(self, item):
        while not self.stopped.is_set():
            try:
                return self.ready.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _next(self):
        item = self.ready.get()
        if isinstance(item, BaseException):
            raise item
        self.header, data = item
        if self.size and self.header.size != self.size:
            raise SystemExit(f"error: the scenes are {self.header.size} pixels wide, the configuration wants {self.size}")
        batch = split(self.header, data)
        self.left = [batch.pixels, batch.labels, batch.ids, batch.captions]

    def take(self, count):
        """The next `count` scenes."""
        parts = []
        missing = count
        while missing:
            if not len(self.left[3]):
                self._next()
            taken = [values[:missing] for values in self.left]
            self.left = [values[missing:] for values in self.left]
            parts.append(taken)
            missing -= len(taken[3])
        self.position += count
        pixels, labels, ids = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return Batch(pixels, labels, ids, [caption for part in parts for caption in part[3]])

    def close(self):
        """Stops reading ahead."""
        self.stopped.set()


@dataclass
class Source:
    """Where scenes come from: a command that takes `migm scenes`' arguments, or a file that it wrote."""

    command: str = "migm scenes"
    file: str = ""


def add_arguments(parser):
    """The options of every stage that reads scenes."""
    parser.add_argument("--scenes", default="migm scenes", metavar="COMMAND", help="makes scenes, given migm scenes' options")
    parser.add_argument("--scenes-file", default="", metavar="FILE", help="read a stream that was saved instead, again and again")


def source_of(args):
    """The source that the options name."""
    return Source(args.scenes, args.scenes_file)


def main():
    from common import sheet
    from config import CONFIGS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="small", choices=CONFIGS)
    parser.add_argument("--out", default="sheet.png")
    add_arguments(parser)
    args = parser.parse_args()
    config = CONFIGS[args.config]
    scenes = Scenes(source_of(args), config.size, config.nouns, seed=1)
    batch = scenes.take(64)
    scenes.close()
    sheet(args.out, batch.pixels, columns=8)
    print("\n".join(batch.captions[:8]))


if __name__ == "__main__":
    main()
