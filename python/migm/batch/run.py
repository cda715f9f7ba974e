"""A run on a Ray cluster: what is there already is left, the rest is a dataset of shards, and a report says what became of all.

Ray starts the actors, hands shards to them, starts those anew that die and has what they were at made again. A killed driver leaves whole
shards and at most files aside; the same command goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MigmError
from . import needed, shard
from .actor import ShardMaker
from .plan import Plan

REPORT = "report.json"
TRIES = 9
"""How often a shard may be begun whose process dies over it. Random deaths seldom meet one shard twice; one that kills every process (for
want of memory, say) is given up then."""
IN_FLIGHT = 2
"""Shards that an actor has been handed: the next one is there when one is done."""
STARTS = 8
"""Actors in a row whose processes may end before they have opened the model; more than that is no chance."""
OBJECTS = 256 << 20
"""Bytes of a local cluster's object store, through which prompts and statistics go; pictures do not."""


@dataclass(frozen=True)
class Cluster:
    """Where a run is made, and how wide."""

    address: str | None = None
    """Of a Ray cluster; without, one is started on this machine, and ended with the run."""
    actors: int | None = None
    """Engines; without, as many as there are processors (for `threads` each) or graphics devices."""
    threads: int = 1
    """Of each engine."""
    gpus: float = 0
    """Graphics devices of each engine; half of one for two that share it."""
    tries: int = TRIES


@dataclass
class Report:
    """What became of a run, so far."""

    plan: Plan
    found: int = 0
    """Shards that were there."""
    made: int = 0
    """Shards that this run made."""
    pictures: int = 0
    """Pictures in all shards that are there."""
    new_pictures: int = 0
    """Pictures in those that this run made."""
    refused: Counter = field(default_factory=Counter)
    """Pictures that could not be made, by reason."""
    failed: dict[int, str] = field(default_factory=dict)
    """Shards that were not made, with reasons."""
    waiting: int = 0
    """Shards that this run was told to leave."""
    devices: Counter = field(default_factory=Counter)
    """Shards of this run by what computed them."""
    restarts: int = 0
    """Times that a shard was begun again after a process had died over it."""
    actors: int = 0
    """Engines at once."""
    seconds: dict[str, float] = field(default_factory=dict)
    """`start` until Ray is there, `making` from then on, with the start of the actors, and `all`."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of what wrote the shards."""

    def add(self, stats: shard.Stats) -> None:
        """Counts the pictures of a shard."""
        self.pictures += stats.successes
        self.refused.update(stats.reasons)

    def describe(self) -> dict:
        """As `report.json` has it."""
        per_second = {name: round(self.new_pictures / of, 3) for name, of in self.seconds.items() if of > 0 and name in ("all", "making")}
        return {
            "run": self.plan.run,
            "shards": {"all": self.plan.shards, "found": self.found, "made": self.made, "failed": len(self.failed), "left": self.waiting},
            "pictures": {"all": len(self.plan.pictures), "there": self.pictures, "made": self.new_pictures, "refused": self.refused.total()},
            "refused": dict(self.refused.most_common()),
            "failed": {shard.name(number): reason for number, reason in sorted(self.failed.items())},
            "pictures_per_second": per_second,
            "seconds": {name: round(of, 3) for name, of in self.seconds.items()},
            "actors": self.actors,
            "restarts": self.restarts,
            "devices": dict(sorted(self.devices.items())),
            "versions": self.versions,
        }


Listener = Callable[[Report], None]


def execute(plan: Plan, folder: Path, cluster: Cluster = Cluster(), *, most: int | None = None, listen: Listener = lambda report: None) -> Report:
    """Makes the shards of a plan that a folder lacks, at most `most` of them, and writes the report there; `listen` hears of every shard.

    The folder is one that every machine of the cluster has, by the same path.

    Raises `SettingError` where the folder is another run's, `MigmError` where there is no cluster.
    """
    began = time.perf_counter()
    folder = folder.resolve()
    plan.claim(folder)
    shard.tidy(folder)
    report = Report(plan)
    left = list(_missing(plan, folder, report))
    if most is not None:
        left, report.waiting = left[:most], len(left[most:])
    listen(report)
    if left:
        report.versions = {name: needed(name).__version__ for name in ("ray", "pyarrow", "numpy")}
        with _connected(cluster):
            report.seconds["start"] = time.perf_counter() - began
            _make(plan, folder, cluster, left, report, listen)
            report.seconds["making"] = time.perf_counter() - began - report.seconds["start"]
    report.seconds["all"] = time.perf_counter() - began
    shard.put(folder / REPORT, (json.dumps(report.describe(), ensure_ascii=False, indent=2) + "\n").encode())
    return report


