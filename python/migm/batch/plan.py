"""What a run makes, settled before anything is made, and the manifest that holds later runs to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import _migm
from ..errors import MigmError, ModelError, SettingError
from ..model import Model
from . import shard
from .prompts import Line, pictures

FORMAT = 1
"""Of manifests and shards; another number is another layout."""
MANIFEST = "run.json"
SHARD_SIZE = 256
"""Pictures a shard, if nothing is said. A process that is killed loses at most two shards' work (the one under way, and none of the next),
and a file is of 5 to 100 MB at 128 to 512 pixels, which file systems and readers like. img2dataset's 10,000 suits downloads, which take
milliseconds each; of pictures that take a second that is three hours to lose.
"""
MOST_PICTURES, MOST_SHARDS = 10**shard.PICTURE_DIGITS, 10**shard.SHARD_DIGITS
FILES = (".json", ".safetensors")
"""What a model is made of; a README beside it is not hashed."""


def model_hash(source: str) -> str:
    """The SHA-256 over a model's files: those of a folder, or of a bundled model, which has the same as its folder."""
    folder = Path(source)
    digests = {}
    if folder.is_dir():
        for path in folder.iterdir():
            if path.suffix in FILES and path.is_file():
                with path.open("rb") as file:
                    digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in _migm.bundled(source)}
    whole = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(whole.encode()).hexdigest()


def _digest(value) -> str:
    """The SHA-256 of something as JSON, however its keys are ordered."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """A run: all that its shards are a function of, and on what it is computed."""

    model: str
    """A bundled model's name, or a folder, as every machine of the cluster has it."""
    device: str
    exact: bool
    batch: int | None
    """Pictures at once; as many as fit without it."""
    settings: dict
    """All of them, as `Model.generate` takes them."""
    pictures: list[tuple[str, int]]
    """What each shows, and its seed."""
    manifest: dict

    @classmethod
    def make(cls, model: str, path: Path, lines: Sequence[Line], *, first_seed: int = 0, per_prompt: int = 1,
             seeds: Sequence[int] | None = None, shard_size: int = SHARD_SIZE, device: str = "cpu", exact: bool = True,
             batch: int | None = None, settings: dict | None = None) -> Plan:
        """Settles a run of the lines that `prompts.read` found at a path: opens the model, and checks what can be checked without
        making a picture.

        Raises `SettingError` for what cannot be, `ModelError` for a folder that is none.
        """
        if not 1 <= shard_size <= MOST_PICTURES:
            raise SettingError(f"a shard has from 1 to {MOST_PICTURES} pictures, not {shard_size}")
        # Actors have working directories of their own.
        model = str(Path(model).resolve()) if Path(model).is_dir() else model
        # On the CPU, wherever the pictures are made: nothing is computed here.
        opened = Model.open(model, device="cpu")
        kind = "prompt" if opened.classes is None else "class"
        for line in lines:
            if line.kind not in (None, kind):
                raise SettingError(f"{path}:{line.number}: a {line.kind}, where {opened.name} takes a {kind}")
        resolved = opened.resolve(**(settings or {}))
        asked = pictures(path, lines, first_seed, per_prompt, seeds)
        shards = -(-len(asked) // shard_size)
        if shards > MOST_SHARDS:
            raise SettingError(f"{len(asked)} pictures are {shards} shards, and keys have room for {MOST_SHARDS}; make shards larger")
        if seeds is not None:
            rule = {"each": list(seeds)}
        else:
            rule = {"first": first_seed, "per_prompt": per_prompt}
        manifest = {
            "format": FORMAT,
            "migm": _migm.__version__,
            "model": {"name": opened.name, "sha256": model_hash(model)},
            "settings": resolved,
            "prompts": {"lines": len(lines), "sha256": _digest([(line.text, line.seed) for line in lines])},
            "seeds": rule,
            "pictures": len(asked),
            "shard_size": shard_size,
            "shards": shards,
            "device": device,
            "exact": exact,
            # A CPU computes a picture alike whatever is beside it. A GPU cuts products by the size of a batch, and sums may round otherwise.
            "batch": None if device == "cpu" else batch,
        }
        return cls(model, device, exact, batch, resolved, asked, manifest)

    @property
    def shards(self) -> int:
        """How many there are."""
        return self.manifest["shards"]

    @property
    def run(self) -> str:
        """The SHA-256 of the manifest, by which shards know their run. A model's name is not in it: its files are."""
        return _digest(_compared(self.manifest))

    def of_shard(self, number: int) -> list[tuple[str, int]]:
        """The pictures of a shard."""
        size = self.manifest["shard_size"]
        return self.pictures[number * size : (number + 1) * size]

    def claim(self, folder: Path) -> None:
        """Makes the folder this run's: writes the manifest, or finds it there.

        Raises `SettingError` where another run's is there, with what differs.
        """
        path = folder / MANIFEST
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = path.read_bytes() if path.exists() else None
        except OSError as error:
            raise SettingError(f"{folder}: {error.strerror or error}") from None
        if there is None:
            strangers = sorted(found.name for found in folder.glob("*.tar"))
            if strangers:
                raise SettingError(f"{folder} has {strangers[0]} and no {MANIFEST}: another program's shards; name another folder")
            shard.put(path, (json.dumps(self.manifest, ensure_ascii=False, indent=2) + "\n").encode())
            return
        try:
            theirs = json.loads(there)
            differing = differences(_compared(theirs), _compared(self.manifest))
        except (ValueError, TypeError, AttributeError):
            raise SettingError(f"{path} is no manifest of a run; move it away, or name another folder") from None
        if differing:
            raise SettingError(f"{folder} has another run: {'; '.join(differing)}; name another folder, or ask for the same")


def _compared(manifest: dict) -> dict:
    """The part of a manifest that two runs must share."""
    return {**manifest, "model": manifest["model"]["sha256"]} if isinstance(manifest.get("model"), dict) else manifest


def differences(theirs: dict, ours: dict, inside: str = "") -> list[str]:
    """What two manifests do not share, each in a few words."""
    found = []
    for name in sorted({*theirs, *ours}):
        a, b = theirs.get(name), ours.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{inside}{name} ")
        elif a != b:
            found.append(f"{inside}{name} is {json.dumps(a)} there and {json.dumps(b)} here")
    return found


def check_model(source: str, expected: str) -> None:
    """Holds a machine's model to the manifest's. Raises `ModelError`."""
    try:
        found = model_hash(source)
    except MigmError as error:
        raise ModelError(f"{source}: {error}") from None
    if found != expected:
        raise ModelError(f"{source} is another model here: SHA-256 {found}, where the run's has {expected}")
