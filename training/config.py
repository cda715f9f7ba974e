"""The sizes and schedules of every stage, by name: `--config toy|small|large`.

`large` is meant for one GPU (all nouns), `small` for two CPU cores (24 nouns), both for 128 x 128 pixels and 256 tokens; `toy`
is for tests. Widths are chosen so that a shortcut costs at most a fifteenth of its base (README.md has the count), and so that
most of the tokenizer is at low resolution, where a processor spends little on it; minutes are what each stage takes unless
`--minutes` says otherwise.
"""

from dataclasses import asdict, dataclass, field, replace


@dataclass(frozen=True)
class Tokenizer:
    """An aMUSEd VQModel: each level but the last halves the resolution. `local` has no GroupNorm in the encoder."""

    ch: tuple = (32, 64, 96, 128)
    layers: int = 1
    latent: int = 16
    groups: int = 16
    codebook: int = 4096
    local: bool = False

    @property
    def factor(self):
        """Pixels a token along a side."""
        return 1 << (len(self.ch) - 1)


@dataclass(frozen=True)
class Text:
    """A Lumina-DiMOO."""

    d_model: int = 192
    heads: int = 6
    layers: int = 16
    mlp: int = 512


@dataclass(frozen=True)
class Class:
    """A MaskGIT."""

    hidden: int = 192
    heads: int = 6
    depth: int = 12
    mlp: int = 768


@dataclass(frozen=True)
class Shortcut:
    """A shortcut; ablations are switches of `shortcut.py`."""

    blocks: int = 1
    ratio: int = 2


@dataclass(frozen=True)
class Stage:
    """How long a stage trains, on how much at once, how fast."""

    minutes: float
    batch: int
    lr: float
    warmup: int = 200
    ema: float = 0.999
    decay: float = 0.2  # share of the training, at its end, in which the rate falls


def text_sampling(steps, guidance, choice=1.0, draw=1.0):
    """What a text model samples with; Lumina-DiMOO's temperature of the choice is 1."""
    return {"steps": steps, "guidance": guidance, "choice_temperature": choice, "draw_temperature": draw}


def class_sampling(steps, guidance, choice=4.5):
    """What a class model samples with: the official schedule and temperatures, 4.5 that of the choice."""
    return {
        "steps": steps,
        "schedule": "arccos",
        "guidance": guidance,
        "choice_temperature": choice,
        "softmax_temperature": 1.0,
    }


@dataclass(frozen=True)
class Config:
    """Everything that a run is made from."""

    name: str
    size: int  # pixels along a side
    nouns: int  # the first so many nouns; 0 for all
    tokenizer: Tokenizer
    text: Text
    classes: Class
    shortcut: Shortcut
    judge: tuple  # channels of the judge by level
    scenes: int  # how many are tokenized and kept for the bases, at most
    stages: dict
    # What the exported models sample with, and what shortcuts are trained on.
    text_sampling: dict = field(default_factory=lambda: text_sampling(16, 3.0))
    class_sampling: dict = field(default_factory=lambda: class_sampling(16, 2.0))

    @property
    def grid(self):
        """Tokens along a side."""
        return self.size // self.tokenizer.factor

    def as_dict(self):
        """For the metadata of checkpoints."""
        return asdict(self)


