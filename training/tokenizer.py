"""The image tokenizer: pictures to a grid of codes and back, for both bases.

aMUSEd's VQModel (arXiv 2401.01808) under diffusers' names: convolutions without attention, pictures in [0, 1], nearest code
by Euclidean distance. The codebook follows a moving average of what is assigned to it (van den Oord et al. 2017, appendix A);
codes that fall out of use restart at latents of the batch. The loss is L1 and L2 of pixels, and L1 of their gradients at
three scales, which keeps edges; all of them count most where there is something to see.

Train it: `python training/tokenizer.py --config small --out runs/small`.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

import common
from scenes import Scenes, source_of

EPS = 1e-6  # of every GroupNorm


class ResnetBlock(nn.Module):
    """GN, SiLU, conv, GN, SiLU, conv, and the skip."""

    def __init__(self, ins, outs, groups):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, ins, EPS), nn.Conv2d(ins, outs, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outs, EPS), nn.Conv2d(outs, outs, 3, padding=1)
        if ins != outs:
            self.conv_shortcut = nn.Conv2d(ins, outs, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Downsample(nn.Module):
    """Halves the resolution; zeros only at the right and below."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


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
    """Pictures to latents."""

    def __init__(self, ch, layers, latent, groups):
        super().__init__()
        self.conv_in = nn.Conv2d(3, ch[0], 3, padding=1)
        ins = (ch[0], *ch[:-1])
        self.down_blocks = nn.ModuleList(
            Level(i, o, layers, groups, down=level + 1 < len(ch)) for level, (i, o) in enumerate(zip(ins, ch, strict=True))
        )
        self.mid_block = Level(ch[-1], ch[-1], 2, groups)
        self.conv_norm_out, self.conv_out = nn.GroupNorm(groups, ch[-1], EPS), nn.Conv2d(ch[-1], latent, 3, padding=1)

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
        self.conv_norm_out, self.conv_out = nn.GroupNorm(groups, ch[-1], EPS), nn.Conv2d(ch[-1], 3, 3, padding=1)

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
        e = self.embedding.weight
        return (e.square().sum(1) - 2 * z @ e.T).argmin(1)


class VQModel(nn.Module):
    """The whole tokenizer. Pictures `[n, 3, height, width]`, codes `[n, height / factor * width / factor]`."""

    def __init__(self, config):
        super().__init__()
        c = config
        self.factor = c.factor
        self.encoder = Encoder(c.ch, c.layers, c.latent, c.groups)
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
    """Moves the codebook: a moving average of assigned latents, restarts of unused codes."""

    def __init__(self, embedding, decay=0.98, eps=1e-3):
        self.embedding, self.decay, self.eps = embedding, decay, eps
        self.counts = torch.ones(embedding.shape[0], device=embedding.device)
        self.sums = embedding.detach().clone()
        self.begun = False

    def state(self):
        return {"counts": self.counts, "sums": self.sums, "begun": self.begun}

    def load(self, state):
        self.counts, self.sums, self.begun = state["counts"], state["sums"], state["begun"]

    @torch.no_grad()
    def update(self, rows, codes, restart):
        """`rows` are latents, `codes` what they were assigned; `restart` also moves codes that fell out of use."""
        codebook = self.embedding.shape[0]
        if not self.begun:
            # The first latents are the first codes: a random start would leave most of the codebook unused.
            picked = torch.randint(len(rows), (codebook,), device=rows.device)
            self.sums.copy_(rows[picked] + 0.01 * torch.randn_like(self.sums))
            self.embedding.copy_(self.sums)
            self.begun = True
            return
        counts = torch.bincount(codes, minlength=codebook).float()
        sums = torch.zeros_like(self.sums).index_add_(0, codes, rows)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        if restart:
            unused = self.counts < 0.03 * self.counts.mean()
            picked = rows[torch.randint(len(rows), (codebook,), device=rows.device)]
            average = self.counts.mean()
            self.sums[unused] = picked[unused] * average
            self.counts[unused] = average
        self.embedding.copy_(self.sums / (self.counts + self.eps)[:, None])


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


def pictures(batch, device):
    """Scenes as the tokenizer takes them: `[n, 3, height, width]` in [0, 1]."""
    return torch.from_numpy(batch.pixels).to(device).permute(0, 3, 1, 2).float() / 255


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    args = parser.parse_args()
    config = common.prepare(args)
    model = VQModel(config.tokenizer).to(args.device)
    trainer = common.Trainer(args, "tokenizer", model, {"config": config.as_dict()}, betas=(0.9, 0.99), weight_decay=1e-4)
    codebook = Codebook(model.quantize.embedding.weight)
    if trainer.extra:
        codebook.load(trainer.extra)
    print(f"tokenizer: {sum(p.numel() for p in model.parameters()):,} parameters, {args.precision} on {common.device_name(args)}")
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed, trainer.position)
    held = Scenes(source_of(args), config.size, config.nouns, args.seed + 1)
    check = pictures(held.take(64), args.device)
    held.close()
    net = torch.compile(model.decoder) if args.compile else model.decoder
    front = torch.compile(model.latents) if args.compile else model.latents

    def loss_of():
        x = pictures(stream.take(trainer.batch), args.device)
        trainer.position = stream.position
        with common.autocast(args):
            z = front(x).float()
        rows = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        codes = model.quantize.nearest(rows.detach())
        codebook.update(rows.detach(), codes, trainer.step % 20 == 0 and trainer.done() < 0.7)
        quantized = model.quantize.embedding.weight[codes].reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        commitment = F.mse_loss(z, quantized)
        through = z + (quantized - z).detach()
        with common.autocast(args):
            y = net(model.post_quant_conv(through))
        y = y.float()
        weights = emphasis(x)
        l1, l2, edge = (weights * (y - x).abs()).mean(), (weights * (y - x).square()).mean(), edges(y, x, weights)
        trainer.extra = codebook.state()
        used = torch.bincount(codes, minlength=config.tokenizer.codebook).float() / len(codes)
        perplexity = torch.exp(-(used * (used + 1e-10).log()).sum())
        return l1 + 2 * l2 + edge + 0.25 * commitment, {"l1": l1, "edges": edge, "commitment": commitment, "perplexity": perplexity}

    @torch.no_grad()
    def validate():
        y = trainer.average.decode(trainer.average.encode(check), config.grid).clamp(0, 1)
        return {"validation_psnr": -10 * torch.log10(F.mse_loss(y, check))}

    trainer.run(loss_of, validate)
    stream.close()
    with torch.no_grad():
        y = trainer.average.decode(trainer.average.encode(check[:32]), config.grid)
    pairs = torch.stack([check[:32], y], 1).flatten(0, 1)
    common.sheet(args.out / "tokenizer-reconstructions.png", common.to_bytes(pairs), columns=16)


if __name__ == "__main__":
    main()
