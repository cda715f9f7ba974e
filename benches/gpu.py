"""All that is to be measured on a machine with a GPU, in one run: `cargo xtask bench --gpu`.

1. `migm info`: the device, its driver, its tiers.
2. `migm verify` of the recordings of the official code, on every tier.
3. On every tier `migm tune` for the class model (products of every batch; the text model's are cut by rule), then `migm bench` of MaskGIT
   at 512 pixels by batches of 1, 16 and 128, and of Lumina-DiMOO 8B at 1024 pixels in f16 and int4, random weights, guided.
4. The same steps in PyTorch on the same device, by `peer.py --device cuda`, where there is CUDA: fp16, eager and compiled.
5. A JSON file with everything and a Markdown file with the tables, in `benches/results`, named after the adapter and the day.

What cannot be measured is left out and listed with the reason: a tier that the adapter lacks, a model that memory does not hold (as the
sentence that migm printed), no CUDA. What fails otherwise is listed as well, and makes the exit code 1; the rest is measured all the same,
and written after every part, so that a run that is cut short leaves what it has.

`--quick` is for machines without a GPU: the bundled models of both families at two steps. With `--layers N` it is the published models, cut
to so many layers, of which a software adapter takes hours, most of them to decode 512 x 512 pixels. This script needs no more than Python; PyTorch is looked for in `--python`.

The file is long because every part that is run has its row in the tables and its sentence where it is left out, and these change together.
"""

import argparse
import datetime
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDINGS = ("tests/goldens/maskgit-tiny.safetensors", "tests/goldens/dimoo-tiny.safetensors")
TIERS = ("portable", "subgroup", "f16", "matrix")
CLASS, TEXT = "maskgit-512", "lumina-dimoo"
QUICK = {CLASS: "scenes-class", TEXT: "scenes-text"}  # bundled, of the same families
QUICK_GRID = "8x8"  # of image tokens, for a text model cut to a few layers; whole it has 64 x 64, which are 1024 x 1024 pixels
# By src/exec/gpu/device.rs: memory ran out, or something is larger than an adapter takes at once.
OF_MEMORY = ("ran out of memory", "binds at most", "workgroups, and")
SHOWN = 0.02  # an operation with less of its program's time stands in the JSON file alone
PROBE = """
import json
found = {"torch": None}
try:
    import torch
    found["torch"], found["cuda"] = torch.__version__, torch.cuda.is_available()
    if found["cuda"]:
        device = torch.cuda.get_device_properties(0)
        found |= {"device": device.name, "memory_bytes": device.total_memory, "runtime": torch.version.cuda}
except ImportError as error:
    found["why"] = str(error)
print(json.dumps(found))
"""


@dataclass
class Done:
    """What came of a command: `sentence` says why where it did not succeed, and `kind` is then what that is."""

    kind: str  # "ok", "refused" (memory), "failed" or "late"
    output: str
    sentence: str
    seconds: float

    def told(self):
        """As an entry of the results has it."""
        return {"seconds": round(self.seconds, 1)} | ({} if self.kind == "ok" else {self.kind: self.sentence})


def sentence_of(errors, code):
    """The reason that a program printed, or what else is known."""
    lines = [line.strip() for line in errors.replace("\r", "\n").splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if told or (lines and code >= 0):
        return (told or lines)[-1]
    if code >= 0:
        return f"ended with exit code {code} and printed nothing"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}" + (", as systems do where memory runs out" if name == "SIGKILL" else "")


class Runner:
    """Runs programs within what time there is."""

    def __init__(self, limit_s, minutes, environment):
        self.limit_s, self.minutes, self.environment = limit_s, minutes, environment
        self.until = float("inf")

    def begin(self):
        """From now on time is counted."""
        if self.minutes:
            self.until = time.monotonic() + 60 * self.minutes

    def run(self, command, tier=None):
        command = [str(word) for word in command]
        start = time.monotonic()
        limit = min(self.limit_s, self.until - start)
        if limit <= 0:
            return Done("late", "", f"the {self.minutes:g} minutes of this run were over", 0.0)
        environment = self.environment | ({"MIGM_TIER": tier} if tier else {})
        print(f"== {f'MIGM_TIER={tier} ' if tier else ''}{' '.join([Path(command[0]).name, *command[1:]])}"[:200], file=sys.stderr, flush=True)
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=ROOT, env=environment, timeout=limit)
        except subprocess.TimeoutExpired:
            return Done("late", "", f"took more than {limit:.0f} s and was stopped", time.monotonic() - start)
        except OSError as error:
            return Done("failed", "", f"{Path(command[0]).name}: {error.strerror}", 0.0)
        seconds = time.monotonic() - start
        if done.returncode == 0:
            return Done("ok", done.stdout, "", seconds)
        sentence = sentence_of(done.stderr, done.returncode)
        is_memory = done.returncode == -signal.SIGKILL or any(words in sentence for words in OF_MEMORY)
        print(f"   {sentence}", file=sys.stderr, flush=True)
        return Done("refused" if is_memory else "failed", done.stdout, sentence, seconds)


