"""The image tokenizer: pictures to a grid of codes and back, for both bases.

aMUSEd's VQModel (arXiv 2401.01808) under diffusers' names: convolutions without attention, pictures in [0, 1], nearest code
by Euclidean distance. The encoder may go without GroupNorm (`local`), whose statistics are of the whole picture: with them the
codes of a thing change with whatever stands elsewhere, most of them, and a base can only take that for chance. For the same
reason latents are held to what they are where all but a part of the picture is another one. It is trained in three phases, each of
which begins with what the one before it left:

- `autoencoder`: continuous latents with a little noise. Pictures are learnt much faster so than with a young codebook.
- `codes`: a codebook from k-means over latents (or the one that it begins with), then all of it goes on. The codes follow a moving
  average of what is assigned to them (van den Oord et al. 2017, appendix A); those that fall out of use restart where the error is.
- `decoder`: encoder and codebook are frozen for good, so that tokens never change again and bases can be trained meanwhile. The
  decoder goes on against a PatchGAN with spectral norm: hinge loss, a small fixed weight, feature matching, nothing of it
  before the discriminator has seen enough (SeQ-GAN, arXiv 2212.03185; MaskBit, 2409.16211).

The loss is L1 and L2 of pixels, L1 of their gradients at three scales, which keeps edges, and L1 of blurred colour differences;
all of them count most where there is something to see. If the run has a judge, what it sees in a picture counts as well, from the
second phase on. Pictures are halved squares on the grid of tokens at first, whole ones in
the last third of each phase.

Train it: `python training/tokenizer.py --config small --out runs/small`. Each phase leaves `tokenizer-PHASE.safetensors`, and
`tokenizer.safetensors` is the last of them that has codes.

The file is long because it is both the network, one readable file a model, and the losses its phases share.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import common
import judge
from layers import Downsample, ResnetBlock, norm, settle
from scenes import Scenes, source_of

CHROMA = 1.0
AGREEMENT = 1.0  # between latents of a place whatever is elsewhere
NOISE = (0.1, 0.3)  # on latents, whose size is about 1, at the beginning and the end
LATENTS = 16  # for each code, that k-means looks at
UNUSED, RESTARTED = 0.03, 0.3  # share of an even use below which a code restarts, and what it restarts with
ADVERSARY, FEATURES, PERCEPTUAL = 0.05, 0.25, 0.5
ADVERSARY_BEGINS, ADVERSARY_RATE = 300, 5e-4  # steps of the discriminator before it counts, and then as many to its full weight


class Upsample(nn.Module):
    """Doubles the resolution."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks, of which the first may change the channels, and what changes the resolution."""

    def __init__(self, ins, outs, layers, groups, down=False, up=False):
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(ins if i == 0 else outs, outs, groups) for i in range(layers))
        if down:
            self.downsamplers = nn.ModuleList([Downsample(outs)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(outs)])

    def forward(self, x):
        for block in self.resnets:
            x = block(x)
        for change in [*getattr(self, "downsamplers", []), *getattr(self, "upsamplers", [])]:
            x = change(x)
        return x


