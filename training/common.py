"""What the stages share: options, the training loop with its checkpoints, averages of weights, curves, pictures."""

import copy
import csv
import json
import math
import os
import random
import signal
import struct
import time
import zlib
from pathlib import Path

# Threads that spin while they wait take the cores from whatever makes the scenes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

import scenes as scene_stream
from config import CONFIGS, revive


def add_arguments(parser):
    """The options of every stage."""
    parser.add_argument("--config", default="small", choices=CONFIGS)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run: checkpoints, curves, weights")
    parser.add_argument("--minutes", type=float, help="train so long in all, over every resumption (default: the configuration's)")
    parser.add_argument("--steps", type=int, help="and at most so many steps")
    parser.add_argument("--batch", type=int, help="sequences or pictures a step")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--begin", type=Path, metavar="FILE", help="begin with these weights (see take.py) instead of at random")
    parser.add_argument("--decay", type=float, metavar="SHARE", help="how much of the training, at its end, the rate falls in")
    parser.add_argument("--optimizer", choices=("adamw", "muon"), help="muon (default): for matrices inside blocks and for convolutions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto", choices=("auto", "f32", "bf16"), help="auto: bf16 where the device has units for it")
    parser.add_argument("--threads", type=int, help="threads on CPU (default: the cores)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler on CPU)")
    scene_stream.add_arguments(parser)


def prepare(args):
    """Makes the run's folder and sets threads, seeds and matrix precision; the configuration and the stage's device."""
    args.out.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(args.threads or cores)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    random.seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    args.device = torch.device(args.device)
    if "WORLD_SIZE" in os.environ:
        if args.device.type == "cuda":
            args.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(args.device)
        dist.init_process_group("nccl" if args.device.type == "cuda" else "gloo")
    if args.precision == "auto":
        args.precision = "bf16" if args.device.type == "cuda" or multiplies_bf16() else "f32"
    return CONFIGS[args.config]


def rank():
    """Which of the processes that train together this is (`torchrun`), 0 if it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes():
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def from_first(make):
    """What `make()` gives in the first process, in all of them."""
    if processes() == 1:
        return make()
    made = [make() if rank() == 0 else None]
    dist.broadcast_object_list(made)
    return made[0]


def leave():
    """Waits for all processes and takes leave of them: one that just ended would take the others, which still validate, with it."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def share(count):
    """Which of `count` sequences of a batch are this process's."""
    if count < processes():
        raise SystemExit(f"error: a batch of {count} is too small for {processes()} processes")
    return slice(count * rank() // processes(), count * (rank() + 1) // processes())


def average_gradients(parameters, loss):
    """Sets gradients to their means over all processes, and gives the mean of the losses."""
    if processes() == 1:
        return loss
    parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
    flat = torch.cat([*parts, loss.detach()[None].float()])
    dist.all_reduce(flat)
    flat /= processes()
    for p, grad in zip(parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True):
        p.grad = grad.view_as(p)
    return flat[-1]


def multiplies_bf16():
    """Whether the processor has instructions that multiply bf16: AMX, or AVX-512's (no AMX on an EPYC, and twice f32's rate)."""
    names = ("amx_bf16", "avx512_bf16")
    try:
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in names)
    except (AttributeError, RuntimeError):  # an older PyTorch, or one built for another processor
        pass
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return any(name in flags.split() for name in names)


def autocast(args):
    """bf16 autocast, or nothing."""
    return torch.autocast(args.device.type, torch.bfloat16, enabled=args.precision == "bf16")


