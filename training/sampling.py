"""The product's samplers: how many tokens each step reveals, how they are drawn and chosen, which steps run the full model.

The same formulas as `migm`'s, so that shortcuts are trained on the trajectories that they will meet, and so that recordings
(record.py) replay there token for token. Gumbel noise can be given from outside.
"""

import math

import torch

from orders import halton_ranks


def linspace_1_to_0(count):
    """`torch.linspace(1, 0, count)` in f32."""
    return torch.linspace(1, 0, count) if count > 1 else torch.ones(1)


def reveals(arch, steps, tokens, schedule="arccos"):
    """Tokens revealed at each step."""
    if arch == "dimoo":
        # In f32, as the official code: at two thirds of the steps the cosine is then a little below one half.
        share = torch.cos(torch.arange(1, steps, dtype=torch.float32) / steps * math.pi * 0.5)
        kept = [max(1, math.floor(keep)) for keep in (share * tokens).tolist()] + [0]
        counts, masked = [], tokens
        for keep in kept:
            counts.append(masked - min(keep, masked))
            masked -= counts[-1]
        return counts
    r = linspace_1_to_0(steps)
    shape = {
        "arccos": lambda: torch.acos(r) / (math.pi / 2),
        "cosine": lambda: torch.cos(r * math.pi / 2),
        "linear": lambda: 1 - r,
        "square": lambda: 1 - r**2,
        "root": lambda: 1 - r.sqrt(),
    }[schedule]()
    counts = torch.round(shape / shape.sum() * tokens).clamp(min=1).long().tolist() if steps > 1 else [tokens]
    counts[-1] += tokens - sum(counts)
    out, left = [], tokens
    for count in counts:
        if left == 0:
            break
        out.append(min(max(count, 1), left))
        left -= out[-1]
    return out


def full_steps(steps, budget):
    """Which of `steps` steps run the full model: all at budget 0, else so many, spread as the paper's code spreads them."""
    full, last = [budget == 0 or s == 0 for s in range(steps)], 0
    for k in range(1, budget):
        last = max(round(steps * (k / budget)), last + 1)
        if last < steps:
            full[last] = True
    return full


def numbers(arch, settings, step, steps):
    """Guidance weight and temperature of the choice at a step: MaskGIT's rise and fall."""
    if arch == "dimoo":
        return settings["guidance"], settings["choice_temperature"]
    progress = 1.0 if steps == 1 else step / (steps - 1)
    return settings["guidance"] * progress, settings["choice_temperature"] * (1 - progress)


def gumbel(*shape, device="cpu"):
    """Standard Gumbel noise."""
    return -torch.log(-torch.log(torch.rand(*shape, device=device).clamp(1e-9, 1 - 1e-7)))


def choose(logits, arch, settings, token_noise, choice_noise, temperature, count, ranks=None, allowed=None):
    """Draws codes at masked rows, and picks those to keep.

    `logits` `[B, m, codebook]` are guided. Gives the codes `[B, m]`, and of each image the `count` best rows `[B, count]`: by confidence, or by
    their ranks `[B, m]` where the order is known in advance; of those that are allowed `[B, m]`, if not all are.
    """
    z = logits.float() * settings.get("softmax_temperature", 1.0)
    drawn = (z + settings.get("draw_temperature", 1.0) * token_noise).argmax(-1)
    confidence = z.log_softmax(-1).gather(-1, drawn[..., None])[..., 0].clamp(min=math.log(1e-20))
    scores = confidence + temperature * choice_noise if ranks is None else -ranks.float()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return drawn, scores, scores.topk(count, -1).indices


