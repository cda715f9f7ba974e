"""The bases, `--arch dimoo` and `--arch maskgit`: transformers that fill in masked image tokens.

`DiMOO` is Lumina-DiMOO (arXiv 2510.06308; LLaDA's blocks, 2502.09992): one sequence of prompt and image tokens, rotary
positions. `MaskGIT` (arXiv 2202.04200) is the PyTorch port of valeoai: a grid of tokens and a class token at the end. Tensor
names and mathematics are the official ones, so that `migm` opens what `export.py` writes.

What they learn from is written by `tokens.py`, which runs beside them. A batch holds captions of one length, because the model
knows no padding; one batch in ten has no prompt (no class), for guidance. The loss is cross-entropy at masked tokens, which `masks.py`
chooses. The class model learns from scenes of one thing. With `--window` it is mostly what stands around things that is learnt
from, tokens elsewhere being left out of the sequence: at half of the tokens a step costs half. The last part of a training has
to be without.

Train one: `python training/base.py --arch dimoo --config small --out runs/small`.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import common
import masks
import scenes
import tokenizer
import tokens

SPECIAL = ["[UNK]", "<uncondition>", "<mask>", "<newline>", "<boa>", "<boi>", "<eoi>", "<eoa>"]
UNCONDITIONAL = 0.1
WHOLE = 0.1  # share of batches that are whole scenes with `--window`


def attend(q, k, v):
    """Attention of `[B, heads, T, width]`.

    PyTorch's fused one takes most of a training step on CPU, where its backward pass is many times slower than the two
    products and the softmax that it stands for.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    return weights.to(v.dtype) @ v


# ---------------------------------------------------------------------------------------------------------- Lumina-DiMOO


class Vocabulary:
    """Text ids: the closed vocabulary of the scenes, then special tokens; image codes follow.

    Filled up to a multiple of 4, which keeps rows of the embedding aligned.
    """

    def __init__(self, words):
        self.words = list(words)
        names = self.words + SPECIAL
        names += [f"<unused{i}>" for i in range(-len(names) % 4)]
        self.names = names
        self.size = len(names)
        at = len(self.words)
        self.unknown, self.uncondition, self.mask, self.newline, self.boa, self.boi, self.eoi, self.eoa = range(at, at + 8)


def rms_norm(x, weight):
    """In f32 and cast back before the weight, as the official code."""
    h = x.float()
    return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * weight


