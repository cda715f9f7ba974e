"""The bases, `--arch dimoo` and `--arch maskgit`: transformers that fill in masked image tokens.

`DiMOO` is Lumina-DiMOO (arXiv 2510.06308; LLaDA's blocks, 2502.09992): one sequence of prompt and image tokens, rotary
positions. `MaskGIT` (arXiv 2202.04200) is the PyTorch port of valeoai: a grid of tokens and a class token at the end. Tensor
names and mathematics are the official ones, so that `migm` opens what `export.py` writes.

Scenes are tokenized once by the frozen tokenizer and kept. A batch holds captions of one length, because the model knows no
padding; one batch in ten has no prompt (no class), for guidance. How much is masked is drawn along the schedule that
sampling uses, and the loss is cross-entropy at masked tokens, with targets spread over codes that look alike. Three switches
shift the weight to what a small budget learns last, which thing stands where: `--kinds SHARE` (batches of captions that
name two kinds), `--telling WEIGHT` (tokens whose code tells of a thing), `--early POWER` (moments when little is drawn yet).
Order in the caption and relation together say which side, and neither alone does: a network finds nothing to begin with, and
in 9,000 steps did not. With `--relations left` at first, order alone does; with `left,left,left,right` next, it goes on to
the word. `--lessons` goes through all of that by itself.

Train one: `python training/base.py --arch dimoo --config small --out runs/small`.
"""

import argparse
import json
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import common
import scenes
import tokenizer
from config import replace
from scenes import Scenes, source_of

