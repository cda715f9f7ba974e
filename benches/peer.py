"""The CPU executor beside PyTorch: the same steps of the same model, on the same cores, in the same run.

The model is the official MaskGIT of 512 pixels with its shortcut of one block, at random weights, one image with classifier-free
guidance: two sequences of 1025 tokens in one batch. `migm bench --config maskgit-512` runs a plan of full and predicted steps and
times each, head and sampling included; here the modules of `training/` run the same plan in PyTorch, eager, with fused attention
(`F.scaled_dot_product_attention`), in f32 and, where PyTorch says that the processor multiplies bf16, with weights and activations in
bf16, where migm runs with its linear layers in bf16, too (`--backend cpu-bf16`). The head has the rows that migm's has: the positions
that are still masked at the step, once, as guidance goes before it on both sides (it is linear).

Nothing is compared before both are known to do the same work. Multiply-adds, which PyTorch's own counter counts, must be within 1 % of
what `migm bench` reports of the network, of the shortcut, of the head, and of a whole step of either kind. Parameters, which it does not
report, must be as many as migm's tests expect of the official files.

A round is PyTorch's steps, its matrix products alone, then `migm bench`, so that all see the machine in one state. Of a step's times in a
round the median is taken as migm takes it, then the median of rounds; ratios are of one round, then their median.

The file is long because the model, its counts and the table are one argument: that both sides do the same work.

Run it: `cargo xtask bench --peer`, which builds migm and has a Python with PyTorch. A machine with other work gives other ratios.

With `--device cuda` it is a GPU's turn, for `benches/gpu.py`, which gives a report of `migm bench` (`--report`): the same steps of the same
batch in fp16, eager and by `torch.compile`, timed by CUDA events after two whole runs to warm up, and held to the report by multiply-adds
as above. There the head computes in fp16 as well, nothing waits for the host (which positions are masked is sorted out on the device), and
Lumina-DiMOO (`--model lumina-dimoo`) has its full steps measured.
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
from types import SimpleNamespace

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
TEXT = "lumina-dimoo"  # `OFFICIAL` in src/models/dimoo/base.rs, from here on
TEXT_SIZES = {"d_model": 4096, "heads": 32, "layers": 32, "mlp": 12_288, "text_vocab": 126_356, "codebook": 8192, "grid": (64, 64)}
TEXT_IDS = SimpleNamespace(mask=126_336, newline=126_084, boa=126_354, boi=126_349, eoi=126_350, eoa=126_355, uncondition=0)
TEXT_SETTINGS = {"guidance": 4.0, "choice_temperature": 1.0}
PROMPT_TOKENS = (64, 14)  # src/generate/published.rs
WARM_UPS, PASSES = 2, 5  # whole runs on a GPU, before and while times are taken
RESULTS = Path(__file__).resolve().parent / "results" / "peer-cpu.json"


def fused(q, k, v):
    """Attention of `[B, heads, T, width]`, in place of `base.attend`, which training has for the sake of its backward pass.

    Keys and values of one sequence may serve several, as those of new tokens serve both of guidance.
    """
    if k.shape[0] == 1:
        k, v = (t.expand(q.shape[0], -1, -1, -1) for t in (k, v))
    elif k.shape[0] < q.shape[0]:
        k, v = (t.repeat(q.shape[0] // k.shape[0], 1, 1, 1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v)


class Run(sampling.Run):
    """A run of images whose conditional and unconditional sequences are one batch in every part. (Training has them apart, as text models need it.)"""

    def __init__(self, model, net, settings, batch=1):
        device = model.tok_emb.weight.device
        super().__init__(model, "maskgit", model.class_id(torch.arange(batch, device=device) % model.classes), None, settings)
        self.net, self.both = net, None  # features [2 x batch, tokens + 1, hidden]

    def full(self):
        self.both = self.model(torch.cat(self.ids()))

    def predict(self):
        """The new tokens are one set for both sequences."""
        codes = self.codes.gather(1, self.new_positions)
        _, ratio = self.masked()
        self.both = self.net(self.both, self.model, codes, self.new_positions, torch.full((1,), ratio, device=self.device))

    def picked(self, positions):
        """Features of both sequences `[2, B, m, hidden]` at positions `[B, m]`."""
        images = torch.arange(self.batch, device=self.device)[:, None]
        return self.both.unflatten(0, (2, self.batch))[:, images, positions]

    def logits(self, positions):
        w, _ = sampling.numbers(self.arch, self.settings, self.step, self.steps)
        return self.model.logits(torch.lerp(*self.picked(positions), -w), positions).float()


def draw(model, picked, positions, guidance, temperature):
    """What `sampling.Run` does to features between two gathers, as one function that can be compiled: codes, and scores to choose by."""
    logits = model.logits(torch.lerp(*picked.float(), -guidance).to(picked.dtype), positions).float()
    drawn = (logits + sampling.gumbel(*logits.shape, device=logits.device)).argmax(-1)
    confidence = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0].clamp(min=math.log(1e-20))
    return drawn, confidence + temperature * sampling.gumbel(*positions.shape, device=logits.device)


class OnDevice:
    """Of a run: the same without a wait for the host. `parts` are what computes, compiled or not: `model`, `net`, `draw`."""

    def masked(self):
        """How many there are is known, so that they can be sorted to the front; `nonzero` has the host wait to learn it."""
        count = self.model.tokens - sum(self.counts[: self.step])
        known = (self.codes != self.model.codebook).to(torch.uint8)
        return known.argsort(dim=-1, stable=True)[:, :count], count / self.model.tokens

    def reveal(self):
        positions, _ = self.masked()
        numbers = sampling.numbers(self.arch, self.settings, self.step, self.steps)
        guidance, temperature = (torch.full((), number, device=self.device) for number in numbers)
        drawn, scores = self.parts.draw(self.model, self.picked(positions), positions, guidance, temperature)
        best = scores.topk(self.counts[self.step], -1).indices.sort(-1).values
        self.new_positions = positions.gather(1, best)
        self.codes = self.codes.scatter(1, self.new_positions, drawn.gather(1, best))
        self.step += 1


class ClassRun(OnDevice, Run):
    """Of MaskGIT."""

    def __init__(self, parts, settings, batch):
        super().__init__(parts.owner, parts.net, settings, batch)
        self.parts = parts

    def full(self):
        self.both = self.parts.model(torch.cat(self.ids()))


class TextRun(OnDevice, sampling.Run):
    """Of Lumina-DiMOO, whose two sequences differ in length. No shortcut."""

    def __init__(self, parts, settings, batch, prompts=PROMPT_TOKENS, ids=TEXT_IDS):
        device = parts.owner.net.wte.weight.device
        prompts = [torch.zeros(batch, length, dtype=torch.long, device=device) for length in prompts]
        super().__init__(parts.owner, "dimoo", prompts[0], ids, settings)
        self.parts, self.conditions = parts, tuple(prompts)

    def full(self):
        self.features = [self.parts.model(ids) for ids in self.ids()]

    def picked(self, positions):
        rows = [rows[..., None].expand(-1, -1, self.model.width) for rows in self.rows(positions)]
        return torch.stack([features.gather(1, rows) for features, rows in zip(self.features, rows, strict=True)])


class Unpacked(base.LlamaBlock):
    """A product a matrix, as in the official code: the block of `training/` packs matrices anew at every step, which large ones make dear."""

    def forward(self, x, table):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        h = self.attn_norm(x)
        q, k, v = (split(project(h)) for project in (self.q_proj, self.k_proj, self.v_proj))
        h = F.scaled_dot_product_attention(base.rotate(q, table), base.rotate(k, table), v)
        x = x + self.attn_out(h.transpose(1, 2).flatten(2))
        h = self.ff_norm(x)
        return x + self.ff_out(F.silu(self.ff_proj(h)) * self.up_proj(h))


def text_model(sizes=TEXT_SIZES, kind=torch.float16, device="cuda"):
    """The model at random, made where it is to be: in f32 on the host it would be 32 GB."""
    with torch.device("meta"):
        model = base.DiMOO(**sizes)
    model = model.to(kind).to_empty(device=device).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.02) if parameter.ndim > 1 else parameter.fill_(1)
    for block in model.net.blocks:
        block.__class__ = Unpacked
    return model


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
def counted(run):
    """Multiply-adds of the network, and at each step of the shortcut (none at the first, or without one) and of the head; masked tokens at each step."""
    found = {"full": multiply_adds(run.full), "shortcut": [], "head": [], "masked": []}
    for step in range(run.steps):
        # Counts depend on how many tokens are new or masked, not on features, so the model need not run again.
        found["shortcut"].append(multiply_adds(run.predict) if step and run.arch == "maskgit" else 0)
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
        "head": [(masked, hidden, sizes["codebook"], 1, 1)],
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


class Clock:
    """Marks on a device's own time line: CUDA events, or the host's clock where there is no CUDA."""

    def __init__(self, device):
        self.on_cuda = torch.device(device).type == "cuda"

    def mark(self):
        if not self.on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self):
        if self.on_cuda:
            torch.cuda.synchronize()

    def ms(self, first, last):
        return first.elapsed_time(last) if self.on_cuda else (last - first) * 1e3


@torch.inference_mode()
def device_rounds(new_run, is_full, warm_ups=WARM_UPS, passes=PASSES):
    """Times of steps by kind over whole runs, head and sampling included, and of these alone, as `torch_round` has them.

    Runs to warm up have the steps of those that count: every shape has been compiled by then. A run that cannot predict has every step
    in full, and those measured that are so in the plan.
    """
    times = {"full": [], "predicted": []}
    for index in range(warm_ups + passes):
        run = new_run()
        clock, marks = Clock(run.device), []
        clock.wait()
        for full in is_full:
            predicts = not full and run.arch == "maskgit"
            start = clock.mark()
            run.predict() if predicts else run.full()
            middle = clock.mark()
            run.reveal()
            marks.append(("predicted" if predicts else "full" if full else None, start, middle, clock.mark()))
        clock.wait()
        for kind, start, middle, end in marks:
            if kind and index >= warm_ups:
                times[kind].append((clock.ms(start, end), clock.ms(middle, end)))
    return {kind: of for kind, of in times.items() if of}


def middle_and_least(values):
    """The median as `migm bench` takes it (of an even number the later), and the least."""
    values = sorted(values)
    return {"median_ms": values[len(values) // 2], "least_ms": values[0]}


def migm_round(binary, steps, budget, backend="cpu"):
    """The report of `migm bench`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        command = [binary, "bench", "--config", CONFIG, "--backend", backend, "--steps", str(steps), "--budget", str(budget), "--json", file]
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
        kind = "head" if kind == "masked_logits" else "attention" if kind.startswith("attention") else kind
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
    # A text model has a program for either sequence.
    sums = lambda program, kinds: sum(done.get((name, kind), (0.0,))[0] for name in (program, f"{program}_uncond") for kind in kinds)  # noqa: E731
    rows = [(f"parameters of the {name}", PARAMETERS[name], found) for name, found in parameters.items()]
    rows.append(("multiply-adds of the network", sums("full", PRODUCTS), count["full"]))
    if any(count["shortcut"]):
        rows.append((f"multiply-adds of the shortcut, step {middle}", sums("shortcut", PRODUCTS), count["shortcut"][middle]))
    each = 2 * report.get("batch", 1)
    masked = f"{each} x {count['masked'][middle]} rows"
    rows.append((f"multiply-adds of the head, step {middle}: {masked}", sums("sample", PRODUCTS), count["head"][middle]))
    is_full = sampling.full_steps(report["steps"], int(report["refresh"].split(":")[1]))
    for name, kind in (("full", "full"), ("shortcut", "predicted")):
        if kind == "predicted" and not any(count["shortcut"]):
            continue
        theirs = report[name]["gflop"] * 1e9 / 2 - sums(name, ["other"]) - sums("sample", ["other"])
        steps = [step for step, full in enumerate(is_full) if full == (kind == "full")]
        ours = {step: (count["full"] if kind == "full" else count["shortcut"][step]) + count["head"][step] for step in steps}
        step = min(steps, key=lambda step: abs(ours[step] - theirs))
        rows.append((f"multiply-adds of a {kind} step, step {step}: {each} x {count['masked'][step]} rows of the head", theirs, ours[step]))
    rows = [{"what": what, "migm": round(theirs), "torch": ours, "difference": ours / theirs - 1} for what, theirs, ours in rows]
    for row in rows:
        if abs(row["difference"]) > TOLERANCE:
            told = f"{row['migm']:,} in migm, {row['torch']:,} in PyTorch ({100 * row['difference']:+.2f} %)"
            raise SystemExit(f"error: the two do not do the same work: {row['what']}: {told}")
    return rows


