"""What is seen of a base while it trains: figures of scenes that it does not learn from, and a sheet of its pictures."""

import numpy as np
import torch
import torch.nn.functional as F

import base
import common
import sampling
import tokens

VALIDATED = 128  # scenes, as a base costs seconds a hundred
SHEET_STEPS = 12


def groups(part, most, each):
    """The `most` most frequent lengths of captions, up to `each` scenes of each."""
    lengths, counts = np.unique(part.lengths(), return_counts=True)
    for length in sorted(lengths[np.argsort(-counts, kind="stable")][:most]):
        found = part.of_length(length)
        yield found.of(slice(0, each))


def checks(held):
    """`VALIDATED` of the held-out scenes, in batches of one length of captions each."""
    parts = []
    for group in groups(held, 1000, 1000):
        group = group.of(slice(0, max(1, round(VALIDATED * len(group) / len(held)))))
        parts += [group.of(slice(at, at + 64)) for at in range(0, len(group), 64)]
    return parts


@torch.no_grad()
def told(args, model, held, header, vocabulary):
    """How often a scene is likelier under its caption than under the same with `sides` ("left" and "right"), or its two `colours`,
    exchanged, everything masked: half of the time for a model to which captions are words in no order."""
    figures = {}
    for name, chosen, other in zip(("sides", "colours"), tokens.exchangeable(held.labels), tokens.EXCHANGED, strict=True):
        part, right = held.of(chosen).of(slice(0, VALIDATED)), 0
        for group in groups(part, 1000, 1000):
            codes = torch.from_numpy(group.codes.astype(np.int64)).to(args.device)
            likelihoods = []
            for ids in (group.ids, other(group.ids, header)):
                condition = torch.from_numpy(ids.astype(np.int64)).to(args.device)
                with common.autocast(args):
                    features = base.features_of(model, "dimoo", torch.full_like(codes, model.codebook), condition, vocabulary)
                    logits = model.logits(features)
                likelihoods.append(-F.cross_entropy(logits.float().mT, codes, reduction="none").sum(1))
            right += int((likelihoods[0] > likelihoods[1]).sum())
        figures[name] = right / max(len(part), 1)
    return figures


@torch.no_grad()
def show(args, config, model, held, vocabulary, vq):
    """A sheet of 16 samples beside the run, always of the same prompts (classes) and noise; captions in a text file."""
    settings = config.text_sampling if args.arch == "dimoo" else config.class_sampling
    settings = {**settings, "steps": min(settings["steps"], SHEET_STEPS)}
    images, captions = [], []
    with torch.random.fork_rng(devices=[]), common.autocast(args):
        torch.manual_seed(0)
        if args.arch == "dimoo":
            conditions = [base.condition_of("dimoo", model, part, vocabulary, args.device) for part in groups(held, 4, 4)]
        else:
            conditions = [torch.arange(16, device=args.device) % model.classes + model.class_id(0)]
        for condition in conditions:
            codes = sampling.sample(model, args.arch, condition, vocabulary, settings)
            images.append(vq.decode(codes, config.grid).float())
            captions += [" ".join(vocabulary.names[i] for i in row) for row in condition.tolist()] if args.arch == "dimoo" else []
    common.sheet(args.out / f"base-{args.arch}-samples.png", common.to_bytes(torch.cat(images)), columns=8)
    if captions:
        (args.out / f"base-{args.arch}-samples.txt").write_text("\n".join(captions) + "\n")