SPECIAL = ["[UNK]", "<uncondition>", "<mask>", "<newline>", "<boa>", "<boi>", "<eoi>", "<eoa>"]
SYNONYMS = 5  # codes that a target is spread over, in effect
UNCONDITIONAL = 0.1
# What `--lessons` teaches from which share of the training on: (share, kinds, relations, early).
LESSONS = (
    (0.0, None, scenes.RELATIONS, 1.0),
    (0.4, 0.8, ("left",), 2.0),
    (0.5, 0.85, ("left", "left", "left", "right"), 2.0),
    (0.58, 0.8, ("left", "right"), 2.0),
    (0.66, 0.6, scenes.RELATIONS, 1.5),
)


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

    def forward(self, ids):
        x = self.net.wte(ids)
        table = rotation(torch.arange(ids.shape[1], device=ids.device), self.width // self.heads)
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

    def forward(self, ids):
        x = self.first_layer(self.tok_emb(ids) + self.pos_emb)
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


def synonyms(codebook):
    """For each code the distribution `[codes, codes]` that is its target: itself and those that look like it.

    Which of its near synonyms a patch was given is mostly chance. Targets that are spread over them say the same with less
    noise, so that fewer steps find out what there is to know. The spread is a Gaussian of the distance, as wide as makes the
    median perplexity `SYNONYMS`: a code that looks like no other keeps to itself.
    """
    distances = torch.cdist(codebook, codebook).square()
    low, high = 1e-6, float(distances.max())
    for _ in range(40):
        width = math.sqrt(low * high)
        logs = (-distances / width).log_softmax(1)
        perplexity = float((-(logs.exp() * logs).sum(1)).exp().median())
        low, high = (width, high) if perplexity < SYNONYMS else (low, width)
    return logs.exp()


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


class Tokens:
    """Tokenized scenes: `codes` `[n, tokens]`, `ids` `[n, 32]`, `labels` `[n, 16]`; in buckets of one caption length.

    With `kinds`, so many of the batches are of captions that name two kinds, and of these each of `relations` has an equal part
    (twice that where it stands twice); otherwise scenes come as often as they are there.
    """

    def __init__(self, codes, ids, labels, header, kinds=None, relations=scenes.RELATIONS):
        self.codes, self.ids, self.labels, self.header = codes, ids, labels, header
        lengths = (ids != scenes.NO_WORD).sum(1)
        two = labels[:, scenes.NOUN_B] >= 0
        if kinds is None:
            groups = [(np.ones(len(ids), bool), 1.0)]
        else:
            related = [two & (labels[:, scenes.RELATION] == scenes.RELATIONS.index(name)) for name in relations]
            groups = [(~two, 1 - kinds)] + [(group, kinds / len(relations)) for group in related]
        self.lengths, self.buckets, shares = [], [], []
        for group, share in groups:
            found = [length for length in np.unique(lengths[group]) if length > 0]
            self.lengths += found
            self.buckets += [np.flatnonzero(group & (lengths == length)) for length in found]
            shares += [share * len(bucket) / group.sum() for bucket in self.buckets[len(shares) :]]
        self.shares = np.array(shares) / sum(shares)

    def batch(self, count):
        """Indices of `count` scenes whose captions have one length, and the length."""
        which = np.random.choice(len(self.buckets), p=self.shares)
        return np.random.choice(self.buckets[which], count), int(self.lengths[which])


def tokenized(args, config, arch, count, seed, vq, fingerprint, name):
    """Scenes as codes, from the run's cache or made now. Class models see scenes of one object only."""
    path = args.out / f"tokens-{arch}-{name}.npz"
    if path.exists():
        held = np.load(path, allow_pickle=False)
        if str(held["fingerprint"]) == fingerprint and len(held["codes"]) >= count:
            return Tokens(held["codes"], held["ids"], held["labels"], json.loads(str(held["header"])))
    stream = Scenes(source_of(args), config.size, config.nouns, seed, single=arch == "maskgit")
    parts = []
    made = 0
    while made < count:
        batch = stream.take(min(64, count - made))
        with torch.no_grad(), common.autocast(args):
            codes = vq.encode(tokenizer.pictures(batch, args.device))
        parts.append((codes.cpu().numpy().astype(np.uint16), batch.ids, batch.labels))
        made += len(batch.captions)
        if made % 6400 == 0:
            print(f"tokenized {made} of {count} scenes", flush=True)
    stream.close()
    codes, ids, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    header = {field: getattr(stream.header, field) for field in ("nouns", "places", "lights", "styles", "words")}

    def write(file):
        with open(file, "wb") as out:
            np.savez(out, codes=codes, ids=ids, labels=labels, header=json.dumps(header), fingerprint=fingerprint)

    common.write_whole(path, write)
    return Tokens(codes, ids, labels, header)


def prompt_set(args, config):
    """Captions without pictures, for trajectories; the base's tokenized scenes if they are there."""
    path = args.out / "tokens-dimoo-train.npz"
    if not path.exists():
        raise SystemExit(f"error: {path} does not exist; train the base in this folder first")
    held = np.load(path, allow_pickle=False)
    return Tokens(held["codes"], held["ids"], held["labels"], json.loads(str(held["header"])))


def masked(codes, arch, codebook, early=1.0):
    """Codes with some masked, and which: as many as a random moment of the sampler's schedule leaves, at least one.

    Moments are even for a power `early` of 1; a higher one has more of them at the beginning, when most is masked.
    """
    r = torch.rand(codes.shape[0], 1, device=codes.device) ** early
    share = torch.acos(r) / (math.pi / 2) if arch == "maskgit" else torch.cos(r * math.pi / 2)
    count = (share * codes.shape[1]).ceil().clamp(min=1)
    order = torch.rand(codes.shape, device=codes.device).argsort(1).argsort(1)
    mask = order < count
    return torch.where(mask, codebook, codes), mask


def telling(tokens, codebook):
    """How much each code tells of what there is, in nats `[codebook]`: the divergence of the nouns of scenes that have it.

    Counted over scenes of one kind of thing. Sky and ground say nothing of it; a penguin's belly does.
    """
    alone = tokens.labels[:, scenes.NOUN_B] < 0
    nouns = tokens.labels[alone, scenes.NOUN_A].astype(np.int64)
    kinds = int(nouns.max()) + 1
    pairs = tokens.codes[alone].astype(np.int64) * kinds + nouns[:, None]
    counts = torch.from_numpy(np.bincount(pairs.ravel(), minlength=codebook * kinds).reshape(codebook, kinds)).float()
    prior = counts.sum(0) / counts.sum()
    shares = (counts + 50 * prior) / (counts.sum(1, keepdim=True) + 50)  # a rare code tells nothing for sure
    return torch.special.xlogy(shares, shares / prior.clamp(min=1e-9)).sum(1)


def prompts(tokens, chosen, length, vocabulary, device):
    """Prompt ids `[B, length]` of scenes; of length 0: the prompt that stands for none."""
    if length == 0:
        return torch.full((len(chosen), 1), vocabulary.uncondition, dtype=torch.long, device=device)
    return torch.from_numpy(tokens.ids[chosen, :length].astype(np.int64)).to(device)


def features_of(model, arch, codes, condition, vocabulary):
    """Features at the image tokens: `condition` is prompt ids `[B, P]` or class ids `[B]`."""
    if arch == "dimoo":
        ids = model.sequence(condition, codes, vocabulary)
        return model(ids)[:, model.places(condition.shape[1] + 2, codes.device)]
    return model(torch.cat((codes, condition[:, None]), 1))[:, : model.tokens]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=("dimoo", "maskgit"))
    common.add_arguments(parser)
    parser.add_argument("--cached", type=int, help="scenes to tokenize and keep (default: the configuration's)")
    parser.add_argument("--kinds", type=float, metavar="SHARE", help="text: batches of captions that name two kinds (default: as drawn)")
    parser.add_argument("--relations", default=",".join(scenes.RELATIONS), help="and with --kinds, how: each name an equal part (default: all)")
    parser.add_argument("--telling", type=float, default=0.0, metavar="WEIGHT", help="weight for telling of a thing, 1: as much as for all else")
    parser.add_argument("--lessons", action="store_true", help="text: sides first by order, then by relation, then everything")
    parser.add_argument("--early", type=float, default=1.0, metavar="POWER", help="1: moments of a run as they come; 2: early ones")
    args = parser.parse_args()
    config, arch = common.prepare(args), args.arch
    if args.cached:
        config = replace(config, cached=args.cached)
    stage = f"base-{arch}"
    vq, vq_metadata = common.load_weights(args.out / "tokenizer.safetensors", tokenizer.build, args.device)
    fingerprint = json.dumps([vq_metadata, float(vq.quantize.embedding.weight.double().sum()), args.seed, config.size, config.nouns])
    tokens = tokenized(args, config, arch, config.cached, args.seed + 10, vq, fingerprint, "train")
    held = tokenized(args, config, arch, min(512, config.cached), args.seed + 11, vq, fingerprint, "validation")
    of = lambda kinds, relations: Tokens(tokens.codes, tokens.ids, tokens.labels, tokens.header, kinds, relations)  # noqa: E731
    lessons = [(0.0, of(args.kinds if arch == "dimoo" else None, args.relations.split(",")), args.early)]
    if args.lessons:
        lessons = [(share, of(kinds, relations), early) for share, kinds, relations, early in LESSONS]
    model = new_base(arch, config, tokens.header).to(args.device)
    know_codes(model, vq.quantize.embedding.weight, tokens.codes)
    metadata = {"config": config.as_dict(), "arch": arch, "header": tokens.header}
    trainer = common.Trainer(args, stage, model, metadata, weight_decay=0.03)
    vocabulary = Vocabulary(tokens.header["words"])
    print(f"{stage}: {sum(p.numel() for p in model.parameters()):,} parameters, {args.precision} on {common.device_name(args)}")
    net = torch.compile(model, dynamic=True) if args.compile else model
    codebook = config.tokenizer.codebook

    def condition_of(source, chosen, length, drop):
        if arch == "dimoo":
            return prompts(source, chosen, 0 if drop else length, vocabulary, args.device)
        labels = torch.from_numpy(source.labels[chosen, scenes.NOUN_A].astype(np.int64)).to(args.device)
        return torch.full_like(labels, model.dropped) if drop else model.class_id(labels)

    targets = synonyms(vq.quantize.embedding.weight)
    told = telling(tokens, codebook).to(args.device)
    weights = 1 + args.telling * told / told[torch.from_numpy(tokens.codes[:4096].astype(np.int64))].mean()
    weights /= 1 + args.telling

    def loss_at(forward, owner, source, chosen, condition, spread, early=1.0):
        codes = torch.from_numpy(source.codes[chosen].astype(np.int64)).to(args.device)
        inputs, mask = masked(codes, arch, codebook, early)
        with common.autocast(args):
            features = features_of(_Through(forward, owner), arch, inputs, condition, vocabulary)
            places = mask.nonzero(as_tuple=True)
            logits = owner.logits(features[mask], places[1])
        wanted = codes[mask]
        if not spread:
            return F.cross_entropy(logits.float(), wanted)
        losses = F.cross_entropy(logits.float(), targets[wanted], reduction="none")
        return (losses * weights[wanted]).mean()

    def loss_of():
        source, early = [lesson[1:] for lesson in lessons if lesson[0] <= trainer.done()][-1]
        chosen, length = source.batch(trainer.batch)
        condition = condition_of(source, chosen, length, np.random.rand() < UNCONDITIONAL)
        return loss_at(net, model, source, chosen, condition, True, early), {}

    @torch.no_grad()
    def validate():
        # The same masks every time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses, weights = [], []
            for length, bucket in zip(held.lengths, held.buckets, strict=True):
                for chosen in np.split(bucket, range(64, len(bucket), 64)):
                    condition = condition_of(held, chosen, int(length), False)
                    losses.append(float(loss_at(trainer.average, trainer.average, held, chosen, condition, False)) * len(chosen))
                    weights.append(len(chosen))
        return {"validation": sum(losses) / sum(weights)}

    trainer.run(loss_of, validate)
    show(args, config, trainer.average, held, vocabulary, vq)