def of_rounds(values):
    """Median and range of a figure of every round."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ours(first):
    """What migm's times are called in a round: in f32, and where it has them in bf16."""
    return [name for name in ("migm", "migm bf16") if name in first]


def summary(rounds, kinds):
    """Steps by kind and program over all rounds, and migm's times over PyTorch's."""
    found, own = {}, ours(rounds[0])
    for kind in ("full", "predicted"):
        steps = {}
        for name in (*own, *kinds):
            of = [r[name][kind] for r in rounds]
            steps[name] = {"median_ms": statistics.median(o["median_ms"] for o in of), "least_ms": min(o["least_ms"] for o in of)}
            steps[name]["head_and_sampling_ms"] = statistics.median(o["head_and_sampling_ms"] for o in of)
        for mine in own:
            for name in kinds:
                steps[f"{mine} / {name}"] = of_rounds([r[mine][kind]["median_ms"] / r[name][kind]["median_ms"] for r in rounds])
                steps[f"{mine} / {name}"]["at_least_times"] = steps[mine]["least_ms"] / steps[name]["least_ms"]
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
    own = ours(report["times"]["full"])
    ratios = [f"{mine} / {k}" for mine in own for k in kinds]
    heads = [*own, *(f"PyTorch {k}" for k in kinds), *ratios]
    lines.append("| median of rounds (least), ms | " + " | ".join(heads) + " |")
    lines.append("|---|" + "---|" * len(heads))
    for kind, label in (("full", "full step"), ("predicted", "predicted step")):
        of = report["times"][kind]
        cells = [f"{of[name]['median_ms']:.1f} ({of[name]['least_ms']:.1f})" for name in (*own, *kinds)]
        for ratio in ratios:
            r = of[ratio]
            cells.append(f"{r['median']:.2f}x ({r['least']:.2f}-{r['most']:.2f})")
        lines.append(f"| {label}, head and sampling included | " + " | ".join(cells) + " |")
        cells = [f"{of[name]['head_and_sampling_ms']:.1f}" for name in (*own, *kinds)]
        lines.append("| of which head and sampling | " + " | ".join(cells) + " |" + " |" * len(ratios))
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


