"""Layers that tokenizer and judge share, under diffusers' names."""

import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6  # of every GroupNorm


class Affine(nn.Module):
    """A scale and a shift of each channel, with a GroupNorm's tensors and without its statistics (ActNorm of Glow, arXiv 1807.03039).

    What it does at one place depends on nothing elsewhere in the picture.
    """

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        return x * self.weight.to(x.dtype)[:, None, None] + self.bias.to(x.dtype)[:, None, None]


def norm(groups, channels):
    """A GroupNorm, or with no groups what takes its place."""
    return nn.GroupNorm(groups, channels, EPS) if groups else Affine(channels)


@torch.no_grad()
def settle(model, x):
    """Sets every `Affine` so that its channels have mean 0 and variance 1 on the inputs `x`, the first ones first."""

    def measure(layer, inputs):
        spread, mean = torch.std_mean(inputs[0].float(), (0, 2, 3))
        layer.weight.copy_(1 / (spread + EPS))
        layer.bias.copy_(-mean * layer.weight)

    hooks = [layer.register_forward_pre_hook(measure) for layer in model.modules() if isinstance(layer, Affine)]
    model(x)
    for hook in hooks:
        hook.remove()


class ResnetBlock(nn.Module):
    """Norm, SiLU, conv, norm, SiLU, conv, and the skip."""

    def __init__(self, ins, outs, groups):
        super().__init__()
        self.norm1, self.conv1 = norm(groups, ins), nn.Conv2d(ins, outs, 3, padding=1)
        self.norm2, self.conv2 = norm(groups, outs), nn.Conv2d(outs, outs, 3, padding=1)
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
