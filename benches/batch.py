"""Runs at scale on one machine: what killing does to them, and what Ray costs beside a plain loop.

A file of prompts is made into shards three times. `migm-batch` makes them with two engines of one thread each, undisturbed. A plain process
makes the same shards with two threads: one model, one loop, the same functions for pictures, tar, Parquet and writing, no Ray. Both take
turns, a part of the shards each, so that a machine that becomes slower meanwhile does so for both; a ratio is of one part, from the start of
the command to its end, so that every start of Ray and its actors is in it, and beside it without Ray's start. Then `migm-batch` makes all
once more while processes are killed (`SIGKILL`): engines, and the driver, which is then started again with the same command. Whom, and after
how many shards, is drawn from a seed beforehand, so that a slow machine sees as many deaths as a quick one.

In the end all files of shards must be the same bytes three times, each there once, and every picture in exactly one of them.

Run it: `PYTHONPATH=python target/venv/bin/python benches/batch.py`, with a release build of the module in the package
(`cargo build --release -p migm-python`, then `target/release/lib_migm.so` as `python/migm/_migm.abi3.so`), or in a Python that has
`migm[batch]`. Nothing else should run. `--quick` does all of it in a minute or two, with figures that mean little.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from migm.batch import actor, plan, prompts, shard
from migm.model import Model

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "fixtures" / "scenes-v0"  # 64 x 64 pixels: 20,000 in minutes on two cores
RESULTS = ROOT / "benches" / "results" / "batch-cpu.json"
ENGINES = 2
WAIT = 600  # seconds without a new shard after which something hangs
LOOK = 0.02  # seconds between looks at the folder


def processes():
    """All that run: parent and command by process. Linux alone has them in files."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                if state not in "ZX":
                    found[int(folder.name)] = (int(parent), (folder / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                pass  # it has ended meanwhile
    return found


def family(driver):
    """The commands of all processes that a driver has started, and those have: Ray's, and the engines."""
    among, found, parents = processes(), {}, [driver]
    while parents:
        parent = parents.pop()
        children = {child: command for child, (of, command) in among.items() if of == parent}
        found |= children
        parents += children
    return found


def engines(driver):
    """The processes among them that make shards."""
    return sorted(process for process, command in family(driver).items() if "ShardMaker" in command)


def done(folder):
    """How many shards say that they are whole."""
    return sum(1 for _ in folder.glob("*_stats.json"))


def draw_kills(shards, engine_kills, driver_kills, seed):
    """After how many shards whom to kill, in that order; none in the last quarter, so that there is something left to kill."""
    drawn = random.Random(seed)
    victims = ["engine"] * engine_kills + ["driver"] * driver_kills
    drawn.shuffle(victims)
    after = sorted(drawn.choices(range(1, max(2, shards * 3 // 4)), k=len(victims)))
    return [(count, victim, drawn.random()) for count, victim in zip(after, victims, strict=True)]


def killed_run(command, folder, kills, log):
    """Runs a command as often as it takes, killing as was drawn. Gives how often it was started and whom it has met.

    A machine that is quicker than the killing would end first; then nothing was shown, and that is an error.
    """
    kills, met, starts, left_behind = list(kills), collections.Counter(), 0, {}
    try:
        while True:
            driver = subprocess.Popen(command, stdout=log, stderr=log)
            starts += 1
            before, since = done(folder), time.monotonic()
            try:
                while driver.poll() is None:
                    now = done(folder)
                    if now > before:
                        before, since = now, time.monotonic()
                    elif time.monotonic() - since > WAIT:
                        raise SystemExit(f"error: no shard in {WAIT} s, {now} are there; the log says why")
                    if kills and now >= kills[0][0]:
                        _, victim, which = kills[0]
                        alive = engines(driver.pid)
                        if victim == "engine" and alive:
                            os.kill(alive[int(which * len(alive))], signal.SIGKILL)
                        elif victim == "driver":
                            left_behind |= family(driver.pid)
                            driver.kill()
                            driver.wait()
                        else:
                            time.sleep(LOOK)  # engines that are starting; this kill is theirs yet
                            continue
                        met[victim] += 1
                        kills.pop(0)
                    time.sleep(LOOK)
            finally:
                if driver.poll() is None:
                    left_behind |= family(driver.pid)
                    driver.kill()
                    driver.wait()
            if driver.returncode == 0:
                break
            if driver.returncode != -signal.SIGKILL:
                raise SystemExit(f"error: the run ended with {driver.returncode}; the log says why")
    finally:
        # A killed driver's engines end by themselves, and may write until then. Ray's helpers outlive it by a minute, which adds up.
        there = processes()
        for process, name in left_behind.items():
            if process in there and there[process][1] == name:
                os.kill(process, signal.SIGKILL)
    if kills:
        raise SystemExit(f"error: the run ended with {len(kills)} kills to come; take more pictures, or fewer kills")
    return starts, dict(met)


def digests(folder):
    """SHA-256 of all files of shards."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("[0-9]*"))}


def check(folder, of):
    """That every shard is there, whole, once, and every picture in one of them."""
    files = {f"{shard.name(number)}{ending}" for number in range(of.shards) for ending in (".tar", ".parquet", "_stats.json")}
    there = {path.name for path in folder.iterdir()} - {plan.MANIFEST, "report.json"}
    if there != files:
        raise SystemExit(f"error: {folder.name} lacks {sorted(files - there)[:5]} and has beside {sorted(there - files)[:5]}")
    keys = collections.Counter()
    for number in range(of.shards):
        if shard.done(folder, number, of.run) is None:
            raise SystemExit(f"error: {folder.name}: {shard.name(number)} is not whole")
        with tarfile.open(folder / f"{shard.name(number)}.tar") as archive:
            keys.update(archive.getnames())
    size = of.manifest["shard_size"]
    expected = {f"{shard.key(*divmod(i, size))}.{ending}" for i in range(len(of.pictures)) for ending in ("png", "txt", "json")}
    twice = [key for key, count in keys.items() if count > 1]
    if twice or set(keys) != expected:
        raise SystemExit(f"error: {folder.name}: {twice[:5]} twice, {sorted(expected - set(keys))[:5]} missing")


def timed(command, log, environment=None):
    """Seconds of a command, from its start to its end."""
    began = time.perf_counter()
    ended = subprocess.run(command, stdout=log, stderr=log, env={**os.environ, **(environment or {})}, check=False)
    if ended.returncode:
        raise SystemExit(f"error: {' '.join(map(str, command[:4]))} ended with {ended.returncode}; the log says why")
    return time.perf_counter() - began


def plan_of(args):
    """The run, as `migm-batch` has it from the same options."""
    path = args.work / "prompts.jsonl"
    settings = {"steps": args.steps, "budget": args.budget}
    return plan.Plan.make(str(args.model), path, prompts.read(path), shard_size=args.shard_size, settings=settings)


def plain(args):
    """The plain process: a part of the shards, one after the other."""
    of, (first, end) = plan_of(args), args.plain
    folder = args.work / "plain"
    of.claim(folder)
    model = Model.open(of.model, device=of.device, exact=of.exact)
    began = time.perf_counter()
    for number in range(first, end):
        shard.write(folder, number, shard.samples(model, number, of.of_shard(number), of.settings, None), of.run)
    (args.work / "plain.json").write_text(json.dumps({"making": time.perf_counter() - began, "device": model.device}))


def write_prompts(args):
    """A line a picture: all that the model knows, in turn."""
    model = Model.open(args.model, device="cpu")
    names, key = (model.classes, "class") if model.classes else ([f"a {thing} in the snow" for thing in model.things], "prompt")
    lines = (json.dumps({key: names[i % len(names)]}) + "\n" for i in range(args.pictures))
    (args.work / "prompts.jsonl").write_text("".join(lines))


def processor():
    """Its name."""
    try:
        return next(line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "an unnamed processor"


def take_turns(args, of, batch_command, log):
    """Parts of the shards by Ray and by the plain process in turn; seconds of each, and how many pictures."""
    rounds, bounds = [], [of.shards * k // args.rounds for k in range(args.rounds + 1)]
    for k, (first, end) in enumerate(itertools.pairwise(bounds)):
        found = {"pictures": sum(len(of.of_shard(number)) for number in range(first, end))}

        def by_ray():
            seconds = timed([*batch_command("ray"), "--most", str(end - first)], log)  # noqa: B023
            told = json.loads((args.work / "ray" / "report.json").read_text())
            found["ray"] = {"all_s": seconds, "making_s": told["seconds"]["making"]}  # noqa: B023

        def by_loop():
            command = [sys.executable, __file__, *args.same, "--plain", f"{first}:{end}"]  # noqa: B023
            seconds = timed(command, log, {"RAYON_NUM_THREADS": str(ENGINES)})
            told = json.loads((args.work / "plain.json").read_text())
            found["plain"] = {"all_s": seconds, "making_s": told["making"]}  # noqa: B023

        for turn in (by_ray, by_loop) if k % 2 == 0 else (by_loop, by_ray):
            turn()
        found["ray / plain"] = {kind: found["plain"][f"{kind}_s"] / found["ray"][f"{kind}_s"] for kind in ("all", "making")}
        rounds.append(found)
        speeds = [f"{name} {found['pictures'] / found[name]['all_s']:.1f}/s" for name in ("ray", "plain")]
        print(f"part {k + 1} of {args.rounds}: {', '.join(speeds)}, ratio {found['ray / plain']['all']:.3f}", file=sys.stderr, flush=True)
    return rounds


def summary(rounds):
    """Pictures a second over all parts, and ratios of parts: the median, the least, the most."""
    count = sum(found["pictures"] for found in rounds)
    speeds = {name: {kind: count / sum(found[name][f"{kind}_s"] for found in rounds) for kind in ("all", "making")} for name in ("ray", "plain")}
    ratios = {}
    for kind in ("all", "making"):
        each = [found["ray / plain"][kind] for found in rounds]
        ratios[kind] = {"median": statistics.median(each), "least": min(each), "most": max(each)}
    return {"pictures_per_second": speeds, "ray / plain": ratios}


def markdown(report):
    """The table of `docs/at-scale.md`."""
    speeds, ratios = report["speed"]["pictures_per_second"], report["speed"]["ray / plain"]
    lines = [f"{report['processor']}, {report['threads']} threads, {report['date']}\n"]
    lines.append(f"| pictures a second | 2 engines of 1 thread on Ray | one process of {ENGINES} threads | Ray / plain |\n|---|---|---|---|")
    for kind, words in (("all", "from the start of the command to its end"), ("making", "without Ray's start and the model's opening")):
        r = ratios[kind]
        cells = f"{speeds['ray'][kind]:.1f} | {speeds['plain'][kind]:.1f} | {r['median']:.3f} ({r['least']:.3f}-{r['most']:.3f})"
        lines.append(f"| {words} | {cells} |")
    kills = report["kills"]
    lines.append(f"\n{report['pictures']:,} pictures in {report['shards']} shards; {kills['engine']} engines and {kills['driver']} drivers killed:")
    lines.append(f"{report['files_alike']} files alike in all three runs, none missing, none twice; {kills['seconds']:.0f} s with the deaths.")
    return "\n".join(lines)


def parser():
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default=str(MODEL), help="a bundled model or a folder (default: the small one of the tests)")
    made.add_argument("--pictures", type=int, help="how many (default: 20,000; 240 with --quick)")
    made.add_argument("--steps", type=int, default=2)
    made.add_argument("--budget", type=int, default=1)
    made.add_argument("--shard-size", type=int, help="pictures a shard (default: 100; 6 with --quick)")
    made.add_argument("--rounds", type=int, help="parts in which both take turns (default: 4; 2 with --quick)")
    made.add_argument("--kills", type=int, nargs=2, metavar=("ENGINES", "DRIVERS"), help="how often to kill (default: 30 10; 3 2 with --quick)")
    made.add_argument("--seed", type=int, default=0, help="of whom to kill when")
    made.add_argument("--quick", action="store_true")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure here (default: benches/results/batch-cpu.json, none with --quick)")
    made.add_argument("--work", type=Path, metavar="DIR", help="a folder for the shards, which are kept (default: one that is removed)")
    made.add_argument("--plain", type=lambda text: [int(part) for part in text.split(":")], help=argparse.SUPPRESS)
    return made


def run(args):
    """All of it, in a folder; the figures."""
    write_prompts(args)
    of = plan_of(args)
    # What the plain process needs to have the same plan.
    args.same = ["--model", args.model, "--shard-size", str(args.shard_size), "--work", str(args.work)]
    args.same += ["--steps", str(args.steps), "--budget", str(args.budget)]

    def batch_command(out):
        command = [sys.executable, "-m", "migm.batch", str(args.work / "prompts.jsonl"), "--out", str(args.work / out), "--model", args.model]
        command += ["--steps", str(args.steps), "--budget", str(args.budget), "--shard-size", str(args.shard_size)]
        return [*command, "--actors", str(ENGINES), "--threads", "1"]

    with open(args.work / "log", "w") as log:
        try:
            rounds = take_turns(args, of, batch_command, log)
            kills = draw_kills(of.shards, *args.kills, args.seed)
            began = time.perf_counter()
            starts, met = killed_run(batch_command("killed"), args.work / "killed", kills, log)
            seconds = time.perf_counter() - began
        except SystemExit:
            log.flush()
            print((args.work / "log").read_text()[-4000:], file=sys.stderr)
            raise
    for name in ("ray", "plain", "killed"):
        check(args.work / name, of)
    undisturbed, by_loop, after_kills = (digests(args.work / name) for name in ("ray", "plain", "killed"))
    if not undisturbed == by_loop == after_kills:
        unlike = [name for name, digest in undisturbed.items() if {by_loop[name], after_kills[name]} != {digest}]
        raise SystemExit(f"error: {len(unlike)} files differ, {unlike[0]} first")
    versions = json.loads((args.work / "killed" / "report.json").read_text())["versions"]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": processor(),
        "kind": actor.processor(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {"python": platform.python_version(), "migm": of.manifest["migm"], **versions},
        "model": of.manifest["model"],
        "settings": {"steps": args.steps, "budget": args.budget},
        "pictures": len(of.pictures),
        "shard_size": args.shard_size,
        "shards": of.shards,
        "speed": summary(rounds),
        "each_round": rounds,
        "kills": {"engine": 0, "driver": 0, **met, "starts": starts, "seconds": seconds, "seed": args.seed},
        "files_alike": len(undisturbed),
        "sha256": hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in undisturbed.items()).encode()).hexdigest(),
    }


def main(arguments=None):
    """Runs the bench; the report."""
    made = parser()
    args = made.parse_args(arguments)
    quick = args.quick
    args.pictures = args.pictures or (240 if quick else 20_000)
    args.shard_size = args.shard_size or (6 if quick else 100)
    args.rounds = args.rounds or (2 if quick else 4)
    args.kills = args.kills or ([3, 2] if quick else [30, 10])
    args.json = args.json or (None if quick else RESULTS)
    if Path(args.model).is_dir():
        args.model = str(Path(args.model).resolve())
    if args.plain:
        return plain(args)
    if args.rounds < 1 or args.pictures < args.rounds * args.shard_size or min(args.kills) < 0:
        made.error("there must be a shard in every part, and kills are counted from 0")
    with tempfile.TemporaryDirectory(prefix="migm-batch-") as folder:
        if args.work is None:
            args.work = Path(folder)
        elif args.work.exists() and any(args.work.iterdir()):
            made.error(f"{args.work} is not empty, and what is there would be taken for this run's")
        args.work.mkdir(parents=True, exist_ok=True)
        report = run(args)
    print(markdown(report))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return report


if __name__ == "__main__":
    main()
