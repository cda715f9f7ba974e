"""The CPU executor beside PyTorch: the same steps of the same model, on the same cores, in the same run.

The model is the official MaskGIT of 512 pixels with its shortcut of one block, at random weights, one image with classifier-free
guidance: two sequences of 1025 tokens in one batch. `migm bench --config maskgit-512` runs a plan of full and predicted steps and
times each, head and sampling included; here the modules of `training/` run the same plan in PyTorch, eager, with fused attention
(`F.scaled_dot_product_attention`), in f32 and, where PyTorch says that the processor multiplies bf16, with weights and activations in
bf16. The head has the rows that migm's has: the positions that are still masked at the step, of both sequences.

Nothing is compared before both are known to do the same work. Multiply-adds, which PyTorch's own counter counts, must be within 1 % of
what `migm bench` reports of the network, of the shortcut, of the head, and of a whole step of either kind. Parameters, which it does not
report, must be as many as migm's tests expect of the official files.

A round is PyTorch's steps, its matrix products alone, then `migm bench`, so that all see the machine in one state. Of a step's times in a
round the median is taken as migm takes it, then the median of rounds; ratios are of one round, then their median.

Run it: `cargo xtask bench --peer`, which builds migm and has a Python with PyTorch. A machine with other work gives other ratios.
"""

import argparse
import copy
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before `common`, which has OpenMP's threads sleep while they wait: here they wait as PyTorch has it by default, which is quicker where
# nothing else runs, and far slower where something does.
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

import base
import common
import config
import sampling
import shortcut

CONFIG = "maskgit-512"
SIZES = {"grid": 32, "hidden": 768, "depth": 24, "heads": 16, "mlp": 3072, "codebook": 1024, "classes": 1000}
SHORTCUT = config.Shortcut(blocks=1, ratio=2)
PARAMETERS = {"model": 176_306_666, "shortcut": 5_081_914}  # `official_parameter_counts` in src/generate/model_tests.rs
SETTINGS = {"guidance": 2.8, "choice_temperature": 7.0, "schedule": "arccos"}  # the official sampling; `steps` is beside it
TOLERANCE = 0.01
PRODUCTS = ("linear", "attention", "head")
RESULTS = Path(__file__).resolve().parent / "results" / "peer-cpu.json"