def first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def on_device(model_name, report, layers=None, grid=None, device="cuda", sizes=None, ids=TEXT_IDS, shown=("eager", "compiled")):
    """Times beside a report of `migm bench`. What memory does not hold, or cannot be compiled, has the sentence in place of its times."""
    steps, batch, plan = report["steps"], report["batch"], report["refresh"].split(":")
    is_full = sampling.full_steps(steps, int(plan[1]))
    kind = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    torch.manual_seed(0)
    if model_name == TEXT:
        of = dict(sizes or TEXT_SIZES) | ({"layers": layers} if layers else {}) | ({"grid": grid} if grid else {})
        owner, net, settings, parameters = text_model(of, kind, device), None, {**TEXT_SETTINGS, "steps": steps}, {}
        new_run = lambda parts: TextRun(parts, settings, batch, ids=ids)  # noqa: E731
    else:
        owner, net = (m.to(kind).to(device) for m in models(dict(sizes or SIZES) | ({"depth": layers} if layers else {})))
        settings = settings_of(steps)
        whole = not layers and not sizes
        parameters = {name: sum(p.numel() for p in m.parameters()) for name, m in (("model", owner), ("shortcut", net))} if whole else {}
        new_run = lambda parts: ClassRun(parts, settings, batch)  # noqa: E731
    eager = SimpleNamespace(owner=owner, model=owner, net=net, draw=draw)
    same = same_work(counted(new_run(eager)), report, parameters)
    found = {}
    for name in shown:
        try:
            parts = eager
            if name == "compiled":
                parts = SimpleNamespace(owner=owner, model=torch.compile(owner), net=net and torch.compile(net), draw=torch.compile(draw))
            times = device_rounds(lambda: new_run(parts), is_full)  # noqa: B023
        except torch.OutOfMemoryError as error:
            found[name] = {"refused": first_line(error)}
        except Exception as error:  # noqa: BLE001  A compiler has many ways to fail, and none is a reason to lose the other times.
            if name != "compiled":
                raise
            found[name] = {"failed": f"torch.compile: {first_line(error)}"}
        else:
            found[name] = {kind: middle_and_least([t for t, _ in of]) for kind, of in times.items()}
            for kind, of in times.items():
                found[name][kind]["head_and_sampling_ms"] = statistics.median(t for _, t in of)
    return {"torch_version": torch.__version__, "dtype": str(next(owner.parameters()).dtype), "kinds": found, "same_work": same}


