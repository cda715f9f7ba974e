"""A shard: the pictures, captions and metadata of one tar in img2dataset's layout, with its Parquet twin and its statistics.

`00042.tar` has `000420007.png`, `.txt` and `.json` for its picture 7; `00042.parquet` has the same metadata and a row for each picture that
could not be made; `00042_stats.json` has counts and the SHA-256 of both, and is written last: a shard is done when it is there and they
agree.

All three files are a pure function of what is asked for. What would make them differ from one machine or one day to another is left out or
fixed: order, owners, modes and times in the tar, the PNG encoder (the library's own, not the host's zlib), the Parquet writer's options.
Parquet names its writer's version within, so a Parquet file is of the pyarrow that wrote it; tars are of migm alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import _migm
from ..errors import SettingError
from ..model import Model
from ..pictures import Picture
from . import needed

SHARD_DIGITS, PICTURE_DIGITS = 5, 4
"""Of a key, as img2dataset has them at its default of 10,000 pictures a shard."""
ASIDE, TRIES = ".tmp", ".tries"
"""How names end of files that are being written, and of those that say how often a shard was begun. They begin with a dot, as no shard's do."""


def name(shard: int) -> str:
    """What a shard's files are called, without their endings."""
    return f"{shard:0{SHARD_DIGITS}}"


def key(shard: int, index: int) -> str:
    """A picture's key: its shard's name and its place in it."""
    return f"{name(shard)}{index:0{PICTURE_DIGITS}}"


@dataclass(frozen=True)
class Sample:
    """A picture as it came out."""

    key: str
    caption: str
    seed: int
    png: bytes | None
    """The file; `None` where it could not be made."""
    size: tuple[int, int]
    """Height and width, in pixels."""
    full_steps: int | None
    """Steps that ran the base model."""
    error: str | None
    """Why it could not be made."""

    def metadata(self) -> dict:
        """What is said of it, in the tar and in the Parquet file. Names are img2dataset's where it has one."""
        made = self.png is not None
        height, width = self.size if made else (None, None)
        return {
            "key": self.key,
            "status": "success" if made else "failed_to_generate",
            "error_message": self.error,
            "caption": self.caption,
            "seed": self.seed,
            "width": width,
            "height": height,
            "full_steps": self.full_steps,
            "sha256": hashlib.sha256(self.png).hexdigest() if made else None,
        }


def samples(model: Model, shard: int, pictures: Sequence[tuple[str, int]], settings: dict, batch: int | None) -> list[Sample]:
    """Makes the pictures of a shard, each a prompt (or class) and a seed.

    What the model refuses, such as a class that it does not have, becomes a sample with the reason and takes no other with it. `batch`
    pictures are made at once; noise is by seed, so which ones they are changes nothing.
    """
    made: list[Sample | None] = [None] * len(pictures)

    def refuse(indices: Sequence[int], reason: str) -> None:
        """Has pictures fail for a reason."""
        for index in indices:
            caption, seed = pictures[index]
            made[index] = Sample(key(shard, index), caption, seed, None, model.size, None, reason)

    def make(indices: Sequence[int]) -> None:
        """Makes pictures, or finds those that are refused."""
        asked = [pictures[index] for index in indices]
        try:
            events = model.stream([caption for caption, _ in asked], [seed for _, seed in asked], batch=batch, **settings)
        except SettingError as error:
            # Before anything is made. Halves find the ones that are refused in few tries, and leave the others together.
            if len(indices) == 1:
                return refuse(indices, str(error))
            middle = len(indices) // 2
            make(indices[:middle])
            return make(indices[middle:])
        try:
            for event in events:
                if isinstance(event, Picture):
                    index = indices[event.index]
                    # The engine is at the next batch meanwhile.
                    height, width, _ = event.image.shape
                    png = _migm.png(event.image.tobytes(), width, height)
                    full = sum(step.full for step in event.steps)
                    made[index] = Sample(key(shard, index), *pictures[index], png, (height, width), full, None)
        except SettingError as error:
            refuse([index for index in indices if made[index] is None], str(error))

    make(range(len(pictures)))
    return made


