"""What pictures are asked for: a file of prompts (or of classes), and their seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SettingError
from . import needed

SEEDS = 1 << 64
"""Seeds are below it."""
JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Line:
    """A line of the file."""

    text: str
    """The prompt, or the class by name or number."""
    kind: str | None
    """`prompt` or `class` where the line says which; text files do not."""
    seed: int | None
    """The seed of its first picture, where the line says it."""
    number: int
    """Which line (or row) it is, from 1."""


def read(path: Path, column: str | None = None) -> list[Line]:
    """All lines of a `.txt` (a prompt a line; blank ones and those that begin with `#` are passed over), of a `.jsonl` (objects with
    `prompt` or `class`, and `seed` where wanted) or of a `.parquet` (`column`, or else `prompt` or `class`; and `seed` if it is there).

    Raises `SettingError` with file and line for what is none of these.
    """
    ending = path.suffix.lower()
    if ending not in (".txt", ".parquet", *JSON_LINES):
        raise SettingError(f"{path}: prompts come from a .txt, .jsonl or .parquet file")
    if column is not None and ending != ".parquet":
        raise SettingError(f"{path}: a column is of a .parquet file")
    try:
        lines = list(_rows(path, column) if ending == ".parquet" else _lines(path, ending in JSON_LINES))
    except OSError as error:
        raise SettingError(f"{path}: {error.strerror or error}") from None
    if not lines:
        raise SettingError(f"{path}: there is no line in it that asks for a picture")
    return lines


def _lines(path: Path, is_json: bool) -> Iterator[Line]:
    for number, data in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            text = data.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise SettingError(f"{path}:{number}: no UTF-8 at byte {error.start + 1} of the line") from None
        if not text or (not is_json and text.startswith("#")):
            continue
        try:
            yield _object(text, number) if is_json else Line(text, None, None, number)
        except SettingError as error:
            raise SettingError(f"{path}:{number}: {error}") from None


def _object(text: str, number: int) -> Line:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(given, dict):
        raise SettingError("a line is an object with prompt or class, and seed where wanted")
    unknown = sorted(set(given) - {"prompt", "class", "seed"})
    if unknown:
        # Passed over in silence, a seed that is misspelt would be another seed.
        raise SettingError(f"{unknown[0]!r} is not known here; there are prompt, class and seed")
    kinds = [kind for kind in ("prompt", "class") if kind in given]
    if len(kinds) != 1:
        raise SettingError("it has neither or both of prompt and class")
    return _line(given[kinds[0]], kinds[0], given.get("seed"), number)


def _line(text, kind: str | None, seed, number: int) -> Line:
    if kind == "class" and isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise SettingError(f"the {kind} is text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingError(f"the {kind} has half of a surrogate pair, which is no text") from None
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS):
        raise SettingError(f"a seed is an integer from 0 to 2^64 - 1, not {seed!r}")
    return Line(text, kind, seed, number)


def _rows(path: Path, column: str | None) -> Iterator[Line]:
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise SettingError(f"{path}: no Parquet file: {str(error).splitlines()[0]}") from None
    names = file.schema_arrow.names
    wanted = column or next((name for name in ("prompt", "class") if name in names), "prompt")
    if wanted not in names:
        raise SettingError(f"{path}: there is no column {wanted!r}; there are {', '.join(names)}")
    columns = [wanted] + (["seed"] if "seed" in names else [])
    kind = wanted if wanted in ("prompt", "class") else None
    number = 0
    for batch in file.iter_batches(columns=columns):
        # By name: the file's order of columns is not the one that was asked for.
        texts = batch.column(batch.schema.get_field_index(wanted)).to_pylist()
        seeds = batch.column(batch.schema.get_field_index("seed")).to_pylist() if len(columns) == 2 else [None] * len(texts)
        for text, seed in zip(texts, seeds, strict=True):
            number += 1
            try:
                yield _line(text, kind, seed, number)
            except SettingError as error:
                raise SettingError(f"{path}:{number}: {error}") from None


def pictures(path: Path, lines: Sequence[Line], first: int, per_prompt: int, each: Sequence[int] | None) -> list[tuple[str, int]]:
    """Every picture of the run, in its order: what it shows, and its seed.

    With `each` every line is made with each of these seeds. Without, `per_prompt` pictures are made of a line: of one that says a seed with
    that and those after it, of any other with `first` plus the picture's number in the whole run, so that no two have the same.
    """
    made: list[tuple[str, int]] = []
    for line in lines:
        if each is not None:
            if line.seed is not None:
                raise SettingError(f"{path}:{line.number}: the line says a seed, and so does --seeds; say it in one place")
            made.extend((line.text, seed) for seed in each)
            continue
        start = first + len(made) if line.seed is None else line.seed
        made.extend((line.text, (start + k) % SEEDS) for k in range(per_prompt))
    return made