def _missing(plan: Plan, folder: Path, report: Report) -> Iterator[int]:
    """The shards that are not there, or not as their SHA-256 says; what is there is counted."""
    with ThreadPoolExecutor(os.cpu_count()) as readers:
        there = readers.map(lambda number: shard.done(folder, number, plan.run), range(plan.shards))
        for number, stats in enumerate(there):
            if stats is None:
                yield number
            else:
                report.found += 1
                report.add(stats)


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """Ray, for as long as it is needed; as it is, where somebody has initialised it already."""
    # A program that makes pictures tells nobody of it, unless its user has said so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its own log warns, of every actor of Ray Data's, that arguments might go, which Ray Data keeps.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = needed("ray")
    if ray.is_initialized():
        yield
        return
    quiet = {"include_dashboard": False} if cluster.address is None else {}
    if cluster.address is None:
        # As many processors as are asked for: whoever says four actors of two threads on four cores has reasons.
        processors = max(os.cpu_count() or 1, (cluster.actors or 1) * cluster.threads)
        quiet |= {"num_cpus": processors, "object_store_memory": OBJECTS}
        if cluster.gpus and cluster.actors:
            quiet["num_gpus"] = cluster.gpus * cluster.actors
    try:
        ray.init(address=cluster.address or "local", log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MigmError(f"no Ray cluster at {cluster.address or 'this machine'}: {error}") from None
    try:
        yield
    finally:
        ray.shutdown()


class _Heard(logging.Handler):
    """Ray Data's errors: of a task that failed for good it gives back nothing, and says why in its log alone."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the reason."""
        if record.exc_info and record.exc_info[1] is not None:
            self.reasons.append(first_line(record.exc_info[1]))


def first_line(error: BaseException) -> str:
    """What went wrong, without Ray's stacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A failure of an actor ends with what was raised in it.
    said = lines[-1] if lines and "Traceback" in str(error) else (lines or [""])[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _make(plan: Plan, folder: Path, cluster: Cluster, left: list[int], report: Report, listen: Listener) -> None:
    """Has the actors make shards, and counts what comes back."""
    ray = needed("ray")
    data = needed("ray.data")
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    # What cannot be made is one shard's matter.
    context.max_errored_blocks = -1
    context.max_consecutive_actor_init_deaths = STARTS
    context.print_on_execution_start = False
    logger, heard = logging.getLogger("ray.data"), _Heard()
    logger.setLevel(logging.ERROR)
    others = logger.handlers[:]
    logger.handlers = [heard]
    there = ray.cluster_resources()
    room = there.get("GPU", 0) // cluster.gpus if cluster.gpus else there.get("CPU", 1) // cluster.threads
    report.actors = min(cluster.actors or max(1, int(room)), len(left))
    # One shard a block, so that a task is a shard: made, lost and made again as one. By itself Ray Data starts actors anew and makes their
    # tasks again, without an end to either; `shard.begin` is the end.
    rows = data.from_items([ShardMaker.row(plan, number) for number in left], override_num_blocks=len(left))
    made = rows.map_batches(
        ShardMaker,
        batch_size=1,
        batch_format="numpy",
        fn_constructor_kwargs={"folder": str(folder), "plan": ShardMaker.arguments(plan, cluster.tries)},
        compute=data.ActorPoolStrategy(size=report.actors, max_tasks_in_flight_per_actor=IN_FLIGHT),
        num_cpus=cluster.threads,
        num_gpus=cluster.gpus or None,
        runtime_env={"env_vars": {"RAYON_NUM_THREADS": str(cluster.threads)}},
    )
    waiting = set(left)
    try:
        for row in made.iter_rows():
            told = json.loads(row["made"])
            if "unable" in told:
                # What is left would fail there, shard by shard and at once, while others work.
                heard.reasons.append(told["unable"])
                break
            waiting.discard(row["shard"])
            _count(report, row["shard"], told)
            listen(report)
    except (ray.exceptions.RayError, RuntimeError) as error:
        heard.reasons.append(first_line(error))
    finally:
        logger.handlers = others
    for number in waiting:
        # A row may be lost after its shard was written.
        stats = shard.done(folder, number, plan.run)
        if stats is None:
            why = "; ".join(dict.fromkeys(heard.reasons)) or "Ray gave nothing back for it"
            report.failed[number] = f"not made: {why}"
        else:
            report.made, report.new_pictures = report.made + 1, report.new_pictures + stats.successes
            report.add(stats)
    listen(report)


def _count(report: Report, number: int, told: dict) -> None:
    """Counts what an actor says of a shard."""
    report.restarts += told["tries"] - 1
    if "failed" in told:
        report.failed[number] = told["failed"]
        return
    report.made += 1
    report.new_pictures += told["successes"]
    report.add(shard.Stats(told["count"], told["successes"], told["reasons"]))
    report.devices[told["device"]] += 1