class RMSNorm(nn.Module):
    """Scale only."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return rms_norm(x, self.weight)


@torch.compiler.disable  # compiled along, it is computed anew for every head of every layer
def rotation(positions, width):
    """Cosine and sine `[..., T, width]` of rotary embedding at positions `[..., T]`; halves, not pairs."""
    frequencies = 500_000.0 ** (-torch.arange(0, width, 2, device=positions.device, dtype=torch.float32) / width)
    angles = positions.float()[..., None] * frequencies
    angles = torch.cat((angles, angles), -1)
    return angles.cos(), angles.sin()


def rotate(x, table):
    """Rotary embedding of `[B, heads, T, width]`, in f32."""
    cos, sin = (t.unsqueeze(-3) for t in table)
    h = x.float()
    first, second = h.chunk(2, -1)
    return (h * cos + torch.cat((-second, first), -1) * sin).to(x.dtype)


class LlamaBlock(nn.Module):
    """LLaDA's block. As the cross-attention of a shortcut, keys and values come from another sequence, normalised by the
    same weight."""

    def __init__(self, width, heads, mlp):
        super().__init__()
        self.heads = heads
        self.attn_norm, self.ff_norm = RMSNorm(width), RMSNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.v_proj, self.attn_out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.ff_proj, self.up_proj = nn.Linear(width, mlp, bias=False), nn.Linear(width, mlp, bias=False)
        self.ff_out = nn.Linear(mlp, width, bias=False)

    def forward(self, x, table, source=None, source_table=None):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        h = self.attn_norm(x)
        if source is None:
            # One product instead of three: the matrices are too thin to keep a processor busy.
            packed = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
            q, k, v = map(split, F.linear(h, packed).chunk(3, -1))
            source_table = table
        else:
            s = self.attn_norm(source)
            q, k, v = split(self.q_proj(h)), split(self.k_proj(s)), split(self.v_proj(s))
        h = attend(rotate(q, table), rotate(k, source_table), v)
        x = x + self.attn_out(h.transpose(1, 2).flatten(2))
        gate, up = F.linear(self.ff_norm(x), torch.cat((self.ff_proj.weight, self.up_proj.weight))).chunk(2, -1)
        return x + self.ff_out(F.silu(gate) * up)


class DiMOO(nn.Module):
    """Ids `[B, T]` to features `[B, T, d_model]`, the output of the last norm. Logits are linear in them."""

    def __init__(self, d_model, heads, layers, mlp, text_vocab, codebook, grid):
        super().__init__()
        self.width, self.heads, self.mlp = d_model, heads, mlp
        self.text_vocab, self.codebook, self.grid = text_vocab, codebook, tuple(grid)
        self.tokens = self.grid[0] * self.grid[1]
        blocks = nn.ModuleList(LlamaBlock(d_model, heads, mlp) for _ in range(layers))
        parts = {"wte": nn.Embedding(text_vocab + codebook, d_model), "blocks": blocks, "ln_f": RMSNorm(d_model)}
        parts["ff_out"] = nn.Linear(d_model, text_vocab + codebook, bias=False)
        self.model = nn.ModuleDict({"transformer": nn.ModuleDict(parts)})
        for name, p in self.named_parameters():
            if p.ndim > 1:
                deep = name.endswith(("attn_out.weight", "blocks.ff_out.weight")) or ".ff_out." in name and "blocks" in name
                nn.init.normal_(p, std=0.02 if "wte" in name or not deep else 0.02 / math.sqrt(2 * layers))
        nn.init.normal_(self.net.wte.weight, std=0.5)

    @property
    def net(self):
        return self.model["transformer"]

    def forward(self, ids, positions=None):
        """`positions` `[B, T]` say where the ids stand, if not one after the other."""
        x = self.net.wte(ids)
        positions = torch.arange(ids.shape[1], device=ids.device) if positions is None else positions
        table = rotation(positions, self.width // self.heads)
        for block in self.net.blocks:
            x = block(x, table)
        return self.net.ln_f(x)

    def logits(self, features, positions=None):
        """Logits of the image codes from features `[..., d_model]`."""
        return F.linear(features, self.net.ff_out.weight[self.text_vocab :])

    def places(self, start, device=None):
        """Where the image tokens stand in a sequence whose first one is at `start`: a newline follows every row."""
        token = torch.arange(self.tokens, device=device)
        return start + token + token // self.grid[1]

    def sequence(self, prompt, codes, vocabulary):
        """Ids of `[BOA BOI rows EOI EOA]` after prompts `[B, P]`; codes `[B, tokens]` may hold `codebook` for a mask."""
        batch, device = codes.shape[0], codes.device
        fill = lambda value, *shape: torch.full((batch, *shape), value, dtype=torch.long, device=device)  # noqa: E731
        ids = torch.where(codes < self.codebook, codes + self.text_vocab, vocabulary.mask).reshape(batch, *self.grid)
        rows = torch.cat((ids, fill(vocabulary.newline, self.grid[0], 1)), 2).flatten(1)
        v = vocabulary
        return torch.cat((prompt, fill(v.boa, 1), fill(v.boi, 1), rows, fill(v.eoi, 1), fill(v.eoa, 1)), 1)


# --------------------------------------------------------------------------------------------------------------- MaskGIT


class Attention(nn.Module):
    """`nn.MultiheadAttention`'s tensors: packed query, key, value."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight, self.in_proj_bias = nn.Parameter(torch.empty(3 * width, width)), nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query, source=None):
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        width = query.shape[-1]
        if source is None:
            q, k, v = map(split, F.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1))
        else:
            q = split(F.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width]))
            k, v = map(split, F.linear(source, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, -1))
        h = attend(q, k, v)
        return self.out_proj(h.transpose(1, 2).flatten(2))


class Wrapped(nn.Module):
    """`fn` behind a norm of its first input, with the official names."""

    def __init__(self, width, name, fn):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = nn.ModuleDict({name: fn})
        self.name = name

    def forward(self, x, *sources):
        return self.fn[self.name](self.norm(x), *sources)


