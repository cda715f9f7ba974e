"""Layers that tokenizer and judge share, under diffusers' names."""

import torch.nn.functional as F
from torch import nn

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