class Run:
    """One run over a batch: conditional and unconditional sequences over the same image tokens.

    `features` holds those of both after every step: a pair of `[B, T, width]` for a text model, whose two sequences differ in
    length. The caller moves them on by `full()` or a shortcut, and then reveals tokens by `reveal()`.
    """

    def __init__(self, model, arch, condition, vocabulary, settings):
        self.model, self.arch, self.condition, self.vocabulary, self.settings = model, arch, condition, vocabulary, settings
        self.batch, self.device = condition.shape[0], condition.device
        self.codes = torch.full((self.batch, model.tokens), model.codebook, dtype=torch.long, device=self.device)
        self.counts = reveals(arch, settings["steps"], model.tokens, settings.get("schedule", "arccos"))
        self.steps, self.step = len(self.counts), 0
        self.features = None
        if arch == "dimoo":
            nothing = torch.full((self.batch, 1), vocabulary.uncondition, dtype=torch.long, device=self.device)
            self.conditions = (condition, nothing)
        else:
            self.conditions = (condition, torch.full_like(condition, model.dropped))
        self.new_positions = None  # of the tokens revealed last, in raster order
        self.allowed = None  # which tokens may be revealed `[B, tokens]`, if not all that are masked
        halton = settings.get("order") == "halton"
        self.ranks = halton_ranks(*self.grid()) if halton else None

    def grid(self):
        """Rows and columns of tokens."""
        return self.model.grid if self.arch == "dimoo" else (self.model.grid, self.model.grid)

    def starts(self):
        """Where the image begins in each sequence."""
        return [c.shape[1] + 2 for c in self.conditions] if self.arch == "dimoo" else [0, 0]

    def ids(self):
        """The ids of both sequences."""
        if self.arch == "dimoo":
            return [self.model.sequence(c, self.codes, self.vocabulary) for c in self.conditions]
        return [torch.cat((self.codes, c[:, None]), 1) for c in self.conditions]

    def full(self):
        """Features by the model."""
        if self.arch == "maskgit":
            self.features = list(self.model(torch.cat(self.ids())).chunk(2))
        else:
            self.features = [self.model(ids) for ids in self.ids()]
        return self.features

    def masked(self):
        """Positions `[B, m]` of masked tokens, and their share of all."""
        positions = (self.codes == self.model.codebook).nonzero()[:, 1].reshape(self.batch, -1)
        return positions, positions.shape[1] / self.model.tokens

    def rows(self, positions):
        """Rows of image tokens in each of the two sequences."""
        if self.arch == "maskgit":
            return [positions, positions]
        return [self.model.places(start, self.device)[positions] for start in self.starts()]

    def new(self):
        """Ids and rows of what was revealed last, for each sequence; a text model's prompt counts as new."""
        codes = self.codes.gather(1, self.new_positions)
        if self.arch == "maskgit":
            return [(codes, self.new_positions)] * 2
        ids, (first, second) = codes + self.model.text_vocab, self.rows(self.new_positions)
        prompt = self.conditions[0]
        at = torch.arange(prompt.shape[1], device=self.device).expand(self.batch, -1)
        return [(torch.cat((prompt, ids), 1), torch.cat((at, first), 1)), (ids, second)]

    def logits(self, positions):
        """Guided logits `[B, m, codebook]` at positions, from the features."""
        parts = []
        for features, rows in zip(self.features, self.rows(positions), strict=True):
            picked = features.gather(1, rows[..., None].expand(-1, -1, features.shape[-1]))
            # In f32 also where the model computes in less: guidance multiplies the rounding of logits.
            with torch.autocast(self.device.type, enabled=False):
                parts.append(self.model.logits(picked.float(), positions))
        w, _ = numbers(self.arch, self.settings, self.step, self.steps)
        low, high = self.settings.get("guidance_interval", (0, 1))
        w = w if low <= positions.shape[1] / self.model.tokens <= high else 0
        return (1 + w) * parts[0] - w * parts[1]

    def choose(self, logits, positions, token_noise, choice_noise):
        """`choose` for this step, at masked positions `[B, m]`."""
        _, temperature = numbers(self.arch, self.settings, self.step, self.steps)
        ranks = None if self.ranks is None else self.ranks[positions]
        allowed = None if self.allowed is None else self.allowed.gather(1, positions)
        noise, count = (token_noise, choice_noise), self.counts[self.step]
        return choose(logits, self.arch, self.settings, *noise, temperature, count, ranks, allowed)

    def reveal(self, token_noise=None, choice_noise=None):
        """Draws and reveals this step's tokens: the draws `[B, m]` at the masked positions `[B, m]`."""
        positions, _ = self.masked()
        logits = self.logits(positions)
        token_noise = gumbel(*logits.shape, device=self.device) if token_noise is None else token_noise
        choice_noise = gumbel(*positions.shape, device=self.device) if choice_noise is None else choice_noise
        drawn, _, best = self.choose(logits, positions, token_noise, choice_noise)
        best = best.sort(-1).values
        self.new_positions = positions.gather(1, best)
        self.codes = self.codes.scatter(1, self.new_positions, drawn.gather(1, best))
        self.step += 1
        return drawn, positions


@torch.no_grad()
def sample(model, arch, condition, vocabulary, settings, shortcut=None, budget=0):
    """Codes `[B, tokens]` of a whole run, by the model alone or with a shortcut."""
    run = Run(model, arch, condition, vocabulary, settings)
    full = full_steps(run.steps, budget if shortcut is not None else 0)
    for is_full in full:
        if is_full:
            run.full()
        else:
            run.features = predict(shortcut, run)
        run.reveal()
    return run.codes


def predict(shortcut, run):
    """The features of both sequences, one step on."""
    _, ratio = run.masked()
    ratio = torch.full((run.batch,), ratio, device=run.device)
    return [shortcut(f, run.model, ids, rows, ratio) for f, (ids, rows) in zip(run.features, run.new(), strict=True)]