# -------------------------------------------------------------------------------------------------------------- measuring


class Bench:
    """The results, and what adds to them."""

    def __init__(self, args):
        self.args = args
        environment = {name: value for name, value in os.environ.items() if name not in ("MIGM_TIER", "MIGM_TUNED")}
        self.runner = Runner(args.limit_s, args.minutes, environment)
        self.results = {"date": args.date, "quick": args.quick, "layers": args.layers, "commit": commit(), "complete": False}
        self.results |= {"left_out": [], "failed": []}

    def leave_out(self, what, why):
        self.results["left_out"].append({"what": what, "why": why})

    def note(self, what, done):
        """Lists what did not succeed; whether it did."""
        if done.kind == "failed":
            self.results["failed"].append({"what": what, "why": done.sentence})
        elif done.kind != "ok":
            self.leave_out(what, done.sentence)
        return done.kind == "ok"

    def migm(self, *words, tier=None):
        return self.runner.run([self.args.migm, *words], tier)

    def find_adapter(self):
        """The adapter that `--backend gpu` takes. Without one there is nothing to do."""
        done = self.migm("info", "--json")
        if done.kind != "ok":
            raise SystemExit(f"error: `migm info` failed: {done.sentence}")
        info = json.loads(done.output)
        wanted = self.runner.environment.get("MIGM_ADAPTER", "").lower()
        adapter = next((adapter for adapter in info["adapters"] if wanted in adapter["name"].lower()), None)
        if adapter is None:
            raise SystemExit("error: no graphics adapter here; install a Vulkan driver (Debian: mesa-vulkan-drivers, which computes in software)")
        if adapter["kind"] == "Cpu" and not self.args.quick:
            raise SystemExit(f"error: {adapter['name']} computes in software, where all of this would take days; --quick takes minutes")
        self.results |= {"migm": info["version"], "adapter": adapter, "info": info}
        return adapter

    def tiers(self, adapter):
        """Those that the adapter has, of those asked for."""
        offered = adapter["tiers_offered"]
        for tier in self.args.tiers:
            if tier not in offered:
                self.leave_out(f"{tier} tier", f"{adapter['name']} does not have it; it has {', '.join(offered)}")
        return [tier for tier in self.args.tiers if tier in offered]

    def verify(self, tier):
        """Every line that `migm verify` prints, those of failures as well. A tier a call, as one may take its process down."""
        done = self.migm("verify", *RECORDINGS, "--backend", "gpu", "--json", tier=tier)
        lines = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
        self.results.setdefault("verify", []).extend({"tier": tier, **line} for line in lines)
        bad = [line for line in lines if line["wrong_kernel"] or not line["parts"] or not all(part["ok"] for part in line["parts"])]
        if bad and done.sentence.startswith("ended with"):
            done.sentence = f"{Path(bad[0]['file']).stem}: {verdict(bad[0])}"
        self.note(f"recordings on the {tier} tier", done)

    def sizes(self, model):
        """Arguments of `migm bench` for a published model, or what stands for it."""
        if self.args.quick and not self.args.layers:
            return ["--model", QUICK[model]]
        layers = ["--layers", self.args.layers] if self.args.layers else []
        return ["--config", model, *layers, *(["--grid", QUICK_GRID] if self.args.quick and model == TEXT else [])]

    def tune(self, tier, folder):
        # `tune` knows no layers; shapes of products do not depend on their number, but on a software adapter they take hours whole.
        model = QUICK[CLASS] if self.args.quick else CLASS
        for batch in self.args.batches:
            steps = ["--steps", self.args.steps]
            done = self.migm("tune", "--backend", "gpu", "--model", model, "--batch", batch, *steps, tier=tier)
            self.results.setdefault("tune", []).append({"tier": tier, "model": model, "batch": batch, **done.told()})
            self.note(f"cuts of {model}, batch {batch}, {tier} tier", done)
        file = folder / "tuned.json"
        if file.is_file():
            self.results["tuned"] = json.loads(file.read_text())

    def bench(self, tier, model, batch, steps, budget, folder, quantize=None):
        sizes, file = self.sizes(model), folder / f"{model}-{batch}-{quantize or 'f16'}-{tier}.json"
        words = ["bench", "--backend", "gpu", *sizes, "--batch", batch, "--steps", steps, "--budget", budget, "--json", file]
        done = self.migm(*words, *(["--quantize", quantize] if quantize else []), tier=tier)
        entry = {"tier": tier, "model": sizes[1], "stands_for": model, "batch": batch, "format": quantize or "f16", **done.told()}
        if self.note(f"{sizes[1]} in {entry['format']}, batch {batch}, {tier} tier", done):
            entry["report"] = json.loads(file.read_text())
        self.results.setdefault("bench", []).append(entry)

    def measure(self, folder):
        """Everything, a part at a time."""
        self.runner.environment["MIGM_TUNED"] = str(folder / "tuned.json")
        args, adapter = self.args, self.find_adapter()
        self.runner.begin()
        tiers = self.tiers(adapter)
        self.say_what_is_small()
        for tier in tiers:
            self.verify(tier)
        self.save()
        for tier in tiers:
            self.tune(tier, folder)
            for batch in args.batches:
                self.bench(tier, CLASS, batch, args.steps, args.budget, folder)
            for quantize in (None, "int4"):
                self.bench(tier, TEXT, 1, args.text_steps, args.text_budget, folder, quantize)
            self.save()
        self.torch(adapter, folder)
        self.results |= {"ratios": ratios(self.results), "complete": True}
        self.save()

    def say_what_is_small(self):
        if self.args.quick and not self.args.layers:
            self.leave_out(f"{CLASS} and {TEXT}", f"--quick measures {QUICK[CLASS]} and {QUICK[TEXT]} in their place")
        elif self.args.layers:
            self.leave_out("published depth", f"--layers {self.args.layers}: steps are of so many layers")
        if self.args.quick:
            self.leave_out("batches above 1 and more steps", "--quick")
            if self.args.layers:
                self.leave_out(f"cuts of {CLASS}", f"--quick times those of {QUICK[CLASS]}; {CLASS} is cut by rule")
                self.leave_out("1024 x 1024", f"--quick takes {QUICK_GRID} image tokens")

    # ---------------------------------------------------------------------------------------------------------- PyTorch

    def torch(self, adapter, folder):
        """The same in PyTorch, where it computes on the same device."""
        done = self.runner.run([self.args.python, "-c", PROBE])
        if not self.note("PyTorch", done):
            return
        found = json.loads(done.output)
        self.results["torch"] = {"probe": found, "runs": []}
        why = why_no_torch(found, adapter)
        if self.args.quick and not self.args.layers:
            why = why or "it has the published models, and --quick measures others"
        if why:
            self.leave_out("PyTorch", why)
            return
        reports = [entry for entry in self.results.get("bench", []) if "report" in entry]
        for model, batches in ((CLASS, self.args.batches), (TEXT, [1])):
            for batch in batches:
                of = [entry for entry in reports if (entry["stands_for"], entry["batch"]) == (model, batch)]
                if of:
                    self.torch_run(model, batch, of[0]["report"], folder)
                else:
                    self.leave_out(f"PyTorch, {model}, batch {batch}", "migm has no such run to hold it against")

    def torch_run(self, model, batch, report, folder):
        given, made = folder / "given.json", folder / "made.json"
        given.write_text(json.dumps(report))
        made.unlink(missing_ok=True)
        command = [self.args.python, "benches/peer.py", "--device", "cuda", "--model", model, "--report", given, "--json", made]
        command += ["--layers", self.args.layers] if self.args.layers else []
        command += ["--grid", QUICK_GRID] if self.args.quick and model == TEXT else []
        done = self.runner.run(command)
        entry = {"model": model, "batch": batch, **done.told()}
        if self.note(f"PyTorch, {model}, batch {batch}", done):
            entry |= json.loads(made.read_text())
            for kind, times in entry["kinds"].items():
                for outcome in ("refused", "failed"):
                    if outcome in times:
                        self.note(f"PyTorch, {model}, batch {batch}, {kind}", Done(outcome, "", times[outcome], 0.0))
        self.results["torch"]["runs"].append(entry)

    # ---------------------------------------------------------------------------------------------------------- results

    def save(self):
        name = re.sub(r"[^a-z0-9]+", "-", self.results["adapter"]["name"].lower()).strip("-")
        base = self.args.out / f"gpu-{name}-{self.args.date}{'-quick' if self.args.quick else ''}"
        self.args.out.mkdir(parents=True, exist_ok=True)
        for path, text in ((base.with_name(base.name + ".json"), json.dumps(self.results, indent=1)), (base.with_name(base.name + ".md"), markdown(self.results))):
            whole = path.with_name(path.name + ".part")
            whole.write_text(text + "\n")
            whole.replace(path)
        return base


