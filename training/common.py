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
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "muon"), help="muon: for the matrices inside blocks")
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
    if args.precision == "auto":
        amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        args.precision = "bf16" if args.device.type == "cuda" or amx() else "f32"
    return CONFIGS[args.config]


def autocast(args):
    """bf16 autocast, or nothing."""
    return torch.autocast(args.device.type, torch.bfloat16, enabled=args.precision == "bf16")


class Trainer:
    """The loop around a stage's step. It stops at the limit of minutes or steps, saves every minute, and resumes.

    The learning rate warms up, then falls along a cosine to a fiftieth at whichever limit is nearer. The averaged weights
    (`average`) are what other stages and the export take.
    """

    def __init__(self, args, stage, model, metadata, betas=(0.9, 0.96), weight_decay=0.01, decay=None, suffix=""):
        self.args, self.stage, self.model, self.metadata = args, stage, model, metadata
        settings = CONFIGS[args.config].stages[stage]
        self.minutes = args.minutes if args.minutes is not None else settings.minutes
        self.steps = args.steps or 0
        self.batch = args.batch or settings.batch
        self.lr = args.lr or settings.lr
        self.warmup, self.ema = settings.warmup, settings.ema
        self.decay = decay or self._cosine
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizers = optimizers(args, model, self.lr, betas, weight_decay)
        self.step, self.seconds, self.position, self.extra = 0, 0.0, 0, {}
        self.name = f"{stage}-{suffix}" if suffix else stage
        self.file = args.out / f"{self.name}.pt"
        self.curve = args.out / f"{self.name}.csv"
        self.rows, self.stop = [], False
        if args.begin and not self.file.exists():
            self._begin(args.begin)
        self._resume()

    def _cosine(self, done):
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

    def done(self):
        """How much of the training is over, 0 to 1."""
        shares = [self.seconds / 60 / self.minutes if self.minutes > 0 else 1.0]
        shares += [self.step / self.steps] if self.steps else []
        return max(shares)

    def _what(self, metadata):
        """What cannot change between resumptions: not for how long a stage trains, and sampling only where it is learnt from."""
        loose = {"stages", "cached"} | (set() if "shortcut" in self.stage else {"text_sampling", "class_sampling"})
        config = {name: value for name, value in metadata["config"].items() if name not in loose}
        return {**metadata, "config": config}

    def _begin(self, path):
        about, ours = metadata_of(path), json.loads(json.dumps(self.metadata))  # in JSON tuples are lists
        if self._what({name: about.get(name, value) for name, value in ours.items()}) != self._what(ours):
            raise SystemExit(f"error: {path} holds weights of other sizes, words or switches than this stage")
        self.model.load_state_dict(load_file(path))
        self.average.load_state_dict(self.model.state_dict())
        print(f"{self.stage}: begins with {path}")

    def _resume(self):
        if not self.file.exists():
            return
        state = torch.load(self.file, map_location=self.args.device, weights_only=False)
        if self._what(state["metadata"]) != self._what(self.metadata):
            raise SystemExit(f"error: {self.file} was begun with other sizes or switches; choose another --out or remove it")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, held in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        self.step, self.seconds, self.position = state["step"], state["seconds"], state["position"]
        self.rows, self.extra = state["rows"], state["extra"]
        torch.set_rng_state(state["rng"]["torch"].cpu())
        np.random.set_state(state["rng"]["numpy"])
        random.setstate(state["rng"]["python"])
        if self.args.device.type == "cuda" and state["rng"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["rng"]["cuda"].cpu())
        print(f"{self.stage}: resumed at step {self.step}, {self.seconds / 60:.1f} minutes in")

    def save(self):
        """Writes checkpoint, averaged weights and curve, each whole or not at all."""
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
            "extra": self.extra,
            "rng": {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate(), "cuda": cuda},
        }
        write_whole(self.file, lambda path: torch.save(state, path))
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

    def run(self, loss_of, validate=None, after_step=None):
        """Trains: `loss_of()` gives the loss and figures to log, `validate()` figures of the averaged weights."""
        previous = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        figures, since, saved = {}, 0, time.monotonic()
        last = time.monotonic()
        next_check = 0.0
        self.model.train()
        while self.done() < 1.0 and not self.stop:
            rate = self.lr * self.decay(self.done()) * min(1.0, (self.step + 1) / max(self.warmup, 1))
            for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
                group["lr"] = rate
            loss, parts = loss_of()
            if not torch.isfinite(loss):
                raise SystemExit(f"error: the loss of {self.stage} is not a number at step {self.step}; resume with a smaller --lr")
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self._average()
            if after_step:
                after_step()
            self.step += 1
            since += 1
            for name, value in {"loss": loss.detach(), **parts}.items():
                figures[name] = figures.get(name, 0.0) + (value if isinstance(value, float) else value.detach())
            now = time.monotonic()
            self.seconds += now - last
            last = now
            every = 50 if self.step > 50 else 10
            if self.step % every == 0 or self.done() >= 1.0:
                row = {"step": self.step, "seconds": round(self.seconds, 1), "lr": rate}
                row |= {name: round(float(value) / since, 6) for name, value in figures.items()}
                if validate and (self.done() >= next_check or self.done() >= 1.0):
                    next_check = self.done() + 0.05
                    self.model.eval()
                    row |= {name: round(float(value), 6) for name, value in validate().items()}
                    self.model.train()
                self.rows.append(row)
                print(f"{self.stage}: " + ", ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
                figures, since = {}, 0
            if now - saved > 60:
                self.save()
                saved = time.monotonic()
        self.save()
        for number, handler in previous.items():
            signal.signal(number, handler)
        plot(self.curve)
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


def optimizers(args, model, lr, betas, weight_decay):
    """AdamW for everything; or Muon for the matrices of blocks, its updates scaled to the size of AdamW's, and AdamW for the rest."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = [p for name, p in named if args.optimizer == "muon" and p.ndim == 2 and ("blocks." in name or "layers." in name)]
    chosen = {id(p) for p in inner}
    decayed = [p for _, p in named if p.ndim > 1 and id(p) not in chosen]
    others = [p for _, p in named if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    found = [torch.optim.AdamW(groups, lr=lr, betas=betas)]
    if inner:
        found.append(torch.optim.Muon(inner, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"))
    return found


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