class _Through:
    """A model whose `forward` is another callable: the compiled one."""

    def __init__(self, forward, owner):
        self.forward, self.owner = forward, owner

    def __call__(self, ids):
        return self.forward(ids)

    def __getattr__(self, name):
        return getattr(self.owner, name)


@torch.no_grad()
def show(args, config, model, held, vocabulary, vq):
    """A sheet of samples beside the run: 32 prompts (classes) that were not trained on."""
    import sampling

    torch.manual_seed(0)
    images, captions = [], []
    if args.arch == "dimoo":
        longest = max(range(len(held.buckets)), key=lambda i: len(held.buckets[i]))
        chosen = held.buckets[longest][:32]
        condition = prompts(held, chosen, int(held.lengths[longest]), vocabulary, args.device)
        captions = [" ".join(vocabulary.names[i] for i in row) for row in condition.tolist()]
        settings = config.text_sampling
    else:
        condition = torch.arange(32, device=args.device) % model.classes + model.class_id(0)
        settings = config.class_sampling
    with common.autocast(args):
        codes = sampling.sample(model, args.arch, condition, vocabulary, settings)
        images = vq.decode(codes, config.grid)
    common.sheet(args.out / f"base-{args.arch}-samples.png", common.to_bytes(images))
    if captions:
        (args.out / f"base-{args.arch}-samples.txt").write_text("\n".join(captions) + "\n")


if __name__ == "__main__":
    main()
