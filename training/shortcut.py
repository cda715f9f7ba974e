"""The shortcuts, `--arch dimoo` and `--arch maskgit`: small networks that move a base's features on by a step of sampling.

MIGM-Shortcut (arXiv 2602.23996), with the official tensor names: cross-attention from the last features to the tokens just
revealed, self-attention, a scale-shift by the mask ratio, and a residual onto the features. The frozen base makes
trajectories with the product's sampler while training goes on, half of them in half as many steps; an example is a chain of up to
`--unroll` pairs of consecutive steps of one trajectory, along which the shortcut goes on from its own features, as it does between two
full steps when pictures are made; tokens and targets stay those of the trajectory, so that the base runs no more often. Each trajectory
is used a few times. The loss is mostly (`--kl`) the divergence of the distributions that the tokens of a
step are drawn from, with guidance and without, which is what is taken from features: two directions of them that are as large are not
worth as much, guidance is a difference of features, in which errors of both add up, and most masked tokens wait for another step.
Beside it stands the mean squared error of features, and (`--masked`) of those at masked tokens. The shortcut begins as plain reuse of
the features: its last projection is zero. What it is worth is validated on runs that it does not learn from, between four full steps
of each (`held_...` in the curve).

`--rollout K` has the shortcut choose the tokens as well, for one full step of the base an example. `--unroll 1 --masked 0 --kl 0 --lr 1e-4
--decay 0.5` is what the paper does, as near as the schedule goes. Ablations: `--no-cross-attention`, `--no-time`, `--ratio`,
`--blocks`, `--kl WEIGHT`.

Train one: `python training/shortcut.py --arch dimoo --config small --out runs/small`.
"""

import argparse
import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import base
import common
import sampling
import tokens
from config import Shortcut, replace, revive

POOL = 6  # trajectories that batches are drawn from
OTHERS, OTHERS_WEIGHT = 24, 0.1  # of each picture, any masked tokens beside those that a step reveals: their confidence keeps them back
HELD = 8  # pictures whose runs it is validated on
HELD_BUDGET = 4  # full steps of those


class TimeEmbedder(nn.Module):
    """`Linear(SiLU(Linear(sinusoid(1000 * mask_ratio))))`; cosines first."""

    def __init__(self, width):
        super().__init__()
        middle = round(math.sqrt(width * 256))
        self.mlp = nn.Sequential(nn.Linear(256, middle), nn.SiLU(), nn.Linear(middle, width))

    def forward(self, ratio):
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, device=ratio.device) / 128)
        angles = 1000 * ratio.float()[:, None] * frequencies
        return self.mlp(torch.cat((angles.cos(), angles.sin()), 1).to(self.mlp[0].weight.dtype))


class _Shortcut(nn.Module):
    def __init__(self, width, inner, options):
        super().__init__()
        self.options = options
        self.narrow = inner != width
        if self.narrow:
            self.proj_in, self.proj_out = nn.Linear(width, inner), nn.Linear(inner, width)
            self.new_token_proj_in = nn.Linear(width, inner)
        self.time_embedder, self.adaLN_modulation = TimeEmbedder(inner), nn.Linear(inner, 2 * inner)

    def project(self, features, new):
        if not self.narrow:
            return features, new
        return self.proj_in(features), self.new_token_proj_in(new)

    def finish(self, x, features, ratio):
        if self.options["time"]:
            scale, shift = self.adaLN_modulation(self.time_embedder(ratio))[:, None].chunk(2, -1)
            x = x * (1 + scale) + shift
        return features + (self.proj_out(x) if self.narrow else x)


class MaskGITShortcut(_Shortcut):
    """`forward(features [B, T, hidden], base, new ids [B, n], their rows [B, n], mask ratio [B])`: the next features."""

    def __init__(self, width, heads, ratio, blocks, options):
        inner = width // ratio
        super().__init__(width, inner, options)
        parts = lambda: nn.ModuleDict(  # noqa: E731
            {
                "cross_attn": base.attention(inner, heads),
                "cross_attn_ff": base.feed_forward(inner, 4 * inner),
                "self_attn": base.attention(inner, heads),
                "self_attn_ff": base.feed_forward(inner, 4 * inner),
            }
        )
        self.blocks = nn.ModuleList(parts() for _ in range(blocks))
        norm = lambda: nn.LayerNorm(inner, eps=1e-12)  # noqa: E731
        self.last_layer = nn.Sequential(norm(), nn.Linear(inner, inner), nn.GELU(), norm())

    def forward(self, features, owner, ids, rows, ratio):
        new = owner.tok_emb(ids) + owner.pos_emb[0][rows]
        x, new = self.project(features, new)
        for block in self.blocks:
            # Only the query is normalised.
            x = x + block["cross_attn"](x, new if self.options["cross_attention"] else x)
            x = x + block["cross_attn_ff"](x)
            x = x + block["self_attn"](x, x)
            x = x + block["self_attn_ff"](x)
        return self.finish(self.last_layer(x), features, ratio)