SMALL = Config(
    name="small",
    size=128,
    nouns=24,
    tokenizer=Tokenizer(ch=(16, 32, 96, 160), groups=8, codebook=4096, local=True),
    text=Text(),
    classes=Class(),
    shortcut=Shortcut(),
    judge=(16, 32, 64, 128, 160),
    scenes=1_000_000,
    stages={
        "tokenizer-autoencoder": Stage(minutes=90, batch=16, lr=2e-3, warmup=50, ema=0.998, decay=0.0),
        "tokenizer-codes": Stage(minutes=120, batch=16, lr=1e-3, warmup=100, ema=0.998, decay=0.3),
        "tokenizer-decoder": Stage(minutes=120, batch=16, lr=1e-3, warmup=100, ema=0.998, decay=0.3),
        "base-dimoo": Stage(minutes=1200, batch=32, lr=1.5e-3, warmup=60, ema=0.999),
        "base-maskgit": Stage(minutes=600, batch=32, lr=1.5e-3, warmup=60, ema=0.999),
        "shortcut-dimoo": Stage(minutes=90, batch=16, lr=1e-3, warmup=50, ema=0.998, decay=0.3),
        "shortcut-maskgit": Stage(minutes=60, batch=16, lr=1e-3, warmup=50, ema=0.998, decay=0.3),
        "judge": Stage(minutes=20, batch=16, lr=2e-3, warmup=50, ema=0.998, decay=0.3),
    },
    text_sampling=text_sampling(32, 2.0),
    class_sampling=class_sampling(32, 2.0, choice=2.0),
)

LARGE = Config(
    name="large",
    size=128,
    nouns=0,
    tokenizer=Tokenizer(ch=(32, 64, 128, 192), groups=16, codebook=8192, local=True),
    text=Text(d_model=320, heads=10, layers=16, mlp=832),
    classes=Class(hidden=320, heads=10, depth=16, mlp=1280),
    shortcut=Shortcut(),
    judge=(32, 64, 128, 192, 256),
    scenes=4_000_000,
    stages={
        "tokenizer-autoencoder": Stage(minutes=10, batch=128, lr=1e-3, warmup=500, decay=0.0),
        "tokenizer-codes": Stage(minutes=15, batch=128, lr=6e-4, warmup=500, decay=0.3),
        "tokenizer-decoder": Stage(minutes=15, batch=64, lr=6e-4, warmup=500, decay=0.3),
        "base-dimoo": Stage(minutes=120, batch=256, lr=1e-3, warmup=1000, ema=0.9995),
        "base-maskgit": Stage(minutes=60, batch=256, lr=1e-3, warmup=1000, ema=0.9995),
        "shortcut-dimoo": Stage(minutes=20, batch=64, lr=1e-3, warmup=200, decay=0.3),
        "shortcut-maskgit": Stage(minutes=15, batch=64, lr=1e-3, warmup=200, decay=0.3),
        "judge": Stage(minutes=8, batch=128, lr=1e-3, warmup=500, decay=0.3),
    },
    text_sampling=text_sampling(32, 2.0),
    class_sampling=class_sampling(32, 2.0),
)

_seconds = Stage(minutes=0.1, batch=16, lr=2e-3, warmup=5, ema=0.9)
TOY = Config(
    name="toy",
    size=32,
    nouns=4,
    tokenizer=Tokenizer(ch=(16, 16, 32, 32), layers=1, latent=8, groups=8, codebook=64, local=True),
    text=Text(d_model=64, heads=4, layers=3, mlp=96),
    classes=Class(hidden=64, heads=4, depth=3, mlp=128),
    shortcut=Shortcut(),
    judge=(16, 16, 32, 32),
    scenes=512,
    stages={name: _seconds for name in SMALL.stages},
    text_sampling=text_sampling(6, 2.0),
    class_sampling=class_sampling(6, 2.0),
)

CONFIGS = {config.name: config for config in (TOY, SMALL, LARGE)}


def revive(values):
    """The `Config` that `as_dict` (through JSON) came from."""
    values = dict(values)
    values["tokenizer"] = Tokenizer(**{**values["tokenizer"], "ch": tuple(values["tokenizer"]["ch"])})
    values["text"] = Text(**values["text"])
    values["classes"] = Class(**values["classes"])
    values["shortcut"] = Shortcut(**values["shortcut"])
    values["judge"] = tuple(values["judge"])
    values["stages"] = {name: Stage(**stage) for name, stage in values["stages"].items()}
    return Config(**values)


__all__ = ["CONFIGS", "Config", "Class", "Shortcut", "Stage", "Text", "Tokenizer", "replace", "revive"]