def tar(made: Iterable[Sample]) -> bytes:
    """The tar of all that could be made, in order: `.png`, `.txt` and `.json` of each."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in made:
            if sample.png is None:
                continue
            said = json.dumps(sample.metadata(), ensure_ascii=False, indent=4)
            for ending, data in (("png", sample.png), ("txt", sample.caption.encode()), ("json", said.encode())):
                entry = tarfile.TarInfo(f"{sample.key}.{ending}")
                # Time 0 and nobody's: `TarInfo` has these from the start, whatever the machine's clock and user.
                entry.size, entry.mode = len(data), 0o444
                archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def parquet(made: Iterable[Sample]) -> bytes:
    """The metadata of all, with what could not be made."""
    arrow, writer = needed("pyarrow"), needed("pyarrow.parquet")
    kinds = {"seed": arrow.uint64(), "width": arrow.int32(), "height": arrow.int32(), "full_steps": arrow.int32()}
    rows = [sample.metadata() for sample in made]
    schema = arrow.schema([(column, kinds.get(column, arrow.string())) for column in rows[0]])
    held = io.BytesIO()
    # Plain pages in one group: nothing is left to a codec's version or to the writer's defaults.
    writer.write_table(
        arrow.Table.from_pylist(rows, schema=schema), held, row_group_size=len(rows), version="2.6", data_page_version="1.0",
        compression="none", use_dictionary=False, write_statistics=True, store_schema=False,
    )
    return held.getvalue()


@dataclass(frozen=True)
class Stats:
    """What is known of a shard that is done."""

    count: int
    successes: int
    reasons: dict[str, int]
    """How many could not be made, by reason."""


def write(folder: Path, shard: int, made: Sequence[Sample], run: str) -> Stats:
    """Puts a shard of a run (the SHA-256 of its manifest) into a folder, the statistics last."""
    files = {f"{name(shard)}.tar": tar(made), f"{name(shard)}.parquet": parquet(made)}
    successes = sum(sample.png is not None for sample in made)
    reasons = Counter(sample.error for sample in made if sample.png is None)
    stats = {
        "count": len(made),
        "successes": successes,
        "failed_to_generate": len(made) - successes,
        "status_dict": {"success": successes, **dict(sorted(reasons.items()))},
        "run": run,
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    for file, data in files.items():
        put(folder / file, data)
    put(folder / f"{name(shard)}_stats.json", (json.dumps(stats, ensure_ascii=False, indent=4) + "\n").encode())
    return Stats(len(made), successes, dict(sorted(reasons.items())))


def done(folder: Path, shard: int, run: str) -> Stats | None:
    """What is known of a shard, if it is there whole and of this run; `None` if it is to be made (again)."""
    try:
        stats = json.loads((folder / f"{name(shard)}_stats.json").read_bytes())
        if stats["run"] != run:
            return None
        for ending in ("tar", "parquet"):
            file = f"{name(shard)}.{ending}"
            with open(folder / file, "rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != stats["sha256"][file]:
                    return None
        reasons = {reason: count for reason, count in stats["status_dict"].items() if reason != "success"}
        return Stats(stats["count"], stats["successes"], reasons)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Not there, cut short, or something else by that name: made anew over it.
        return None


def put(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: aside under a name of its own, to the disk, then in its place.

    Two processes may well write one file: an actor whose driver was killed goes on for a moment, while another run makes the same shard.
    Neither sees the other's file aside, both write the same bytes, and a rename is of all of them at once, so the last one changes nothing.
    """
    for more in (True, True, False):
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{ASIDE}")
        try:
            with open(aside, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            break
        except FileNotFoundError:
            # A run that begins in the same folder has tidied it away.
            if not more:
                raise
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    if os.name == "posix":
        # The name too: without it a power cut may leave statistics of a tar that is not there.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def begin(folder: Path, shard: int) -> int:
    """Notes that a shard is begun; how often it has been, this time included.

    Ray makes a shard again whose process died, as often as it takes. One that kills every process, for want of memory for instance, must
    come to an end, and only what outlives the process can tell.
    """
    with open(folder / f".{name(shard)}{TRIES}", "ab") as file:
        file.write(b".")
        file.flush()
        return file.tell()


def end(folder: Path, shard: int) -> None:
    """Forgets that it was."""
    (folder / f".{name(shard)}{TRIES}").unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Removes what processes that were killed have left aside."""
    for ending in (ASIDE, TRIES):
        for path in folder.glob(f".*{ending}"):
            path.unlink(missing_ok=True)