def commit():
    """What is checked out, and whether it has been changed; `None` where git does not say."""
    try:
        run = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()  # noqa: E731
        return run("rev-parse", "HEAD") + (" with changes" if run("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def why_no_torch(found, adapter):
    """Why PyTorch cannot stand beside this adapter; `None` if it can."""
    if not found["torch"]:
        return f"this Python has no PyTorch ({found.get('why', 'it cannot be imported')})"
    if not found["cuda"]:
        return f"version {found['torch']} finds no CUDA device"
    ours, theirs = adapter["name"].lower(), found["device"].lower()
    if ours not in theirs and theirs not in ours:
        return f"its device is {found['device']}, migm's is {adapter['name']}: MIGM_ADAPTER or CUDA_VISIBLE_DEVICES has both take one"
    return None


def ratios(results):
    """migm's median time over PyTorch's: of every tier and format, by kind of step. Below 1 migm is the faster one."""
    found = []
    for entry in results.get("bench", []):
        for run in results.get("torch", {}).get("runs", []):
            if "report" not in entry or (run["model"], run["batch"]) != (entry["stands_for"], entry["batch"]):
                continue
            for kind, times in run.get("kinds", {}).items():
                for step, ours in (("full", "full"), ("predicted", "shortcut")):
                    if step in times and entry["report"][ours]["count"]:
                        ratio = entry["report"][ours]["median_ms"] / times[step]["median_ms"]
                        of = {name: entry[name] for name in ("tier", "model", "batch", "format")}
                        found.append({**of, "step": step, "torch": kind, "migm_over_torch": ratio})
    return found


# ----------------------------------------------------------------------------------------------------------------- tables


def verdict(line):
    """Of a recording on a tier."""
    if line["wrong_kernel"]:
        return f"FAILED: {line['wrong_kernel']} is not what the CPU computes"
    wrong = [part["name"] for part in line["parts"] if not part["ok"]]
    return f"FAILED: {', '.join(wrong)}" if wrong else "ok" if line["parts"] else "FAILED: nothing to compare"


def rate(gflop_per_s):
    return f"{gflop_per_s:,.1f}" if gflop_per_s >= 10 else f"{gflop_per_s:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def outcome(entry):
    """What stands in the place of figures."""
    return next(f"{kind}: {entry[kind]}" for kind in ("refused", "failed", "late") if kind in entry)


def step_tables(results):
    """A table a model, a row a tier and batch, PyTorch's times as rows of their own and in ratios."""
    lines = []
    entries, runs = results.get("bench", []), results.get("torch", {}).get("runs", [])
    for stands_for in (CLASS, TEXT):
        of = [entry for entry in entries if entry["stands_for"] == stands_for]
        beside = [run for run in runs if run["model"] == stands_for and run.get("kinds")]
        kinds = list(dict.fromkeys(kind for run in beside for kind, times in run["kinds"].items() if "full" in times))
        if not of:
            continue
        first = next((entry["report"] for entry in of if "report" in entry), None)
        depth = f", {results['layers']} layers" if results["layers"] else ""
        plan = f": {first['steps']} steps, {first['refresh']}" if first else ""
        lines += [f"## Steps of {of[0]['model']}{depth}{plan}", ""]
        head = ["batch", "weights", "tier", "full step, ms", "GFLOP/s", "of peak", "predicted step, ms", "GFLOP/s", "of peak", "loop, ms"]
        head += [f"{step} / PyTorch {kind}" for kind in kinds for step in ("full", "predicted")]
        rows = []
        for batch in dict.fromkeys(entry["batch"] for entry in of):
            for entry in (entry for entry in of if entry["batch"] == batch):
                row = [batch, entry["format"], entry["tier"]]
                if "report" not in entry:
                    rows.append(row + [outcome(entry)] + [""] * (len(head) - len(row) - 1))
                    continue
                report = entry["report"]
                for kind in ("full", "shortcut"):
                    times = report[kind]
                    if not times["count"]:
                        row += ["none", "", ""]
                        continue
                    share = times["gflop_per_s"] / report["peak_gflop_per_s"]
                    row += [f"{times['median_ms']:.2f}", rate(times["gflop_per_s"]), f"{100 * share:.1f} %"]
                row.append(f"{report['loop_ms']:.1f}")
                key = {name: entry[name] for name in ("tier", "model", "batch", "format")}
                for kind in kinds:
                    for step in ("full", "predicted"):
                        found = [r["migm_over_torch"] for r in ratios(results) if r == {**r, **key, "torch": kind, "step": step}]
                        row.append(f"{found[0]:.2f}x" if found else "")
                rows.append(row)
            for run in (run for run in beside if run["batch"] == batch):
                for kind, times in run["kinds"].items():
                    if "full" in times:
                        predicted = f"{times['predicted']['median_ms']:.2f}" if "predicted" in times else ""
                        row = [batch, "fp16", f"PyTorch {kind}", f"{times['full']['median_ms']:.2f}", "", "", predicted]
                        rows.append(row + [""] * (len(head) - len(row)))
        lines += table(head, rows)
    return lines


def kernel_tables(results):
    """A table for every model, batch and format: operations by tier. Names are of the portable tier, whatever takes their place."""
    lines, groups = [], {}
    for entry in results.get("bench", []):
        if "report" in entry:
            groups.setdefault((entry["model"], entry["batch"], entry["format"]), {})[entry["tier"]] = entry["report"]
    for (model, batch, weights), by_tier in groups.items():
        cells, shown, order = {}, set(), {}
        for tier, report in by_tier.items():
            for op in report["profile"]:
                key = op["program"], op["shader"]
                order.setdefault(key, len(order))
                cells[key, tier] = f"{op['ms']:.2f} ms, {rate(op['gflop_per_s'])} ({100 * op['share_of_peak']:.1f} %)"
                if op["share"] >= SHOWN:
                    shown.add(key)
        lines += [f"## Kernels of {model}, batch {batch}, {weights}", ""]
        lines.append(f"Milliseconds a step in all, GFLOP/s, and the share of the measured peak; from {100 * SHOWN:g} % of a program's time.")
        lines.append("")
        rows = [[key[0], f"`{key[1]}`", *(cells.get((key, tier), "") for tier in by_tier)] for key in order if key in shown]
        lines += table(["program", "operation", *by_tier], rows)
    return lines


def cut_tables(results):
    lines = []
    for record in results.get("tuned", {}).get("devices", []):
        gains, rows = [], []
        for product in record["products"]:
            right = [timing for timing in product["timings"] if timing["microseconds"] is not None]
            rule = product["timings"][0]
            if not right or rule["microseconds"] is None:
                rows.append([f"`{product['shape']['kernel']}`", " x ".join(map(str, product["sizes"])), told(rule), "", "the rule's is wrong"])
                continue
            best = min(right, key=lambda timing: timing["microseconds"])
            gains.append(rule["microseconds"] / best["microseconds"])
            wrong = len(product["timings"]) - len(right)
            gain = f"{gains[-1]:.2f}x" + (f", {wrong} wrong" if wrong else "")
            rows.append([f"`{product['shape']['kernel']}`", " x ".join(map(str, product["sizes"])), told(rule), told(best), gain])
        middle = f"; gains have a median of {statistics.median(gains):.2f}x" if gains else ""
        lines += [f"## Cuts of products, {record['tier']} tier", "", f"{len(rows)} shapes{middle}.", ""]
        lines += table(["product", "rows x sum x columns", "by rule", "fastest", "gain"], rows)
    return lines


def told(timing):
    """A cut with its time."""
    cut, time_us = timing["cut"], timing["microseconds"]
    parts = f" in {cut['parts']} parts" if cut["parts"] > 1 else ""
    return f"{cut['rows']} rows{parts}, " + ("wrong" if time_us is None else f"{time_us:,.1f} us")


def markdown(results):
    adapter, probe = results["adapter"], results.get("torch", {}).get("probe", {})
    lines = [f"# {adapter['name']}, {results['date']}" + (" (quick)" if results["quick"] else ""), ""]
    lines.append(f"{adapter['kind']}, {adapter['backend']}, {adapter['driver']}; tiers: {', '.join(adapter['tiers_offered'])}.")
    lines.append(f"By default: {adapter['tier_used']}. migm {results['migm']}, commit {results['commit'] or 'unknown'}.")
    if probe.get("cuda"):
        lines.append(f"PyTorch {probe['torch']}, CUDA {probe['runtime']}, {probe['device']}.")
    lines.append("")
    missing = [] if results["complete"] else ["- all that does not follow: the run was cut short"]
    missing += [f"- {entry['what']}: {entry['why']}" for entry in results["left_out"]]
    lines += ["## Left out", "", *(missing or ["Nothing."]), ""]
    if results["failed"]:
        lines += ["## Failed", "", *(f"- {entry['what']}: {entry['why']}" for entry in results["failed"]), ""]
    if results.get("verify"):
        lines += ["## Recordings of the official code", ""]
        rows = []
        for line in results["verify"]:
            errors = [part["relative_error"] for part in line["parts"]]
            # What is no number has none in JSON.
            largest = "no number" if None in errors else f"{max(errors):.2e}" if errors else ""
            rows.append([line["tier"], Path(line["file"]).stem, len(line["parts"]), largest, verdict(line)])
        lines += table(["tier", "recording", "parts", "largest relative error", "verdict"], rows)
    peaks = {}
    for entry in results.get("bench", []):
        if "report" in entry:
            peaks.setdefault(entry["tier"], []).append(entry["report"]["peak_gflop_per_s"])
    if peaks:
        found = "; ".join(f"{tier} {statistics.median(of):,.1f}" for tier, of in peaks.items())
        lines += [f"Peak of a plain loop of multiply-adds in f32, GFLOP/s: {found}. Shares are of this peak, each run's own: products on matrix units", "may exceed it."]
        lines += ["Steps include head and sampling; times are medians. Ratios are migm's time over PyTorch's,", "measured after it in this run: below 1 migm is faster.", ""]
    lines += step_tables(results) + kernel_tables(results) + cut_tables(results)
    return "\n".join(lines).rstrip()


def arguments(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = lambda text: int(text) if int(text) > 0 else parser.error("counts are at least 1")  # noqa: E731
    parser.add_argument("--migm", required=True, type=Path, help="the release build of migm")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch, if any does (default: this one)")
    parser.add_argument("--quick", action="store_true", help="for machines without a GPU: bundled models, batch 1, two steps")
    parser.add_argument("--layers", type=count, help="cut the published models to so many layers")
    parser.add_argument("--tiers", type=lambda text: text.split(","), default=list(TIERS), help="of " + ",".join(TIERS))
    parser.add_argument("--batches", type=lambda text: [count(n) for n in text.split(",")], help="of the class model (default: 1,16,128)")
    parser.add_argument("--steps", type=count, help="of the class model (default: 6, quick: 2)")
    parser.add_argument("--budget", type=count, help="full ones of these (default: half)")
    parser.add_argument("--text-steps", type=count, help="of the text model (default: 4, quick: 2)")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many, and say so (default: no limit)")
    parser.add_argument("--limit-s", type=float, default=1800.0, help="the most that one command may take (default: 1800)")
    parser.add_argument("--out", type=Path, help="folder of the results (default: benches/results; quick: target/gpu-bench)")
    args = parser.parse_args(words)
    if unknown := [tier for tier in args.tiers if tier not in TIERS]:
        parser.error(f"there is no tier {unknown[0]!r}; there are {', '.join(TIERS)}")
    args.batches = args.batches or ([1] if args.quick else [1, 16, 128])
    args.steps = args.steps or (2 if args.quick else 6)
    args.budget = args.budget or max(1, args.steps // 2)
    args.text_steps = args.text_steps or (2 if args.quick else 4)
    args.text_budget = max(1, args.text_steps // 2)
    if args.budget >= args.steps or args.text_steps < 2:
        parser.error("there must be at least one full and one predicted step")
    args.migm = args.migm.resolve()
    if not args.migm.is_file():
        parser.error(f"{args.migm} is no file; `cargo xtask bench --gpu` builds migm and runs this")
    args.out = args.out or ROOT / ("target/gpu-bench" if args.quick else "benches/results")
    args.date = datetime.date.today().isoformat()
    return args


def main(words=None):
    bench = Bench(arguments(words))
    with tempfile.TemporaryDirectory() as folder:
        bench.measure(Path(folder))
    print(markdown(bench.results))
    print(f"\nwritten: {bench.save()}.json and .md", file=sys.stderr)
    return 1 if bench.results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
