"""`migm-batch`: the command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

from .. import __version__
from ..errors import MigmError, SettingError
from . import prompts
from .plan import MOST_PICTURES, SHARD_SIZE, Plan
from .run import REPORT, TRIES, Cluster, Report, execute

EVERY = 10
"""Seconds between lines of progress where they are not written over each other."""
SHOWN = 5
"""Reasons that are printed; the report has all."""


def _seeds(text: str) -> list[int]:
    """`3`, `1,5,9`, `0..4` (0 to 3), or several of these."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, dots, end = part.partition("..")
            seeds += range(int(first), int(end)) if dots else [int(first)]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds such as 1,5,9 or 0..4") from None
    if not seeds or not all(0 <= seed < prompts.SEEDS for seed in seeds):
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are from 0 to 2^64 - 1, and at least one")
    return seeds


def _setting(text: str) -> tuple[str, object]:
    """`NAME=VALUE`, where a value that is no JSON is text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _count(text: str) -> int:
    """A number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _seed(text: str) -> int:
    """One seed."""
    if not text.isdecimal() or int(text) >= prompts.SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer from 0 to 2^64 - 1")
    return int(text)


def _share(text: str) -> float:
    """A number of devices, which may be a part of one."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1e3:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of devices")
    return share


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="migm-batch",
        description="Makes a picture or several for every line of a file, on Ray Data, as WebDataset shards. A run that was stopped or "
        "killed goes on where it was when the same command is given again, and ends with the same bytes.",
    )
    option = made.add_argument
    option("prompts", type=Path, metavar="FILE", help="a prompt (or class) a line as .txt, objects with prompt (or class) and seed as .jsonl, or a .parquet")
    option("--out", type=Path, required=True, metavar="DIR", help="where the shards go; on a cluster a folder that all machines have by that path")
    option("--column", metavar="NAME", help="of a .parquet, if it is not prompt or class")
    option("--model", default="scenes-text", metavar="DIR|NAME", help="a model folder, or a bundled model (default: scenes-text)")
    seeds = made.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=_seeds, metavar="LIST", help="make every line with each of these, such as 1,5,9 or 0..4")
    seeds.add_argument("--per-prompt", type=_count, default=1, metavar="N", help="pictures a line, each with a seed of its own (default: 1)")
    option("--seed", type=_seed, metavar="S", help="of the first picture; those after it count on from there (default: 0)")
    option("--steps", type=_count, metavar="N", help="steps of a picture (default: the model's)")
    option("--budget", type=_count, metavar="B", help="full steps among them, evenly")
    option("--pace", metavar="RULE", help="which steps run in full, as `migm generate --refresh` has it")
    option("--predictor", metavar="NAME", help="what stands in for the model at the others")
    option("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="any other setting, such as guidance=2.5; repeat it")
    option("--shard-size", type=_count, default=SHARD_SIZE, metavar="N", help=f"pictures a shard (default: {SHARD_SIZE}, at most {MOST_PICTURES})")
    option("--most", type=_count, metavar="N", help="make at most so many shards this time")
    option("--actors", type=_count, metavar="N", help="engines (default: as many as the processors, or the graphics devices, are enough for)")
    option("--threads", type=_count, default=1, metavar="N", help="of each engine (default: 1; many engines of one thread make most pictures)")
    option("--batch", type=_count, metavar="N", help="pictures that an engine makes at once (default: as many as fit, at most 8)")
    option("--device", metavar="cpu|gpu|NAME", help="what computes (default: cpu, or gpu with --gpus-per-actor)")
    option("--gpus-per-actor", type=_share, default=0.0, metavar="N", help="graphics devices that Ray sets aside for an engine; 0.5 for two on one")
    option("--fast", action="store_true", help="let a GPU round as it is quickest: shards of unlike GPUs differ then")
    option("--address", metavar="HOST:PORT", help="of a Ray cluster, or auto (default: one on this machine, for this run)")
    option("--tries", type=_count, default=TRIES, metavar="N", help=f"how often a shard may be begun whose process dies over it (default: {TRIES})")
    option("--version", action="version", version=f"migm-batch {__version__}")
    return made


class Progress:
    """A line on a terminal that is written over, or a line now and then in a log."""

    def __init__(self, stream=None):
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._began, self._told, self._line = time.monotonic(), None, ""

    def __call__(self, report: Report) -> None:
        """Tells of what there is now."""
        now, plan = time.monotonic(), report.plan
        there = report.found + report.made
        line = f"{there} of {plan.shards} shards, {report.pictures} of {len(plan.pictures)} pictures"
        if report.made:
            each = (now - self._began) / report.made
            left = plan.shards - there - report.waiting - len(report.failed)
            line += f", {report.new_pictures / (now - self._began):.1f}/s, {_time(left * each)} left"
        if report.refused.total():
            line += f", refused: {report.refused.total()}"
        if report.failed:
            line += f", failed shards: {len(report.failed)}"
        self._line = line
        if self._is_terminal:
            # To the line's end, of what was longer before.
            self._stream.write(f"\r{line}\x1b[K")
        elif self._told is None or now - self._told >= EVERY:
            self._stream.write(line + "\n")
            self._told, self._line = now, ""
        self._stream.flush()

    def end(self) -> None:
        """Leaves the last line, which a log may not have yet."""
        if self._line:
            self._stream.write("\n" if self._is_terminal else self._line + "\n")
            self._stream.flush()


def _time(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _summary(report: Report, folder: Path) -> str:
    """What became of the run, for people."""
    told = report.describe()
    shards, pictures = told["shards"], told["pictures"]
    lines = [f"{shards['made']} shards made, {shards['found']} were there, of {shards['all']}; {pictures['there']} of {pictures['all']} pictures"]
    if report.made:
        lines[0] += f", {told['pictures_per_second']['all']:.1f}/s with the start"
    if report.restarts:
        lines.append(f"{report.restarts} times a process died over a shard, and it was made again")
    if len(report.devices) > 1:
        lines.append(f"unlike processors made them ({', '.join(told['devices'])}), whose roundings may differ: a resumed run may not give these bytes")
    lines += [f"refused {count} of the pictures: {reason}" for reason, count in report.refused.most_common(SHOWN)]
    lines += [f"shard {name} failed: {reason}" for name, reason in list(told["failed"].items())[:SHOWN]]
    return "\n".join([*lines, f"{folder / REPORT} says all"])


def main(arguments: list[str] | None = None) -> int:
    """Runs the command: 0 when all shards that were asked for are there, 1 when some are not, 2 for what cannot be."""
    options = parser()
    given = options.parse_args(arguments)
    if given.seeds is not None and given.seed is not None:
        options.error("--seed is where seeds begin to count, and --seeds says all of them; give one")
    settings = {"steps": given.steps, "budget": given.budget, "pace": given.pace, "predictor": given.predictor}
    for name, value in given.set:
        if settings.get(name) is not None:
            options.error(f"{name} is said twice")
        settings[name] = value
    device = given.device or ("gpu" if given.gpus_per_actor else "cpu")
    if device == "auto":
        options.error("--device auto may be another device on every machine, and so give other shards; say cpu, gpu or a name")
    cluster = Cluster(given.address, given.actors, given.threads, given.gpus_per_actor, given.tries)
    progress = Progress()
    try:
        lines = prompts.read(given.prompts, given.column)
        plan = Plan.make(
            given.model, given.prompts, lines, first_seed=given.seed or 0, per_prompt=given.per_prompt, seeds=given.seeds,
            shard_size=given.shard_size, device=device, exact=not given.fast, batch=given.batch, settings=settings,
        )
        # Ray tells of processes that died on standard output, which is the summary's.
        with contextlib.redirect_stdout(sys.stderr):
            report = execute(plan, given.out, cluster, most=given.most, listen=progress)
    except MigmError as error:
        progress.end()
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingError) else 1
    except KeyboardInterrupt:
        progress.end()
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    progress.end()
    print(_summary(report, given.out))
    return 1 if report.failed else 0