def fused(q, k, v):
    """Attention of `[B, heads, T, width]`, in place of `base.attend`, which training has for the sake of its backward pass.

    Keys and values of one sequence may serve several, as those of new tokens serve both of guidance.
    """
    k, v = (t.expand(q.shape[0], -1, -1, -1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v)


class Run(sampling.Run):
    """A run of one image whose two sequences are one batch in every part. (Training has them apart, as text models need it.)"""

    def __init__(self, model, net, settings):
        super().__init__(model, "maskgit", torch.tensor([model.class_id(0)]), None, settings)
        self.net, self.both = net, None  # features [2, tokens + 1, hidden]

    def full(self):
        self.both = self.model(torch.cat(self.ids()))

    def predict(self):
        """The new tokens are one set for both sequences."""
        codes = self.codes.gather(1, self.new_positions)
        _, ratio = self.masked()
        self.both = self.net(self.both, self.model, codes, self.new_positions, torch.tensor([ratio]))

    def logits(self, positions):
        conditional, unconditional = self.model.logits(self.both[:, positions[0]], positions).float()
        w, _ = sampling.numbers(self.arch, self.settings, self.step, self.steps)
        return torch.lerp(conditional, unconditional, -w)[None]


def models(sizes=SIZES, small=SHORTCUT):
    """The model and its shortcut, at random."""
    model = base.MaskGIT(**sizes)
    net = shortcut.new_shortcut("maskgit", model, small, {"cross_attention": True, "time": True})
    return [m.eval().requires_grad_(False) for m in (model, net)]


def settings_of(steps):
    return {**SETTINGS, "steps": steps}


def multiply_adds(work):
    """Of all matrix products in `work`."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops() // 2


@torch.no_grad()  # the counter sees nothing in inference mode
def counted(model, net, settings):
    """Multiply-adds of the network, and at each step of the shortcut (none at the first) and of the head; masked tokens at each step."""
    run = Run(model, net, settings)
    found = {"full": multiply_adds(run.full), "shortcut": [], "head": [], "masked": []}
    for step in range(run.steps):
        # Counts depend on how many tokens are new or masked, not on features, so the model need not run again.
        found["shortcut"].append(multiply_adds(run.predict) if step else 0)
        found["masked"].append(run.masked()[0].shape[1])
        found["head"].append(multiply_adds(run.reveal))
    return found


def products(sizes, masked):
    """The matrix products of a full step and its head: `(rows, inner, columns, how many at once, how often)` by what they are of."""
    hidden, mlp, depth, heads = (sizes[name] for name in ("hidden", "mlp", "depth", "heads"))
    length, width = sizes["grid"] ** 2 + 1, hidden // heads
    rows = 2 * length
    # Two linear layers before the blocks and one after; in a block: queries, keys and values; what comes of attention; feed-forward.
    block = [(rows, hidden, 3 * hidden), (rows, hidden, hidden), (rows, hidden, mlp), (rows, mlp, hidden)]
    return {
        "linear": [(rows, hidden, hidden, 1, 3)] + [(*product, 1, depth) for product in block],
        "attention": [(length, width, length, 2 * heads, depth), (length, length, width, 2 * heads, depth)],
        "head": [(2 * masked, hidden, sizes["codebook"], 1, 1)],
    }


class Products:
    """Those products through `torch.matmul`, on memory of their own that is warm; and fused attention, which is more than its products."""

    def __init__(self, sizes, masked):
        self.work = {name: [self.product(*shape) for shape in shapes] for name, shapes in products(sizes, masked).items()}
        heads = (2, sizes["heads"], sizes["grid"] ** 2 + 1, sizes["hidden"] // sizes["heads"])
        q, k, v = torch.randn(3, *heads)
        self.work["fused attention"] = [(lambda: F.scaled_dot_product_attention(q, k, v), sizes["depth"])]

    @staticmethod
    def product(rows, inner, columns, together, times):
        """Weights are `[out, in]`, and so are keys."""
        lead = (together,) if together > 1 else ()
        a, b = torch.randn(*lead, rows, inner), torch.randn(*lead, columns, inner).transpose(-2, -1)
        c = torch.empty(*lead, rows, columns)
        return lambda: torch.matmul(a, b, out=c), times

    def run_ms(self):
        """Milliseconds by what they are of."""
        found = {}
        for name, work in self.work.items():
            work[0][0]()
            start = time.perf_counter()
            for multiply, times in work:
                for _ in range(times):
                    multiply()
            found[name] = (time.perf_counter() - start) * 1e3
        return found


@torch.inference_mode()
def torch_round(model, net, settings, budget):
    """Times of steps by kind in milliseconds, head and sampling included, and of these alone: `{kind: [(all, head and sampling)]}`."""

    def step(run, is_full):
        start = time.perf_counter()
        run.full() if is_full else run.predict()
        middle = time.perf_counter()
        run.reveal()
        end = time.perf_counter()
        return (end - start) * 1e3, (end - middle) * 1e3

    bf16 = next(model.parameters()).dtype == torch.bfloat16
    times = {"full": [], "predicted": []}
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):  # so that what is given in f32, such as the mask ratio, meets the weights
        # Two steps to warm up, one of each kind, as `migm bench` does.
        run = Run(model, net, settings)
        step(run, True)
        step(run, False)
        run = Run(model, net, settings)
        for is_full in sampling.full_steps(run.steps, budget):
            times["full" if is_full else "predicted"].append(step(run, is_full))
    return times


def middle_and_least(values):
    """The median as `migm bench` takes it (of an even number the later), and the least."""
    values = sorted(values)
    return {"median_ms": values[len(values) // 2], "least_ms": values[0]}


def migm_round(binary, steps, budget):
    """The report of `migm bench`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        command = [binary, "bench", "--config", CONFIG, "--backend", "cpu", "--steps", str(steps), "--budget", str(budget), "--json", file]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: `migm bench` failed\n{done.stderr}")
        return json.loads(file.read_text())


def operations(report):
    """Multiply-adds and milliseconds of migm's operations, by program and which of `PRODUCTS` they hold, or `other`.

    Of others a floating-point operation counts as half of a multiply-add.
    """
    found = {}
    for op in report["profile"]:
        kind = op["shader"].split("+")[0].split()[0]
        kind = "head" if kind == "masked_logits" else kind
        key = op["program"], kind if kind in PRODUCTS else "other"
        amount, ms = found.get(key, (0.0, 0.0))
        found[key] = amount + op["gflop_per_s"] * op["ms"] * 1e6 / 2, ms + op["ms"]
    return found


def same_work(count, report, parameters):
    """What both do, and by how much they differ: rows of the check. Anything beyond the tolerance ends the program.

    `migm bench` profiles programs at the step in the middle of the plan. Of a whole step it reports all floating-point operations at the
    step whose time is the median, which it does not name. Less norms and draws (a few in a thousand), as profiled, that must be the
    multiply-adds of one of the steps: the nearest.
    """
    middle, done = report["steps"] // 2, operations(report)
    sums = lambda program, kinds: sum(done.get((program, kind), (0.0,))[0] for kind in kinds)  # noqa: E731
    rows = [(f"parameters of the {name}", theirs, parameters[name]) for name, theirs in PARAMETERS.items()]
    rows.append(("multiply-adds of the network", sums("full", PRODUCTS), count["full"]))
    rows.append((f"multiply-adds of the shortcut, step {middle}", sums("shortcut", PRODUCTS), count["shortcut"][middle]))
    masked = f"2 x {count['masked'][middle]} rows"
    rows.append((f"multiply-adds of the head, step {middle}: {masked}", sums("sample", PRODUCTS), count["head"][middle]))
    is_full = sampling.full_steps(report["steps"], int(report["refresh"].split(":")[1]))
    for name, kind in (("full", "full"), ("shortcut", "predicted")):
        theirs = report[name]["gflop"] * 1e9 / 2 - sums(name, ["other"]) - sums("sample", ["other"])
        steps = [step for step, full in enumerate(is_full) if full == (kind == "full")]
        ours = {step: (count["full"] if kind == "full" else count["shortcut"][step]) + count["head"][step] for step in steps}
        step = min(steps, key=lambda step: abs(ours[step] - theirs))
        rows.append((f"multiply-adds of a {kind} step, step {step}: 2 x {count['masked'][step]} rows of the head", theirs, ours[step]))
    rows = [{"what": what, "migm": round(theirs), "torch": ours, "difference": ours / theirs - 1} for what, theirs, ours in rows]
    for row in rows:
        if abs(row["difference"]) > TOLERANCE:
            told = f"{row['migm']:,} in migm, {row['torch']:,} in PyTorch ({100 * row['difference']:+.2f} %)"
            raise SystemExit(f"error: the two do not do the same work: {row['what']}: {told}")
    return rows


def of_rounds(values):
    """Median and range of a figure of every round."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summary(rounds, kinds):
    """Steps by kind and program over all rounds, and migm's times over PyTorch's."""
    found = {}
    for kind in ("full", "predicted"):
        steps = {}
        for name in ("migm", *kinds):
            of = [r[name][kind] for r in rounds]
            steps[name] = {"median_ms": statistics.median(o["median_ms"] for o in of), "least_ms": min(o["least_ms"] for o in of)}
            steps[name]["head_and_sampling_ms"] = statistics.median(o["head_and_sampling_ms"] for o in of)
        for name in kinds:
            steps[f"migm / {name}"] = of_rounds([r["migm"][kind]["median_ms"] / r[name][kind]["median_ms"] for r in rounds])
            steps[f"migm / {name}"]["at_least_times"] = steps["migm"]["least_ms"] / steps[name]["least_ms"]
        found[kind] = steps
    return found


def products_summary(rounds):
    """Products alone in PyTorch, migm's operations that hold them, and their share of its full step (sampling included)."""
    names = rounds[0]["products"]
    found = {"torch.matmul_ms": {name: statistics.median(r["products"][name] for r in rounds) for name in names}}
    found["migm_operations_ms"] = {name: statistics.median(r["operations"][name] for r in rounds) for name in PRODUCTS}
    found["share_of_migm_step"] = statistics.median(sum(r["operations"].values()) / r["profiled_ms"] for r in rounds)
    found["migm_gemm_alone_ms"] = statistics.median(r["gemm_alone_ms"] for r in rounds)
    found["migm_step_over_gemm_alone"] = statistics.median(r["step_over_gemm"] for r in rounds)
    return found


def markdown(report):
    """The tables."""
    kinds, lines = report["kinds"], []
    about = f"{CONFIG}, random weights, guided, one image, {report['threads']} threads of {report['processor']}"
    lines.append(f"{about}; PyTorch {report['torch']}; {report['rounds']} round{'s' if report['rounds'] > 1 else ''} of {report['steps']} steps, {report['budget']} of them full:\n")
    lines.append("| median of rounds (least), ms | migm | " + " | ".join(f"PyTorch {k}" for k in kinds) + " | " + " | ".join(f"migm / {k}" for k in kinds) + " |")
    lines.append("|---|" + "---|" * (1 + 2 * len(kinds)))
    for kind, label in (("full", "full step"), ("predicted", "predicted step")):
        of = report["times"][kind]
        cells = [f"{of[name]['median_ms']:.1f} ({of[name]['least_ms']:.1f})" for name in ("migm", *kinds)]
        for k in kinds:
            r = of[f"migm / {k}"]
            cells.append(f"{r['median']:.2f}x ({r['least']:.2f}-{r['most']:.2f})")
        lines.append(f"| {label}, head and sampling included | " + " | ".join(cells) + " |")
        cells = [f"{of[name]['head_and_sampling_ms']:.1f}" for name in ("migm", *kinds)]
        lines.append("| of which head and sampling | " + " | ".join(cells) + " |" + " |" * len(kinds))
    p = report["products"]
    lines.append("\n| matrix products of a full step, f32 | GFLOP | `torch.matmul` alone, ms | migm's operation, ms |")
    lines.append("|---|---|---|---|")
    for name in PRODUCTS:
        cells = (report["products_gflop"][name], p["torch.matmul_ms"][name], p["migm_operations_ms"][name])
        lines.append(f"| {name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    sums = (sum(report["products_gflop"].values()), sum(p["torch.matmul_ms"][n] for n in PRODUCTS), sum(p["migm_operations_ms"].values()))
    lines.append("| together | " + " | ".join(f"{cell:.1f}" for cell in sums) + " |")
    lines.append(f"| attention, fused, softmax included | | {p['torch.matmul_ms']['fused attention']:.1f} | {p['migm_operations_ms']['attention']:.1f} |")
    lines.append(
        f"\nmigm's operations include what is done to their results (bias, GELU, softmax) and are {100 * p['share_of_migm_step']:.1f} % of its full step; "
        f"the products alone through `gemm` take {p['migm_gemm_alone_ms']:.1f} ms, of which its step is {p['migm_step_over_gemm_alone']:.2f}x."
    )
    lines.append("\n| same work | migm | PyTorch | difference |\n|---|---|---|---|")
    lines += [f"| {row['what']} | {row['migm']:,} | {row['torch']:,} | {100 * row['difference']:+.3f} % |" for row in report["same_work"]]
    return "\n".join(lines)


def processor():
    """Its name, and its instructions that multiply bf16."""
    try:
        line = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
        name = line.split(":")[1].strip()
    except (OSError, StopIteration):
        name = "an unnamed processor"
    found = torch.cpu.get_capabilities()
    units = [unit for unit in ("amx_bf16", "avx512_bf16") if found.get(unit, False)]
    return f"{name} ({', '.join(units) or 'no bf16 products'})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--migm", required=True, type=Path, help="the release build of migm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps of a run (default: 6)")
    parser.add_argument("--budget", type=int, default=3, help="full steps of a run (default: 3)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="write every figure here (default: benches/results/peer-cpu.json)")
    args = parser.parse_args()
    if args.rounds < 1 or not 0 < args.budget < args.steps:
        parser.error("there must be a round, and in each at least one full and one predicted step")
    if not args.migm.is_file():
        parser.error(f"{args.migm} is no file; `cargo xtask bench --peer` builds migm and runs this")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads)
    base.attend = fused

    settings = settings_of(args.steps)
    torch.manual_seed(0)
    model, net = models()
    count = counted(model, net, settings)
    parameters = {name: sum(p.numel() for p in m.parameters()) for name, m in (("model", model), ("shortcut", net))}
    middle = args.steps // 2
    shapes = products(SIZES, count["masked"][middle])
    gflop = {name: 2e-9 * sum(math.prod(product) for product in of) for name, of in shapes.items()}
    listed, seen = sum(gflop.values()), 2e-9 * (count["full"] + count["head"][middle])
    if abs(listed / seen - 1) > 1e-9:
        raise SystemExit(f"error: the products listed have {listed} GFLOP, a full step has {seen}")
    kinds = {"f32": (model, net)}
    if common.multiplies_bf16():
        kinds["bf16"] = tuple(copy.deepcopy(m).bfloat16() for m in (model, net))
    alone = Products(SIZES, count["masked"][middle])

    rounds = []
    for index in range(args.rounds):
        found = {}
        for name, (m, n) in kinds.items():
            times = torch_round(m, n, settings, args.budget)
            found[name] = {kind: middle_and_least([t for t, _ in of]) for kind, of in times.items()}
            for kind, of in times.items():
                found[name][kind]["head_and_sampling_ms"] = statistics.median(t for _, t in of)
        with torch.inference_mode():
            found["products"] = alone.run_ms()
        theirs = migm_round(args.migm, args.steps, args.budget)
        same = same_work(count, theirs, parameters)
        done = operations(theirs)
        # Of the step in the middle, the only one that is profiled.
        sampled = sum(ms for (program, _), (_, ms) in done.items() if program == "sample")
        pick = lambda of: {name: of[name] for name in ("median_ms", "least_ms")} | {"head_and_sampling_ms": sampled}  # noqa: B023, E731
        found["migm"] = {"full": pick(theirs["full"]), "predicted": pick(theirs["shortcut"])}
        found["operations"] = {kind: done["sample" if kind == "head" else "full", kind][1] for kind in PRODUCTS}
        found["profiled_ms"] = sum(ms for (program, _), (_, ms) in done.items() if program != "shortcut")
        found["gemm_alone_ms"], found["step_over_gemm"] = theirs["products_alone_ms"], theirs["full_over_products"]
        rounds.append(found)
        told = [f"{name} {found[name]['full']['median_ms']:.0f} and {found[name]['predicted']['median_ms']:.1f} ms" for name in ("migm", *kinds)]
        print(f"round {index + 1} of {args.rounds}, full and predicted: " + "; ".join(told), file=sys.stderr, flush=True)

    report = {"config": CONFIG, "processor": processor(), "threads": threads, "migm_device": theirs["device"], "torch": torch.__version__}
    report |= {"kinds": list(kinds), "rounds": args.rounds, "steps": args.steps, "budget": args.budget}
    report |= {"masked": count["masked"], "same_work": same, "times": summary(rounds, kinds)}
    report |= {"products_gflop": gflop, "products": products_summary(rounds), "each_round": rounds}
    print(markdown(report))
    common.write_whole(args.json, lambda file: file.write_text(json.dumps(report, indent=1) + "\n"))


if __name__ == "__main__":
    main()