def attention(width, heads):
    return Wrapped(width, "mha", Attention(width, heads))


def feed_forward(width, mlp):
    # Index 2 and 4 are dropouts in the official code.
    return Wrapped(width, "net", nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Identity(), nn.Linear(mlp, width)))


class MaskGIT(nn.Module):
    """Ids `[B, tokens + 1]`, the class last, to features `[B, tokens + 1, hidden]`."""

    def __init__(self, grid, hidden, depth, heads, mlp, codebook, classes):
        super().__init__()
        self.width, self.heads, self.grid = hidden, heads, grid
        self.codebook, self.classes, self.tokens = codebook, classes, grid * grid
        vocabulary, length = codebook + 1 + classes + 1, self.tokens + 1
        self.tok_emb = nn.Embedding(vocabulary, hidden)
        self.pos_emb = nn.Parameter(torch.zeros(1, length, hidden))
        self.bias = nn.Parameter(torch.zeros(length, vocabulary))
        none = nn.Identity
        norm = lambda: nn.LayerNorm(hidden, eps=1e-12)  # noqa: E731
        linear = lambda: nn.Linear(hidden, hidden)  # noqa: E731
        self.first_layer = nn.Sequential(norm(), none(), linear(), nn.GELU(), norm(), none(), linear())
        layers = (nn.ModuleList([attention(hidden, heads), feed_forward(hidden, mlp)]) for _ in range(depth))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.last_layer = nn.Sequential(norm(), none(), linear(), nn.GELU(), norm())
        nn.init.trunc_normal_(self.tok_emb.weight, std=0.02)
        nn.init.trunc_normal_(self.pos_emb, std=0.02)

    @property
    def mask(self):
        return self.codebook

    @property
    def dropped(self):
        return self.codebook + 1 + self.classes

    def class_id(self, label):
        return self.codebook + 1 + label

    def forward(self, ids, positions=None):
        """`positions` `[B, T]` say where the ids stand, if not one after the other."""
        x = self.first_layer(self.tok_emb(ids) + (self.pos_emb if positions is None else self.pos_emb[0][positions]))
        for attend, feed in self.transformer["layers"]:
            x = x + attend(x)
            x = x + feed(x)
        return self.last_layer(x)

    def logits(self, features, positions):
        """Logits of the codes; `positions` are the tokens that the features belong to, for the bias."""
        return F.linear(features, self.tok_emb.weight[: self.codebook]) + self.bias[:, : self.codebook][positions]


@torch.no_grad()
def know_codes(model, codebook, codes):
    """Begins with what the tokenizer knows: codes that look alike have embeddings alike, and a class model's bias is how often
    each code stands at each place of the scenes `codes` `[n, tokens]`.

    A codebook has many near synonyms, and few scenes show each of them; otherwise a base would first have to find out which.
    """
    latents = (codebook - codebook.mean(0)) / codebook.std()
    across = torch.linalg.qr(torch.randn(model.width, latents.shape[1], device=latents.device))[0].T
    known = latents @ across
    known = known / known.std()

    def mixed(rows):
        # A part of chance lets codes that look the same come apart.
        mixture = known + 0.25 * torch.randn_like(known)
        return rows.std() * mixture / mixture.std()

    if isinstance(model, DiMOO):
        for weight in (model.net.wte.weight, model.net.ff_out.weight):
            rows = weight[model.text_vocab : model.text_vocab + model.codebook]
            rows.copy_(mixed(rows))
        return
    rows = model.tok_emb.weight[: model.codebook]
    rows.copy_(mixed(rows))
    counts = torch.stack([torch.bincount(place, minlength=model.codebook) for place in torch.from_numpy(codes.astype(np.int64)).T])
    everywhere = counts.sum(0, keepdim=True) / counts.sum()
    shares = (counts + 100 * everywhere) / (counts.sum(1, keepdim=True) + 100)
    shares = shares.clamp(min=1e-5).log().to(model.bias.device)
    model.bias[: model.tokens, : model.codebook] = shares - shares.mean(1, keepdim=True)


