"""What `--bind` teaches a text base: to tell captions of two things from the same words in another order.

A model learns places, lights and things from the words as they come, and what their order says so late that 178,000 scenes did not
teach it.
"""

import numpy as np
import torch
import torch.nn.functional as F

import base
import masks
import tokens

TOLD = 0.1  # of the loss, what tells captions apart, in nats a scene, beside that of a token
ALL_MASKED = 40  # tokens of a scene that is all masked


def loss(model, part, other, places, hidden, vocabulary, device):
    """The loss of the masked tokens of scenes under their captions, and of telling these from the captions `other` `[B, P]` of the
    same words. Also the share of scenes that are likelier under their own.

    Of each scene it is given the tokens at `places` `[B, N]`, of which those are masked where `hidden` is true. Where all tokens are masked
    they say nothing of each other, so that they can be few."""
    places, codes = places.to(device).tile(2, 1), torch.from_numpy(part.codes.astype(np.int64)).to(device).tile(2, 1)
    hidden, wanted = hidden.to(device).tile(2, 1), codes.gather(1, places)
    condition = torch.from_numpy(np.concatenate((part.ids, other)).astype(np.int64)).to(device)
    inputs = codes.scatter(1, places, torch.where(hidden, model.codebook, wanted))
    logits = model.logits(base.features_of(model, "dimoo", inputs, condition, vocabulary, places))
    losses = F.cross_entropy(logits.float().mT, wanted, reduction="none") * hidden
    right, wrong = losses.sum(1).chunk(2)
    total = right.sum() / hidden.chunk(2)[0].sum() + TOLD * F.softplus(right - wrong).mean()
    return total, (right < wrong).float().mean()


def places_of(part, count, codebook, columns):
    """Where `loss` looks at scenes: at a few of the `count` tokens around things, all masked, or (half of the time) at all of these,
    masked as they are elsewhere: things stay what the caption calls them when one of them is known."""
    places = tokens.windows(part.labels, count, columns, columns)
    if np.random.rand() < 0.5:
        places = places.gather(1, torch.rand(places.shape).argsort(1)[:, :ALL_MASKED].sort(1).values)
        return places, torch.ones_like(places, dtype=torch.bool)
    return places, masks.masked(places, "dimoo", codebook, True, part.labels, places, columns)[1]
