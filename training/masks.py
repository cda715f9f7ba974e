"""Which tokens of a scene are masked while a base learns.

In half of the scenes by chance, mostly nearly all of them (eMIGM, arXiv 2503.07197), which is where a run decides what to show. In the
others as much as the schedule of sampling has, and those that a run would have: it knows what is around things before it knows them, and one
side before another. A base that learns from masks by chance alone never sees a thing whole beside another that is all masked, and draws
the first once more.
"""

import math

import torch

import tokens

NEARLY_ALL = 0.7  # share of scenes masked by chance in which nearly everything is, as eMIGM does; in the others as much as sampling does
AS_REVEALED = 0.5  # share of scenes in which what is masked is what a run would have masked
LEAST, STEEPNESS = 0.2, 5.0  # of eMIGM: 1 - exp(-5 u), u from 0.2 to 1


def masked(codes, arch, codebook, biased=True, labels=None, places=None, columns=0):
    """Codes `[B, N]` with some masked, and which: at least one; the top of this file says how many. Without the scenes' `labels` and where in rows
    of `columns` the codes stand, by chance alone."""
    u = torch.rand(codes.shape[0], 1, device=codes.device)
    share = torch.acos(u) / (math.pi / 2) if arch == "maskgit" else torch.cos(u * math.pi / 2)
    scores = torch.rand(codes.shape, device=codes.device)
    usual = torch.ones_like(u, dtype=torch.bool)
    if labels is not None:
        usual = torch.rand_like(u) >= AS_REVEALED
        scores = torch.where(usual, scores, as_revealed(labels, places, columns))
    if biased:
        most = 1 - torch.exp(-STEEPNESS * (LEAST + (1 - LEAST) * torch.rand_like(u)))
        share = torch.where(usual & (torch.rand_like(u) < NEARLY_ALL), most, share)
    count = (share * codes.shape[1]).ceil().clamp(min=1)
    order = scores.argsort(1).argsort(1)
    mask = order < count
    return torch.where(mask, codebook, codes), mask


def as_revealed(labels, places, columns):
    """Scores `[B, N]` of tokens at `places`: the lower, the longer they stay masked. A run reveals what is around things first, and then a thing
    from some side on: here by how far a token is from all things, along some direction, and by chance, each for more or less."""
    angle = 2 * math.pi * torch.rand(len(places), 1, device=places.device)
    along = angle.sin() * (places // columns) + angle.cos() * (places % columns)
    by_chance = columns / 2 * torch.rand(places.shape, device=places.device)
    weights = torch.rand(3, len(places), 1, device=places.device)
    return 4 * weights[0] * tokens.away(labels, places, columns) + weights[1] * along + weights[2] * by_chance