def build(metadata, config):
    """A base from the metadata of its file."""
    return new_base(metadata["arch"], config, metadata["header"])


def new_base(arch, config, header):
    """A base for scenes with these nouns and words."""
    if arch == "dimoo":
        t = config.text
        vocabulary = Vocabulary(header["words"])
        return DiMOO(t.d_model, t.heads, t.layers, t.mlp, vocabulary.size, config.tokenizer.codebook, (config.grid, config.grid))
    c = config.classes
    return MaskGIT(config.grid, c.hidden, c.depth, c.heads, c.mlp, config.tokenizer.codebook, len(header["nouns"]))


# -------------------------------------------------------------------------------------------------------------- training


def condition_of(arch, model, part, vocabulary, device, drop=False):
    """What a base is told of scenes: prompt ids `[B, P]`, or class ids `[B]`; with `drop`, what stands for nothing."""
    if arch == "dimoo":
        nothing = torch.full((len(part), 1), vocabulary.uncondition, dtype=torch.long, device=device)
        return nothing if drop else torch.from_numpy(part.ids.astype(np.int64)).to(device)
    labels = torch.from_numpy(part.labels[:, scenes.NOUN_A].astype(np.int64)).to(device)
    return torch.full_like(labels, model.dropped) if drop else model.class_id(labels)


def features_of(model, arch, codes, condition, vocabulary, window=None):
    """Features at the image tokens: `condition` is prompt ids `[B, P]` or class ids `[B]`. With windows `[B, N]`, tokens elsewhere
    are left out of the sequence, and features are of those in it."""
    if arch == "dimoo":
        ids = model.sequence(condition, codes, vocabulary)
        places = model.places(condition.shape[1] + 2, codes.device)
        if window is None:
            return model(ids)[:, places]
        kept = torch.ones_like(ids, dtype=torch.bool)
        kept[:, places] = False
        kept.scatter_(1, places[window], True)
        positions = kept.nonzero()[:, 1].unflatten(0, (len(ids), -1))
        features = model(ids.gather(1, positions), positions)
        at = torch.searchsorted(positions, places[window])
        return features.gather(1, at[..., None].expand(-1, -1, features.shape[-1]))
    if window is None:
        return model(torch.cat((codes, condition[:, None]), 1))[:, : model.tokens]
    positions = F.pad(window, (0, 1), value=model.tokens)
    return model(torch.cat((codes.gather(1, window), condition[:, None]), 1), positions)[:, :-1]


class Through:
    """A model whose `forward` is another callable: the compiled one."""

    def __init__(self, forward, owner):
        self.forward, self.owner = forward, owner

    def __call__(self, *inputs):
        return self.forward(*inputs)

    def __getattr__(self, name):
        return getattr(self.owner, name)


