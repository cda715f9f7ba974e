"""What a Ray actor does: opens the model once, then makes a shard a call."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np

from ..errors import DeviceError, MigmError
from ..model import Model
from . import shard
from .plan import Plan, check_model


def processor() -> str:
    """The kind of processor, as far as results depend on it: sums over wider vectors round otherwise."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
    except (OSError, StopIteration):
        flags = []
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "")
    return " ".join(filter(None, ("CPU", platform.machine(), widest)))


class ShardMaker:
    """The class for `Dataset.map_batches`: rows are shards to be made, and come back as what became of them.

    A row has `shard`, its number, and `pictures`, its prompts and seeds as JSON (seeds have 64 bits, which Arrow's integers have not all).
    What comes back is `shard` and `made`, JSON of the statistics or of a reason.

    Nothing is raised. A picture that the model refuses is in its shard's statistics; what befalls a whole shard is given back as its
    reason, so that all others are made; where this machine can make none at all, that says so and ends the run. Only the end of the process
    is Ray's business, which has another one make the same shard.
    """

    def __init__(self, folder: str, plan: dict):
        self._folder, self._plan = Path(folder), plan
        self._model: Model | None = None
        self._unable: str | None = None
        try:
            check_model(plan["model"], plan["sha256"])
            self._model = self._open()
        except MigmError as error:
            self._unable = f"{platform.node()}: {error}"

    @staticmethod
    def arguments(plan: Plan, tries: int) -> dict:
        """What an actor needs to know of a run: everything but the pictures; and how often a shard may be begun."""
        kept = {name: getattr(plan, name) for name in ("model", "device", "exact", "batch", "settings", "run")}
        return {**kept, "sha256": plan.manifest["model"]["sha256"], "tries": tries}

    @staticmethod
    def row(plan: Plan, number: int) -> dict:
        """The row of a shard."""
        return {"shard": number, "pictures": json.dumps(plan.of_shard(number))}

    def _open(self) -> Model:
        return Model.open(self._plan["model"], device=self._plan["device"], exact=self._plan["exact"])

    def make(self, number: int, pictures: list) -> dict:
        """Makes a shard and writes it; what became of it."""
        if self._unable is not None:
            return {"unable": self._unable}
        try:
            tries = shard.begin(self._folder, number)
            if tries > self._plan["tries"]:
                # It stays as it is for the report; the next run begins to count anew.
                return {"failed": f"its process died, {tries - 1} times of {tries - 1}", "tries": tries}
            made = self._samples(number, [(caption, seed) for caption, seed in pictures])
            stats = shard.write(self._folder, number, made, self._plan["run"])
            shard.end(self._folder, number)
            device = processor() if self._model.device.startswith("CPU") else self._model.device
            return {"count": stats.count, "successes": stats.successes, "reasons": stats.reasons, "device": device, "tries": tries}
        except Exception as error:  # noqa: BLE001  Whatever it is, it is this shard's, and is told.
            return {"failed": f"{type(error).__name__}: {error}", "tries": 1}

    def _samples(self, number: int, pictures: list[tuple[str, int]]) -> list[shard.Sample]:
        arguments = (number, pictures, self._plan["settings"], self._plan["batch"])
        try:
            return shard.samples(self._model, *arguments)
        except DeviceError:
            # A device that was lost does not come back to an engine; another engine may get it.
            self._model = self._open()
            return shard.samples(self._model, *arguments)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """Of each row."""
        rows = zip(batch["shard"], batch["pictures"], strict=True)
        made = [(int(number), self.make(int(number), json.loads(pictures))) for number, pictures in rows]
        return {"shard": [number for number, _ in made], "made": [json.dumps(told) for _, told in made]}