def device_main(parser, args):
    """What `benches/gpu.py` calls: one model and batch, times to a file."""
    if not args.report or args.json == RESULTS:
        parser.error("--device cuda wants --report and --json; `cargo xtask bench --gpu` gives them")
    if not torch.cuda.is_available():
        raise SystemExit(f"error: PyTorch {torch.__version__} finds no CUDA device")
    base.attend = fused
    grid = tuple(int(side) for side in args.grid.split("x")) if args.grid else None
    try:
        found = on_device(args.model, json.loads(args.report.read_text()), args.layers, grid)
    except torch.OutOfMemoryError as error:
        found = {"kinds": {"eager": {"refused": first_line(error)}}}
    args.json.write_text(json.dumps(found, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--migm", type=Path, help="the release build of migm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="steps of a run (default: 6)")
    parser.add_argument("--budget", type=int, default=3, help="full steps of a run (default: 3)")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="write every figure here (default: benches/results/peer-cpu.json)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: one model and batch beside a report, for benches/gpu.py")
    parser.add_argument("--model", choices=(CONFIG, TEXT), default=CONFIG, help="on a GPU")
    parser.add_argument("--report", type=Path, metavar="FILE", help="on a GPU: what `migm bench --json` wrote of the same work")
    parser.add_argument("--layers", type=int, help="on a GPU: the model cut to so many, as the report's was")
    parser.add_argument("--grid", help="on a GPU: rows x columns of image tokens of a text model")
    args = parser.parse_args()
    if args.device == "cuda":
        return device_main(parser, args)
    if args.rounds < 1 or not 0 < args.budget < args.steps:
        parser.error("there must be a round, and in each at least one full and one predicted step")
    if not args.migm or not args.migm.is_file():
        parser.error(f"{args.migm} is no file; `cargo xtask bench --peer` builds migm and runs this")
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads)
    base.attend = fused

    settings = settings_of(args.steps)
    torch.manual_seed(0)
    model, net = models()
    count = counted(Run(model, net, settings))
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
        device = theirs["device"]
        if "bf16" in kinds:
            theirs = migm_round(args.migm, args.steps, args.budget, "cpu-bf16")
            same_work(count, theirs, parameters)
            sampled = sum(ms for (program, _), (_, ms) in operations(theirs).items() if program == "sample")
            found["migm bf16"] = {"full": pick(theirs["full"]), "predicted": pick(theirs["shortcut"])}
        rounds.append(found)
        told = [f"{name} {found[name]['full']['median_ms']:.0f} and {found[name]['predicted']['median_ms']:.1f} ms" for name in (*ours(found), *kinds)]
        print(f"round {index + 1} of {args.rounds}, full and predicted: " + "; ".join(told), file=sys.stderr, flush=True)

    report = {"config": CONFIG, "processor": processor(), "threads": threads, "migm_device": device, "torch": torch.__version__}
    report |= {"kinds": list(kinds), "rounds": args.rounds, "steps": args.steps, "budget": args.budget}
    report |= {"masked": count["masked"], "same_work": same, "times": summary(rounds, kinds)}
    report |= {"products_gflop": gflop, "products": products_summary(rounds), "each_round": rounds}
    print(markdown(report))
    common.write_whole(args.json, lambda file: file.write_text(json.dumps(report, indent=1) + "\n"))


if __name__ == "__main__":
    main()