def of_one_thing(part):
    """What a class model learns from."""
    return part.of(part.labels[:, scenes.KIND] == 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=("dimoo", "maskgit"))
    common.add_arguments(parser)
    parser.add_argument(
        "--window", type=int, default=0, metavar="TOKENS", help="learn mostly from so many tokens around things; end without"
    )
    parser.add_argument(
        "--bind",
        type=float,
        default=0,
        metavar="SHARE",
        help="text: of batches, to tell captions of two things from the same words in another order",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FILE",
        help="class: learn what this text model answers to each class's name, in place of the scenes' own codes",
    )
    parser.add_argument("--every", type=float, default=10, metavar="MINUTES", help="between validations, each with a sheet of pictures")
    args = parser.parse_args()
    import binding  # these import this
    import teacher
    import watch

    config, arch = common.prepare(args), args.arch
    stage = f"base-{arch}"
    vq, _ = common.load_weights(args.out / "tokenizer.safetensors", tokenizer.build, args.device)
    folder = tokens.Folder(args.out, vq, wait=True)
    held = folder.held()
    if args.bind and arch != "dimoo":
        raise SystemExit("error: --bind tells captions apart; a class model has none")
    if args.bind and not np.logical_or(*tokens.exchangeable(held.labels)).any():
        raise SystemExit(f"error: {folder.path} has no captions of two things, which --bind tells apart")
    if args.window and not held.labels[:, scenes.LAST].any():
        raise SystemExit(f"error: {folder.path} does not say where things stand, as --window has to know; make its tokens anew")
    if args.teacher and arch != "maskgit":
        raise SystemExit("error: --teacher is asked for classes; a text model has none")
    guide = teacher.Teacher(args, folder) if args.teacher else None
    if arch == "maskgit":
        held = of_one_thing(held)
    checks = watch.checks(held)
    model = new_base(arch, config, folder.header).to(args.device)
    know_codes(model, vq.quantize.embedding.weight, held.codes)
    if guide:
        guide.passes_on(model)
    metadata = {"config": config.as_dict(), "arch": arch, "header": folder.header, "tokens": folder.fingerprint}
    trainer = common.Trainer(args, stage, model, metadata, weight_decay=0.03, shares=True)
    batches = tokens.Batches(folder, trainer.batch, args.seed, single=arch == "maskgit")
    trainer.keep("batches", batches)
    pairs = tokens.Batches(folder, max(1, trainer.batch // 2), args.seed + 1, pairs=True) if args.bind else None
    if pairs:
        trainer.keep("pairs", pairs)
    vocabulary = Vocabulary(folder.header["words"])
    print(f"{stage}: {sum(p.numel() for p in model.parameters()):,} parameters, {args.precision} on {common.device_name(args)}")
    net = torch.compile(model, dynamic=True) if args.compile else model
    codebook = config.tokenizer.codebook

    def loss_at(forward, owner, part, drop=False, biased=True, window=None, own=slice(None)):
        """The mean loss at the masked tokens of a batch, as far as the sequences `own` add to it."""
        codes = torch.from_numpy(part.codes.astype(np.int64)).to(args.device)
        places = torch.arange(codes.shape[1], device=args.device).expand_as(codes) if window is None else window.to(args.device)
        wanted = codes.gather(1, places)
        scene = (part.labels, places, config.grid) if biased else ()
        inputs, mask = masks.masked(wanted, arch, codebook, biased, *scene)
        codes, total = codes.scatter(1, places, inputs), mask.sum()
        part, codes, places, wanted, mask = part.of(own), codes[own], places[own], wanted[own], mask[own]
        condition, window = condition_of(arch, owner, part, vocabulary, args.device, drop), None if window is None else places
        with common.autocast(args):
            features = features_of(Through(forward, owner), arch, codes, condition, vocabulary, window)
            if guide and biased:
                theirs = guide.features(codes, part.labels[:, scenes.NOUN_A], drop, window)
                return guide.loss(owner, features[mask], theirs[mask], places[mask]) / total
            logits = owner.logits(features[mask], places[mask])
        return F.cross_entropy(logits.float(), wanted[mask], reduction="sum") / total

    def loss_of():
        if np.random.rand() < args.bind:
            part = common.from_first(pairs.take)
            trainer.position += len(part)
            other = tokens.exchanged(part, folder.header)
            places, hidden = binding.places_of(part, args.window or model.tokens, codebook, config.grid)
            own = common.share(len(part))
            with common.autocast(args):
                through = Through(net, model)
                loss, told = binding.loss(through, part.of(own), other[own], places[own], hidden[own], vocabulary, args.device)
            return loss, {"told": told}
        part = common.from_first(batches.take)
        trainer.position += len(part)
        drop = np.random.rand() < UNCONDITIONAL
        around = args.window > 0 and np.random.rand() > WHOLE
        window = tokens.windows(part.labels, args.window, config.grid, config.grid) if around else None
        loss = common.processes() * loss_at(net, model, part, drop, window=window, own=common.share(len(part)))
        return loss, {"again": float(batches.again)}

    @torch.no_grad()
    def validate():
        # The same masks every time, as many as sampling has.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = [float(loss_at(trainer.average, trainer.average, part, biased=False)) * len(part) for part in checks]
        watch.show(args, config, trainer.average, held, vocabulary, vq)
        figures = {"validation": sum(losses) / sum(map(len, checks))}
        return figures | (watch.told(args, trainer.average, held, folder.header, vocabulary) if arch == "dimoo" else {})

    trainer.run(loss_of, validate, every=60 * args.every)


if __name__ == "__main__":
    main()