class Encoder(nn.Module):
    """Pictures to latents; without GroupNorms where `groups` is 0."""

    def __init__(self, ch, layers, latent, groups):
        super().__init__()
        self.conv_in = nn.Conv2d(3, ch[0], 3, padding=1)
        ins = (ch[0], *ch[:-1])
        self.down_blocks = nn.ModuleList(
            Level(i, o, layers, groups, down=level + 1 < len(ch)) for level, (i, o) in enumerate(zip(ins, ch, strict=True))
        )
        self.mid_block = Level(ch[-1], ch[-1], 2, groups)
        self.conv_norm_out, self.conv_out = norm(groups, ch[-1]), nn.Conv2d(ch[-1], latent, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents to pictures; a block a level more than the encoder."""

    def __init__(self, ch, layers, latent, groups):
        super().__init__()
        ch = tuple(reversed(ch))
        self.conv_in = nn.Conv2d(latent, ch[0], 3, padding=1)
        self.mid_block = Level(ch[0], ch[0], 2, groups)
        ins = (ch[0], *ch[:-1])
        self.up_blocks = nn.ModuleList(
            Level(i, o, layers + 1, groups, up=level + 1 < len(ch)) for level, (i, o) in enumerate(zip(ins, ch, strict=True))
        )
        self.conv_norm_out, self.conv_out = norm(groups, ch[-1]), nn.Conv2d(ch[-1], 3, 3, padding=1)

    def forward(self, x):
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Quantizer(nn.Module):
    """The codebook. `embedding.weight` is moved by `update`, not by gradients."""

    def __init__(self, codes, latent):
        super().__init__()
        self.embedding = nn.Embedding(codes, latent)
        self.embedding.weight.requires_grad_(False)
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0)

    def nearest(self, z):
        """Codes `[rows]` of latents `[rows, latent]`."""
        return nearest(z, self.embedding.weight)


def nearest(rows, codebook):
    """The codes `[n]` nearest to `rows` `[n, latent]`, in f32: in bf16 near codes would be equally near."""
    # Some rows at a time, so that their distances are still in the cache when the least is looked for.
    table, lengths = -2 * codebook.T, codebook.square().sum(1)
    with torch.autocast(rows.device.type, enabled=False):
        return torch.cat([torch.addmm(lengths, part, table).argmin(1) for part in rows.float().split(512)])


class VQModel(nn.Module):
    """The whole tokenizer. Pictures `[n, 3, height, width]`, codes `[n, height / factor * width / factor]`."""

    def __init__(self, config):
        super().__init__()
        c = config
        self.factor = c.factor
        self.encoder = Encoder(c.ch, c.layers, c.latent, 0 if c.local else c.groups)
        self.decoder = Decoder(c.ch, c.layers, c.latent, c.groups)
        self.quantize = Quantizer(c.codebook, c.latent)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(c.latent, c.latent, 1), nn.Conv2d(c.latent, c.latent, 1)

    def latents(self, x):
        """What is quantised: `[n, latent, h, w]`."""
        return self.quant_conv(self.encoder(x))

    def encode(self, x):
        """Codes of pictures."""
        z = self.latents(x).float()
        rows = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        return self.quantize.nearest(rows).reshape(x.shape[0], -1)

    def decode(self, codes, height):
        """Pictures of codes; `height` in tokens. Not clamped."""
        z = self.quantize.embedding.weight[codes]
        z = z.reshape(codes.shape[0], height, -1, z.shape[-1]).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(z))


def build(metadata, config):
    """For `common.load_weights`."""
    return VQModel(config.tokenizer)


class Codebook:
    """Moves the codebook: a moving average of assigned latents, restarts of unused codes.

    Latents count as much as their patches do in the loss (`emphasis`): codes go to things before skies.
    """

    def __init__(self, embedding, decay=0.99):
        self.embedding, self.decay = embedding, decay
        self.counts = torch.ones(embedding.shape[0], device=embedding.device)
        self.sums = embedding.detach().clone()

    def state_dict(self):
        return {"counts": self.counts, "sums": self.sums}

    def load_state_dict(self, state):
        self.counts, self.sums = state["counts"], state["sums"]

    @torch.no_grad()
    def begin(self, rows, weights, rounds=10):
        """Weighted k-means over the latents `rows`; a code that nothing is nearest to is put where the error is largest."""
        codebook = self.embedding.shape[0]
        self.embedding.copy_(rows[torch.multinomial(weights, codebook, replacement=len(rows) < codebook)])
        for _ in range(rounds):
            codes = nearest(rows, self.embedding)
            counts = torch.bincount(codes, weights, minlength=codebook).float()
            sums = torch.zeros_like(self.sums).index_add_(0, codes, rows * weights[:, None])
            self.embedding.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1e-6)[:, None], self.embedding))
            unused = counts == 0
            self.embedding[unused] = self._worst(rows, codes, weights)[unused]
        codes = nearest(rows, self.embedding)
        share = len(rows) / codebook
        self.counts = torch.bincount(codes, weights, minlength=codebook).float() / share + 0.01
        self.sums = self.embedding * self.counts[:, None]

    def _worst(self, rows, codes, weights):
        """As many latents as codes, drawn as often as their error is large."""
        error = (rows - self.embedding[codes]).square().sum(1) * weights + 1e-9
        return rows[torch.multinomial(error, self.embedding.shape[0], replacement=True)]

    @torch.no_grad()
    def update(self, rows, codes, weights, restart):
        """`rows` are latents, `codes` what they were assigned; `restart` also moves codes that fell out of use."""
        codebook = self.embedding.shape[0]
        share = len(rows) / codebook  # counts are in units of an even use, whatever the batch
        counts = torch.bincount(codes, weights, minlength=codebook).float() / share
        sums = torch.zeros_like(self.sums).index_add_(0, codes, rows * weights[:, None]) / share
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        if restart:
            unused = self.counts < UNUSED
            self.sums[unused] = self._worst(rows, codes, weights)[unused] * RESTARTED
            self.counts[unused] = RESTARTED
        alive = self.counts > 1e-9
        self.embedding[alive] = self.sums[alive] / self.counts[alive, None]


class Discriminator(nn.Module):
    """A PatchGAN (Isola et al. 2017) with spectral norm; `forward` gives the features of its layers, and its verdicts last."""

    def __init__(self, width=32):
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, width, 4, 2, 1),
                norm(nn.Conv2d(width, 2 * width, 4, 2, 1)),
                norm(nn.Conv2d(2 * width, 4 * width, 3, 1, 1)),
                norm(nn.Conv2d(4 * width, 1, 3, 1, 1)),
            ]
        )

    def forward(self, x):
        h, found = 2 * x - 1, []
        for layer in self.layers:
            h = layer(F.leaky_relu(h, 0.2) if found else h)
            found.append(h)
        return found


def emphasis(x):
    """Weights `[n, 1, height, width]` of mean 1: up to five times as much where a picture differs from its own blur.

    Sky and ground are most of a scene's pixels; what a person looks for is the objects on them.
    """
    detail = (x - F.avg_pool2d(x, 15, 1, 7, count_include_pad=False)).abs().mean(1, keepdim=True)
    weights = 1 + 4 * detail / (detail + 0.1)
    return weights / weights.mean()


def edges(x, y, weights):
    """L1 between the gradients of two batches of pictures at three scales."""
    total = 0.0
    for _ in range(3):
        d = x - y
        total = total + (weights[..., 1:] * (d[..., 1:] - d[..., :-1])).abs().mean()
        total = total + (weights[..., 1:, :] * (d[..., 1:, :] - d[..., :-1, :])).abs().mean()
        x, y, weights = (F.avg_pool2d(t, 2) for t in (x, y, weights))
    return total


def chroma(x, y, weights):
    """L1 between the colour differences of two batches of pictures, blurred over four pixels: red against green, yellow against blue.

    Colour is what a codebook gives up first, since most of an error in pixels is in brightness.
    """
    d, weights = F.avg_pool2d(x - y, 4), F.avg_pool2d(weights, 4)
    red, green, blue = d.unbind(1)
    return (weights[:, 0] * ((red - green).abs() + ((red + green) / 2 - blue).abs())).mean()


def sharpness(x):
    """Mean energy of the gradients of pictures."""
    return (x[..., 1:] - x[..., :-1]).square().mean() + (x[..., 1:, :] - x[..., :-1, :]).square().mean()


def steadiness(net, x, grid):
    """Share of the codes of pictures' right halves that stay when the left ones are those of other pictures."""
    other = torch.cat([x.roll(1, 0)[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]], -1)
    same = net.encode(x) == net.encode(other)
    return same.reshape(len(x), grid, grid)[..., grid // 2 :].float().mean()


def pictures(batch, device):
    """Scenes as the tokenizer takes them: `[n, 3, height, width]` in [0, 1]."""
    return torch.from_numpy(batch.pixels).to(device).permute(0, 3, 1, 2).float() / 255


def cuts(size, factor, count):
    """Corners of `count` squares of half a picture's side, on the grid of tokens."""
    return (np.random.randint(0, size // 2 // factor + 1, (count, 2)) * factor).tolist()


def fingerprint(model):
    """What tokens depend on: the encoder and the codebook. A decoder that goes on learning changes none."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith(("decoder.", "post_quant_conv.")):
            found.update(name.encode())
            found.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


class Phase:
    """One phase of the training: where its pictures come from, its loss's parts, its validation."""

    def __init__(self, args, config, name, model, about):
        self.args, self.config, self.name, self.model = args, config, name, model
        minutes = getattr(args, f"minutes_{name}")
        self.trainer = common.Trainer(args, f"tokenizer-{name}", model, about, (0.9, 0.99), 1e-4, minutes)
        self.codes = name != "autoencoder"
        self.critic = None
        if (args.out / "judge.safetensors").exists():
            self.critic, about = common.load_weights(args.out / "judge.safetensors", judge.build, args.device)
            self.shape = judge.sizes(about["header"])

    def open(self):
        """Starts the streams: scenes to learn from, and those that it is validated by."""
        args, config = self.args, self.config
        self.stream = Scenes(source_of(args), config.size, config.nouns, args.seed, self.trainer.position)
        held = Scenes(source_of(args), config.size, config.nouns, args.seed + 1)
        batch = held.take(512 if self.critic else 48)
        held.close()
        self.held, self.labels = pictures(batch, args.device), batch.labels

    def whole(self):
        """Whether pictures are taken whole by now: at last the decoder's GroupNorms must see what they will see in use."""
        return self.trainer.done() >= 1 - self.args.whole

    def take(self):
        """Pictures for a step, as many pixels whether whole or cut; corners of the cuts, two to a scene, or None."""
        whole = self.whole()
        x = pictures(self.stream.take(max(1, self.trainer.batch // (4 if whole else 2))), self.args.device)
        self.trainer.position = self.stream.position
        return x, None if whole else cuts(self.config.size, self.config.tokenizer.factor, 2 * len(x))

    def likeness(self, y, x):
        """What all phases learn from, and its parts. What the judge sees counts where there are codes: they must say what matters."""
        weights = emphasis(x)
        l1, l2 = (weights * (y - x).abs()).mean(), (weights * (y - x).square()).mean()
        edge, colour = edges(y, x, weights), chroma(y, x, weights)
        loss, parts = l1 + 2 * l2 + edge + CHROMA * colour, {"l1": l1, "edges": edge, "chroma": colour}
        if self.critic and self.codes:
            with common.autocast(self.args):
                with torch.no_grad():
                    wanted = self.critic.levels(2 * x - 1)
                seen = self.critic.levels(2 * y - 1)
            pairs = [(a.float(), b.float()) for a, b in zip(seen, wanted, strict=True)]
            parts["perceptual"] = sum((a - b).abs().mean() / b.abs().mean() for a, b in pairs) / len(pairs)
            loss = loss + PERCEPTUAL * parts["perceptual"]
        return loss, parts, weights

    @torch.no_grad()
    def validate(self):
        """PSNR, sharpness as a share of the originals', codes in use and how steady they are; at the end also what the judge reads."""
        net, grid = self.trainer.average, self.config.grid
        final = self.trainer.done() >= 1.0 and self.critic
        shown, used, right = [], set(), []
        for index, x in enumerate((self.held if final else self.held[:48]).split(16)):
            with common.autocast(self.args):
                codes = net.encode(x) if self.codes else None
                y = net.decode(codes, grid) if self.codes else net.decoder(net.post_quant_conv(net.latents(x)))
            y = y.float().clamp(0, 1)
            used.update(codes.unique().tolist() if self.codes else [])
            shown.append(y)
            if final:
                classes = judge.targets(self.labels[16 * index :][: len(x)], self.args.device)
                right.append(judge.correct(self.critic(2 * y - 1), classes, self.shape).all(1).float())
        y = torch.cat(shown)[:48]
        x = self.held[:48]
        found = {"psnr": -10 * torch.log10(F.mse_loss(y, x)), "sharpness": sharpness(y) / sharpness(x)}
        if self.codes:
            found |= {"codes": float(len(used)), "steady": steadiness(net, x, grid)}
        found |= {"judged_right": torch.cat(right).mean()} if right else {}
        pairs = torch.stack([x[:24], y[:24]], 1).flatten(0, 1)
        common.sheet(self.args.out / f"tokenizer-{self.name}.png", common.to_bytes(pairs), columns=8)
        return found

    def run(self, loss_of):
        """Trains to the end of the phase."""
        try:
            self.trainer.run(loss_of, self.validate, every=90)
        finally:
            self.stream.close()


def elsewhere(x, factor):
    """Pictures that outside of a rectangle of tokens are others of the batch, and which tokens `[h, w]` lie well within it."""
    sizes = [side // factor for side in x.shape[2:]]
    inner, outer = np.zeros(sizes, bool), []
    for axis, side in enumerate(sizes):
        length = np.random.randint(min(4, side), side + 1)
        first = np.random.randint(side - length + 1)
        outer.append((first, first + length))
    (top, bottom), (left, right) = outer
    inner[top + (top > 0) : bottom - (bottom < sizes[0]), left + (left > 0) : right - (right < sizes[1])] = True
    mixed = x.roll(1, 0)
    rows, columns = slice(top * factor, bottom * factor), slice(left * factor, right * factor)
    mixed[..., rows, columns] = x[..., rows, columns]
    return mixed, torch.from_numpy(inner).to(x.device)


def cut_out(x, corners, side):
    """The squares at `corners`, two of each picture."""
    if corners is None:
        return x
    return torch.stack([x[i // 2, :, top : top + side, left : left + side] for i, (top, left) in enumerate(corners)])


def autoencode(phase):
    """Pictures to latents and back, with noise in place of codes that grows to the size of their error."""
    model, trainer, args = phase.model, phase.trainer, phase.args
    if trainer.step == 0 and phase.config.tokenizer.local and not args.begin:
        settle(model.encoder, phase.held[:16])
        trainer.average.load_state_dict(model.state_dict())
    front, back = (torch.compile(m) if args.compile else m for m in (model.latents, model.decoder))

    def loss_of():
        x, corners = phase.take()
        x = cut_out(x, corners, phase.config.size // 2)
        with common.autocast(args):
            z = front(x).float()
        scale = (z.square().mean() - 1).square()
        noise = NOISE[0] + (NOISE[1] - NOISE[0]) * trainer.done()
        with common.autocast(args):
            y = back(model.post_quant_conv(z + noise * torch.randn_like(z)))
        loss, parts, _ = phase.likeness(y.float(), x)
        return loss + 0.005 * scale, parts | {"scale": z.square().mean()}

    phase.run(loss_of)


def rows_of(z):
    """Latents `[n, latent, h, w]` as rows."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def patch_weights(weights, factor):
    """How much each patch counts, a row each."""
    return F.avg_pool2d(weights, factor).flatten()


def quantise(phase):
    """The codebook: k-means over latents, then all of it learns, the codes as moving averages."""
    model, trainer, args, t = phase.model, phase.trainer, phase.args, phase.config.tokenizer
    codebook = Codebook(model.quantize.embedding.weight)
    if trainer.step == 0 and common.metadata_of(args.begin).get("phase") == "autoencoder":
        rows, weights = [], []
        with torch.no_grad(), common.autocast(args):
            while sum(map(len, rows)) < LATENTS * t.codebook:
                x = pictures(phase.stream.take(16), args.device)
                rows.append(rows_of(model.latents(x).float()))
                weights.append(patch_weights(emphasis(x), t.factor))
        trainer.position = phase.stream.position
        codebook.begin(torch.cat(rows), torch.cat(weights))
        trainer.average.load_state_dict(model.state_dict())
        print(f"{trainer.name}: {t.codebook} codes from {sum(map(len, rows))} latents", flush=True)
    trainer.keep("codebook", codebook)
    front, back = (torch.compile(m) if args.compile else m for m in (model.latents, model.decoder))

    def loss_of():
        x, corners = phase.take()
        x = cut_out(x, corners, phase.config.size // 2)
        with common.autocast(args):
            z = front(x).float()
        rows = rows_of(z)
        codes = model.quantize.nearest(rows.detach())
        quantized = model.quantize.embedding.weight[codes].reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        with common.autocast(args):
            y = back(model.post_quant_conv(z + (quantized - z).detach()))
        loss, parts, weights = phase.likeness(y.float(), x)
        patches = F.avg_pool2d(weights, t.factor)
        commitment = (patches * (z - quantized).square()).mean()
        if t.local:
            mixed, inner = elsewhere(x, t.factor)
            with common.autocast(args):
                other = front(mixed).float()
            moved = (patches * (z - other).square())[..., inner].mean()
            loss, parts = loss + AGREEMENT * moved, parts | {"moved": moved}
        codebook.update(rows.detach(), codes, patches.flatten(), trainer.step % 20 == 0 and trainer.done() < 0.5)
        return loss + 0.25 * commitment, parts | {"commitment": commitment}

    phase.run(loss_of)


def sharpen(phase):
    """Encoder and codebook stay for good; the decoder learns against a discriminator, which makes blurs into shapes."""
    model, trainer, args, config = phase.model, phase.trainer, phase.args, phase.config
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    other = Discriminator().to(args.device)
    against = torch.optim.AdamW(other.parameters(), lr=ADVERSARY_RATE, betas=(0.5, 0.9))
    trainer.keep("discriminator", other)
    trainer.keep("discriminator-optimizer", against)
    factor, side = config.tokenizer.factor, config.size // 2
    back = torch.compile(model.decoder) if args.compile else model.decoder

    def loss_of():
        x, corners = phase.take()
        with torch.no_grad(), common.autocast(args):
            # Codes of whole pictures, also where the decoder is given a part of them: those are the codes in use.
            codes = model.encode(x).reshape(len(x), 1, config.grid, config.grid)
            codes = cut_out(codes, corners and [(a // factor, b // factor) for a, b in corners], side // factor)[:, 0]
            z = model.quantize.embedding.weight[codes].permute(0, 3, 1, 2)
        x = cut_out(x, corners, side)
        with common.autocast(args):
            y = back(model.post_quant_conv(z))
        y = y.float()
        loss, parts, _ = phase.likeness(y, x)
        if trainer.step >= ADVERSARY_BEGINS:
            share = min(1.0, (trainer.step - ADVERSARY_BEGINS) / ADVERSARY_BEGINS)
            other.requires_grad_(False)
            with common.autocast(args):
                *ours, verdict = other(y)
                with torch.no_grad():
                    *theirs, _ = other(x)
            other.requires_grad_(True)
            features = sum((a.float() - b.float()).abs().mean() for a, b in zip(ours, theirs, strict=True))
            fooled = -verdict.float().mean()
            loss = loss + share * (ADVERSARY * fooled + FEATURES * features)
            parts |= {"fooled": fooled, "features": features}
        with common.autocast(args):
            real, made = other(x)[-1].float(), other(y.detach())[-1].float()
        hinge = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        against.zero_grad(set_to_none=True)
        hinge.backward()
        against.step()
        return loss, parts | {"hinge": hinge}

    phase.run(loss_of)


PHASES = {"autoencoder": autoencode, "codes": quantise, "decoder": sharpen}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    for name in PHASES:
        parser.add_argument(f"--minutes-{name}", type=float, help="of this phase; --minutes is of each")
    parser.add_argument(
        "--whole", type=float, default=1 / 3, metavar="SHARE", help="of each phase, at its end, in which pictures are not cut (default: 1/3)"
    )
    parser.add_argument("--phases", default=",".join(PHASES), help="which, by name, with commas between (default: all)")
    args = parser.parse_args()
    config = common.prepare(args)
    chosen = args.phases.split(",")
    if unknown := set(chosen) - set(PHASES):
        parser.error(f"no phase is named {', '.join(sorted(unknown))}; they are {', '.join(PHASES)}")
    before, begun = args.begin, "what --begin names" if args.begin else "nothing"
    for name, train in PHASES.items():
        path = args.out / f"tokenizer-{name}.safetensors"
        if name in chosen:
            model = VQModel(config.tokenizer).to(args.device)
            if name != "autoencoder":
                if before is None:
                    raise SystemExit(f"error: {path.name} begins with the phase before it, which has left nothing in {args.out}")
                args.begin = before
            # A phase that has begun does not notice that the one before it went on; it would keep codes of an older encoder.
            phase = Phase(args, config, name, model, {"config": config.as_dict(), "phase": name, "begun": begun})
            count = sum(p.numel() for p in model.parameters())
            print(f"{phase.trainer.name}: {count:,} parameters, {args.precision} on {common.device_name(args)}")
            if phase.trainer.done() < 1.0:
                phase.open()
                train(phase)
        if path.exists():
            about = common.metadata_of(path)
            before, begun = path, f"{name}, {about['trained']['steps']} steps"
        if name != "autoencoder" and path.exists():
            common.write_whole(args.out / "tokenizer.safetensors", lambda file: Path(file).write_bytes(path.read_bytes()))  # noqa: B023


if __name__ == "__main__":
    main()