class DiMOOShortcut(_Shortcut):
    """As above; rows are positions in the sequence, and new ids may begin with the prompt."""

    def __init__(self, width, heads, mlp, ratio, blocks, options):
        inner = width // ratio
        super().__init__(width, inner, options)
        self.heads, self.inner = heads, inner
        block = lambda: base.LlamaBlock(inner, heads, mlp)  # noqa: E731
        self.blocks = nn.ModuleList(nn.ModuleDict({"cross_attn": block(), "self_attn": block()}) for _ in range(blocks))
        self.ln_f = base.RMSNorm(inner)

    def forward(self, features, owner, ids, rows, ratio):
        x, new = self.project(features, owner.net.wte(ids))
        table = base.rotation(torch.arange(x.shape[1], device=x.device), self.inner // self.heads)
        there = base.rotation(rows, self.inner // self.heads)
        for block in self.blocks:
            cross = self.options["cross_attention"]
            x = block["cross_attn"](x, table, new, there) if cross else block["cross_attn"](x, table)
            x = block["self_attn"](x, table)
        return self.finish(self.ln_f(x), features, ratio)


def new_shortcut(arch, owner, sizes, options):
    """A shortcut for a base; `sizes` are `config.Shortcut`, `options` the ablations."""
    if arch == "dimoo":
        return DiMOOShortcut(owner.width, owner.heads, owner.mlp, sizes.ratio, sizes.blocks, options)
    return MaskGITShortcut(owner.width, owner.heads, sizes.ratio, sizes.blocks, options)


def load(path, owner, device="cpu"):
    """A trained shortcut and its metadata, given its base."""
    build = lambda m, config: new_shortcut(m["arch"], owner, config.shortcut, m["options"])  # noqa: E731
    return common.load_weights(path, build, device)


class Step:
    """A pair of consecutive steps: what the shortcut is given, and what the base made of it."""

    def __init__(self, run, before, after):
        self.inputs = [(f, ids, rows) for f, (ids, rows) in zip(before, run.new(), strict=True)]
        self.targets = after
        self.positions, ratio = run.masked()
        self.guidance, _ = sampling.numbers(run.arch, run.settings, run.step, run.steps)
        self.ratio = torch.full((run.batch,), ratio, device=run.device)
        self.rows = run.rows(self.positions)
        self.usual = run.model.tokens / run.steps  # tokens a step
        self.drawn = None

    def reveals(self, positions):
        """Takes note which of the masked tokens this step reveals, at these places `[B, n]`."""
        (self.drawn,) = (self.positions[..., None] == positions[:, None]).any(-1).nonzero()[:, 1:].T
        self.drawn = self.drawn.reshape(len(positions), -1)

    def at_masked(self, sequences):
        """Of the features of both sequences those at masked tokens."""
        return [f.gather(1, rows[..., None].expand(-1, -1, f.shape[-1])) for f, rows in zip(sequences, self.rows, strict=True)]


@torch.no_grad()
def trajectory(args, owner, arch, condition, vocabulary, settings):
    """The steps of a batch of vanilla runs; features are kept in bf16 where training computes in it."""
    kept = torch.bfloat16 if args.precision == "bf16" else torch.float32
    run = sampling.Run(owner, arch, condition, vocabulary, settings)
    steps, before = [], None
    for _ in range(run.steps):
        with common.autocast(args):
            run.full()
        after = [f.to(kept) for f in run.features]
        if before is not None:
            steps.append(Step(run, before, after))
        before = after
        run.reveal()
        if steps:
            steps[-1].reveals(run.new_positions)
    return steps


def held_chains(args, owner, arch, condition, vocabulary, settings):
    """What is predicted between `HELD_BUDGET` evenly spread full steps, of runs that are the same whenever this is called."""
    with torch.random.fork_rng(devices=[args.device] if args.device.type == "cuda" else []):
        torch.manual_seed(0)
        made = trajectory(args, owner, arch, condition, vocabulary, settings)
    stretch = max(2, (len(made) + 1) // HELD_BUDGET)
    return [made[at : at + stretch - 1] for at in range(0, len(made), stretch)]


@torch.no_grad()
def rollout(args, owner, arch, condition, vocabulary, settings, student, depth):
    """One example `depth` steps deep: the student goes first on its own features and tokens, the base sets the target."""
    run = sampling.Run(owner, arch, condition, vocabulary, settings)
    start = random.randrange(max(1, run.steps - depth))
    with common.autocast(args):
        for step in range(start + depth):
            if step <= start:
                run.full()
            else:
                run.features = sampling.predict(student, run)
            run.reveal()
        before = run.features
        run.full()
        step = Step(run, before, run.features)
        run.reveal()
        step.reveals(run.new_positions)
        return step


def divergence(owner, step, ours, theirs, guidance, some):
    """How far the distributions that tokens are drawn from are apart `[B, n]`, at those of the masked tokens that `some` `[B, n]` counts: `ours`
    and `theirs` are features at all of them, of both sequences.

    In f32, as guidance multiplies what rounding leaves; its sum goes before the head, which is linear.
    """
    with torch.autocast(some.device.type, enabled=False):
        at = some[..., None].expand(-1, -1, owner.width)
        picked = ([features.float().gather(1, at) for features in pair] for pair in (ours, theirs))
        guided = ((1 + guidance) * told - guidance * untold for told, untold in picked)
        positions = step.positions.gather(1, some)
        own, teacher = (owner.logits(features, positions).log_softmax(-1) for features in guided)
    return F.kl_div(own, teacher, log_target=True, reduction="none").sum(-1)


def loss_of_chain(chain, student, owner, arch, extra, kl, told=False):
    """The mean squared error of both sequences over consecutive steps, `extra` times that at masked tokens, and `kl` times the divergence of
    what tokens are drawn from; and the figures that show what the shortcut is worth, divergences where they are `told`.

    After the first step the student goes on from its own features. `reuse` is what the squared errors would be of the features at the
    chain's beginning; the other figures are of masked tokens alone, and divergences in nats a token, in the mean over a whole run.
    """
    losses, figures = [], {}
    present = first = [f.float() for f, _, _ in chain[0].inputs]
    mean = lambda of, *pairs: sum(map(of, *pairs)) / 2  # noqa: E731
    for step in chain:
        targets = [target.float() for target in step.targets]
        inputs = zip(present, step.inputs, strict=True)
        present = [student(features, owner, ids, rows, step.ratio).float() for features, (_, ids, rows) in inputs]
        ours, theirs, reused = map(step.at_masked, (present, targets, first))
        apart, kept = ((ours, reused) if arch == "maskgit" else (present, first))
        wanted = theirs if arch == "maskgit" else targets
        loss = mean(F.mse_loss, apart, wanted) + extra * mean(F.mse_loss, ours, theirs)
        if kl:
            # Half of the time as it is outside of an interval of guidance.
            guidance, count = random.choice((step.guidance, 0.0)), step.drawn.shape[1]
            others = torch.randint(step.positions.shape[1], (len(step.drawn), OTHERS), device=step.drawn.device)
            found = divergence(owner, step, ours, theirs, guidance, torch.cat((step.drawn, others), 1))
            loss = loss + kl * (found[:, :count].sum(1).mean() / step.usual + OTHERS_WEIGHT * found[:, count:].mean())
        losses.append(loss)
        with torch.no_grad():
            found = {"reuse": mean(F.mse_loss, kept, wanted) + extra * mean(F.mse_loss, reused, theirs)}
            for name, pair in (("reuse", reused), ("shortcut", ours)):
                found[f"cos_{name}"] = mean(lambda a, b: F.cosine_similarity(a, b, dim=-1).mean(), pair, theirs)
                found[f"mse_{name}"] = mean(F.mse_loss, pair, theirs)
                if told:
                    found[f"kl_{name}"] = divergence(owner, step, pair, theirs, step.guidance, step.drawn).sum(1).mean() / step.usual
            for name, value in found.items():
                figures[name] = figures.get(name, 0.0) + value.detach() / len(chain)
    return sum(losses) / len(losses), figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=("dimoo", "maskgit"))
    common.add_arguments(parser)
    parser.add_argument("--no-cross-attention", action="store_true", help="a second self-attention in its place")
    parser.add_argument("--no-time", action="store_true", help="without the scale-shift by the mask ratio")
    parser.add_argument("--ratio", type=int, help="width of the base over the width inside")
    parser.add_argument("--blocks", type=int)
    parser.add_argument("--kl", type=float, default=3.0, metavar="WEIGHT", help="add the divergence at the tokens of a step (default: 3)")
    parser.add_argument("--masked", type=float, default=1.0, metavar="WEIGHT", help="add the error at masked tokens alone (default: 1)")
    parser.add_argument("--rollout", type=int, default=1, metavar="K", help="learn up to K steps deep on its own predictions")
    parser.add_argument("--replays", type=int, default=4, metavar="K", help="learn from each trajectory so often (default: 4)")
    parser.add_argument("--unroll", type=int, default=6, metavar="K", help="chains of up to K steps from its own features (default: 6)")
    parser.add_argument("--name", default="", help="suffix of this shortcut's files, to keep ablations apart")
    args = parser.parse_args()
    config, arch = common.prepare(args), args.arch
    stage = f"shortcut-{arch}"
    owner, base_metadata = common.load_weights(args.out / f"base-{arch}.safetensors", base.build, args.device)
    trained_as = revive(base_metadata["config"])
    sizes = Shortcut(args.blocks or config.shortcut.blocks, args.ratio or config.shortcut.ratio)
    config = replace(config, shortcut=sizes, text=trained_as.text, classes=trained_as.classes, tokenizer=trained_as.tokenizer)
    options = {"cross_attention": not args.no_cross_attention, "time": not args.no_time}
    student = new_shortcut(arch, owner, sizes, options).to(args.device)
    if student.narrow:
        # It begins as plain reuse of the features. (The official code begins at random, and has hours to get there.)
        torch.nn.init.zeros_(student.proj_out.weight)
        torch.nn.init.zeros_(student.proj_out.bias)
    metadata = {"config": config.as_dict(), "arch": arch, "options": options, "kl": args.kl, "masked": args.masked, "rollout": args.rollout}
    metadata["unroll"] = args.unroll
    trainer = common.Trainer(args, stage, student, metadata, (0.9, 0.999), 0.01, suffix=args.name, optimizer="adamw", shares=True)
    # Processes have runs of their own, but cut them alike (`random`), so that none waits while another makes some.
    batch = max(1, trainer.batch // common.processes())
    if common.processes() > 1:
        torch.manual_seed(args.seed + trainer.step + 1_000_003 * common.rank())
    counts = [sum(p.numel() for p in m.parameters()) for m in (student, owner)]
    print(f"{stage}: {counts[0]:,} parameters for a base of {counts[1]:,}, {args.precision} on {common.device_name(args)}")
    vocabulary = base.Vocabulary(base_metadata["header"]["words"])
    settings = config.text_sampling if arch == "dimoo" else config.class_sampling
    prompts = tokens.Batches(tokens.Folder(args.out), batch, args.seed + 1 + common.rank()) if arch == "dimoo" else None
    runs = base.Through(torch.compile(owner, dynamic=True), owner) if args.compile else owner
    learner = torch.compile(student, dynamic=True) if args.compile else student

    def settings_now():
        """Of half of the runs, half of the steps: the fewer they are, the more tokens a step brings."""
        return {**settings, "steps": settings["steps"] // random.choice((1, 2))}

    def condition():
        if arch == "maskgit":
            return owner.class_id(torch.randint(owner.classes, (batch,), device=args.device))
        return base.condition_of(arch, owner, prompts.take(), vocabulary, args.device)

    pool, turn = [], [0]

    def next_chain():
        if args.rollout > 1:
            turn[0] += 1
            depth = 1 + turn[0] % args.rollout
            return [rollout(args, runs, arch, condition(), vocabulary, settings, student, depth)]
        if len(pool) < POOL * settings["steps"] * args.replays // 2 // args.unroll:
            made = trajectory(args, runs, arch, condition(), vocabulary, settings_now())
            for _ in range(args.replays):
                # Chains of one length but for the last, from another place each time.
                cuts = range(random.randrange(args.unroll) - args.unroll + 1, len(made), args.unroll)
                pool.extend(chain for cut in cuts if (chain := made[max(cut, 0) : cut + args.unroll]))
            random.shuffle(pool)
        return pool.pop()

    def loss_of():
        chain = next_chain()
        with common.autocast(args):
            return loss_of_chain(chain, learner, owner, arch, args.masked, args.kl)

    def held_condition():
        if arch == "maskgit":
            return owner.class_id(torch.arange(HELD, device=args.device) % owner.classes)
        part = tokens.Folder(args.out).held()
        part = part.of_length(np.bincount(part.lengths()).argmax())
        return base.condition_of(arch, owner, part.of(slice(HELD)), vocabulary, args.device)

    held = []

    @torch.no_grad()
    def validate():
        if not held:  # a stage that is done needs none
            held.extend(held_chains(args, owner, arch, held_condition(), vocabulary, settings))
        with common.autocast(args):
            found = [loss_of_chain(chain, trainer.average, owner, arch, args.masked, 0.0, told=True)[1] for chain in held]
        names = ("mse_reuse", "mse_shortcut", "kl_reuse", "kl_shortcut")
        return {f"held_{name}": sum(f[name] for f in found) / len(found) for name in names}

    trainer.run(loss_of, validate, every=300)


if __name__ == "__main__":
    main()