class Trainer:
    """The loop around a stage's step. It stops at the limit of minutes or steps, saves every minute, and resumes.

    The learning rate warms up, stays, and falls to nothing at the end (over the share `decay` of whichever limit is nearer),
    as 1 - sqrt (Haegele et al. 2024, arXiv 2405.18392). What was there before it fell is kept: where a later command has a
    higher limit, training goes on from there, as if it had never fallen. The averaged weights (`average`) are what other
    stages and the export take.

    Several processes (`torchrun`) take one step together where the stage `shares`: each learns from its `share` of every batch, by
    losses whose mean is that of the batch. The first of them keeps time, validates and saves.
    """

    def __init__(
        self, args, stage, model, metadata, betas=(0.9, 0.96), weight_decay=0.01, minutes=None, suffix="", optimizer="muon", shares=False
    ):
        self.args, self.stage, self.model, self.metadata = args, stage, model, metadata
        if processes() > 1 and not shares:
            raise SystemExit(f"error: {stage} trains in one process")
        settings = CONFIGS[args.config].stages[stage]
        minutes = args.minutes if minutes is None else minutes
        self.minutes = settings.minutes if minutes is None else minutes
        self.steps = args.steps or 0
        self.batch = args.batch or settings.batch
        self.lr = args.lr or settings.lr
        self.warmup, self.ema = settings.warmup, settings.ema
        self.decay = settings.decay if args.decay is None else args.decay
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizers = optimizers(args.optimizer or optimizer, model, self.lr, betas, weight_decay)
        self.step, self.seconds, self.position, self.extra, self.kept = 0, 0.0, 0, {}, {}
        self.name = f"{stage}-{suffix}" if suffix else stage
        self.file = args.out / f"{self.name}.pt"
        self.constant = args.out / f"{self.name}-constant.pt"
        self.curve = args.out / f"{self.name}.csv"
        self.rows, self.stop, self.falling = [], False, False
        if args.begin and not self.file.exists():
            self._begin(args.begin)
        self._resume()

    def keep(self, name, part):
        """Saves a part that has `state_dict` along with the model; a resumed training has it back."""
        self.kept[name] = part
        if name in self.extra:
            part.load_state_dict(self.extra.pop(name))

    def done(self):
        """How much of the training is over, 0 to 1."""
        return self._done(self.seconds, self.step)

    def _done(self, seconds, step):
        shares = [seconds / 60 / self.minutes if self.minutes > 0 else 1.0]
        shares += [step / self.steps] if self.steps else []
        return max(shares)

    def rate(self):
        """The learning rate now."""
        fallen = (self.done() - 1 + self.decay) / self.decay if self.decay > 0 else 0.0
        fall = 1 - math.sqrt(min(max(fallen, 0.0), 1.0))
        return self.lr * fall * min(1.0, (self.step + 1) / max(self.warmup, 1))

    def _what(self, metadata, begins=False):
        """What cannot change between resumptions: not for how long a stage trains, and sampling only where it is learnt from. Weights can
        begin that learnt from another, and by another loss."""
        learns = "shortcut" in self.stage and not begins
        metadata = {name: value for name, value in metadata.items() if not (begins and name in ("kl", "masked", "rollout", "unroll"))}
        loose = {"stages", "scenes"} | (set() if learns else {"text_sampling", "class_sampling"})
        config = {name: value for name, value in metadata["config"].items() if name not in loose}
        return {**metadata, "config": config}

    def _begin(self, path):
        about, ours = metadata_of(path), json.loads(json.dumps(self.metadata))  # in JSON tuples are lists
        ours = {name: value for name, value in ours.items() if name not in ("phase", "begun")}
        theirs = {name: about.get(name, value) for name, value in ours.items()}
        if self._what(theirs, begins=True) != self._what(ours, begins=True):
            raise SystemExit(f"error: {path} holds weights of other sizes, words or switches than this stage")
        self.model.load_state_dict(load_file(path))
        self.average.load_state_dict(self.model.state_dict())
        print(f"{self.stage}: begins with {path}")

    def _resume(self):
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location=self.args.device, weights_only=False)
        if state["falling"] and self._done(state["seconds"], state["step"]) < 1 - self.decay and self.constant.exists():
            state = torch.load(self.constant, map_location=self.args.device, weights_only=False)
        if self._what(state["metadata"]) != self._what(self.metadata):
            told = "was begun with other sizes or switches, or from other weights"
            raise SystemExit(f"error: {self.file} {told}; choose another --out or remove it")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.step, self.seconds, self.position = state["step"], state["seconds"], state["position"]
        self.rows, self.extra, self.falling = state["rows"], state["extra"], state["falling"]
        torch.set_rng_state(state["rng"]["torch"].cpu())
        np.random.set_state(state["rng"]["numpy"])
        random.setstate(state["rng"]["python"])
        if self.args.device.type == "cuda" and state["rng"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["rng"]["cuda"].cpu())
        print(f"{self.stage}: resumed at step {self.step}, {self.seconds / 60:.1f} minutes in")

    def _save_state(self, path):
        cuda = torch.cuda.get_rng_state() if self.args.device.type == "cuda" else None
        state = {
            "metadata": self.metadata,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "position": self.position,
            "rows": self.rows,
            "extra": self.extra | {name: part.state_dict() for name, part in self.kept.items()},
            "falling": self.falling,
            "rng": {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate(), "cuda": cuda},
        }
        write_whole(path, lambda file: torch.save(state, file))

    def save(self):
        """Writes checkpoint, averaged weights and curve, each whole or not at all."""
        if rank() > 0:
            return
        self._save_state(self.file)
        save_weights(self.args.out / f"{self.name}.safetensors", self.average, {**self.metadata, "trained": self.trained()})
        if self.rows:
            write_whole(self.curve, self._write_curve)

    def trained(self):
        """What a model card says about the training."""
        return {"steps": self.step, "minutes": round(self.seconds / 60, 2), "batch": self.batch, "device": device_name(self.args)}

    def _write_curve(self, path):
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def run(self, loss_of, validate=None, every=60):
        """Trains: `loss_of()` gives the loss and figures to log, `validate()` figures of the averaged weights, each `every` seconds."""
        previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        figures, saved = {}, time.monotonic()
        last = time.monotonic()
        next_check = self.seconds + (0 if self.step == 0 else every)
        self.model.train()
        while self.done() < 1.0 and not self.stop:
            if not self.falling and self.decay > 0 and self.done() >= 1 - self.decay:
                if rank() == 0:
                    self._save_state(self.constant)
                self.falling = True
            rate = self.rate()
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            loss, parts = loss_of()
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            loss = average_gradients(parameters, loss)
            if not torch.isfinite(loss):
                raise SystemExit(f"error: the loss of {self.stage} is not a number at step {self.step}; resume with a smaller --lr")
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self._average()
            self.step += 1
            for name, value in {"loss": loss.detach(), **parts}.items():
                total, steps = figures.get(name, (0.0, 0))  # some figures are of some steps alone
                figures[name] = total + (value if isinstance(value, float) else value.detach()), steps + 1
            now = time.monotonic()
            self.seconds += now - last
            last = now
            if processes() > 1:
                self.seconds, self.stop = from_first(lambda: (self.seconds, self.stop))
            if self.step % (50 if self.step > 50 else 10) == 0 or self.done() >= 1.0:
                row = {"step": self.step, "seconds": round(self.seconds, 1), "lr": rate}
                row |= {name: round(float(total) / steps, 6) for name, (total, steps) in figures.items()}
                if validate and (self.seconds >= next_check or self.done() >= 1.0) and rank() == 0:
                    next_check = self.seconds + every
                    self.model.eval()
                    row |= {name: round(float(value), 6) for name, value in validate().items()}
                    self.model.train()
                self.rows.append(row)
                if rank() == 0:
                    print(f"{self.stage}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
                figures = {}
            if now - saved > 60:
                self.save()
                saved = time.monotonic()
        self.save()
        for number, handler in previous.items():
            signal.signal(number, handler)
        if rank() == 0:
            plot(self.curve)
        leave()
        if self.stop:
            raise SystemExit(f"{self.stage}: stopped at step {self.step}; the same command goes on from here")

    def _interrupt(self, *_):
        self.stop = True

    @torch.no_grad()
    def _average(self):
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        averages = [p for p in self.average.parameters()]
        torch._foreach_lerp_(averages, [p.detach() for p in self.model.parameters()], 1 - decay)
        for ours, theirs in zip(self.average.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by Newton-Schulz (Jordan et al. 2024), for matrices and kernels of convolutions as matrices.

    Updates have the size of AdamW's (arXiv 2502.16982), so that both take one rate. PyTorch's own takes no convolutions, where
    it helps most: an autoencoder came to 20.5 dB in 250 steps, with AdamW in 1,500.
    """

    def __init__(self, parameters, lr, weight_decay, momentum=0.95):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        """One step, from the gradients that are there. Matrices of one shape are made orthogonal together."""
        for group in self.param_groups:
            alike = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.flatten(1).shape, []).append(p)
            for shape, parameters in alike.items():
                wanted = []
                for p in parameters:
                    state = self.state[p]
                    if not state:
                        state["momentum"] = torch.zeros_like(p)
                    held = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    wanted.append(p.grad.lerp(held, group["momentum"]).flatten(1))
                size = 0.2 * math.sqrt(max(shape))
                for p, update in zip(parameters, orthogonal(torch.stack(wanted)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(p), alpha=-group["lr"] * size)


def orthogonal(x):
    """About the nearest matrices whose singular values are 1, of `[n, rows, columns]`."""
    long = x.shape[1] > x.shape[2]
    h = (x.mT if long else x).bfloat16()
    h = h / (h.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        square = h @ h.mT
        square = torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315)
        h = torch.baddbmm(h, square, h, beta=3.4445)
    return (h.mT if long else h).to(x.dtype)


def optimizers(kind, model, lr, betas, weight_decay):
    """AdamW for everything; or Muon for the matrices inside blocks and all kernels of convolutions, and AdamW for the rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def fits(name, p):
        if p.ndim == 4:
            return min(p.shape[:2]) > 3  # neither from colours nor to them
        return p.ndim == 2 and ("blocks." in name or "layers." in name)

    inner = [p for name, p in named if kind == "muon" and fits(name, p)]
    chosen = {id(p) for p in inner}
    decayed = [p for _, p in named if p.ndim > 1 and id(p) not in chosen]
    others = [p for _, p in named if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    found = [torch.optim.AdamW(groups, lr=lr, betas=betas)]
    return found + ([Muon(inner, lr, weight_decay)] if inner else [])


def device_name(args):
    """The device, in words for a model card."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def write_whole(path, write):
    """Writes beside `path` and renames: a reader sees the old file or the new one."""
    path = Path(path)
    beside = path.with_name(path.name + ".part")
    write(beside)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(beside, 0o666 & ~mask)  # safetensors makes files that only their owner reads
    os.replace(beside, path)


def save_weights(path, model, metadata):
    """A model's state as safetensors, with `metadata` as JSON."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in model.state_dict().items()}
    write_whole(path, lambda file: save_file(tensors, file, {"migm": json.dumps(metadata)}))


def metadata_of(path):
    """The JSON that `save_weights` put into a file."""
    if not Path(path).exists():
        raise SystemExit(f"error: {path} does not exist yet; train that stage first")
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["migm"])


def load_weights(path, build, device="cpu"):
    """A model built from a file's metadata, with the file's weights, frozen: `(model, metadata)`."""
    metadata = metadata_of(path)
    model = build(metadata, revive(metadata["config"]))
    model.load_state_dict(load_file(path))
    return model.to(device).eval().requires_grad_(False), metadata


def plot(curve):
    """Draws the figures of a CSV as PNG beside it, if matplotlib is there."""
    if not Path(curve).exists():
        return
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print(f"no plot of {curve}: matplotlib is not installed")
        return
    with open(curve) as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[-1] if name not in ("step", "seconds", "lr")]
    figure, axes = pyplot.subplots(len(names), 1, figsize=(7, 2.2 * len(names)), squeeze=False, sharex=True)
    for name, axis in zip(names, axes[:, 0], strict=True):
        points = [(float(row["seconds"]) / 60, float(row[name])) for row in rows if row.get(name)]
        axis.plot(*zip(*points, strict=True))
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(Path(curve).with_suffix(".png"), dpi=90)
    pyplot.close(figure)


def sheet(path, pictures, columns=8):
    """Writes u8 pictures `[n, height, width, 3]` as one PNG, row by row, with two pixels between."""
    count, height, width, _ = pictures.shape
    lines = -(-count // columns)
    canvas = np.full((lines * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        y, x = index // columns * (height + 2), index % columns * (width + 2)
        canvas[y : y + height, x : x + width] = picture
    rows = b"".join(b"\0" + row.tobytes() for row in canvas)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", canvas.shape[1], canvas.shape[0], 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    write_whole(path, lambda file: Path(file).write_bytes(b"\x89PNG\r\n\x1a\n" + parts))


def to_bytes(images):
    """Pictures `[n, 3, height, width]` in [0, 1] as u8 `[n, height, width, 3]`."""
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
