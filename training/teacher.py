"""A text model as the teacher of a class model: what it answers to a class's name alone, as "a fox".

Which code a scene has at a token is one draw of many that would do: of a class model's loss most is this chance, which no model can
know. A text model of the same tokens has the shares of all codes, so that a scene teaches as many do (Hinton et al. 2015, arXiv
1503.02531). It has learnt captions that leave colour, place and light open. The class model begins with its table of codes: each head
is linear in the last features, so that features become the same ones too.
"""

import numpy as np
import torch
import torch.nn.functional as F

import base
import common
import scenes
import tokens

FEATURES = 1.0  # of the loss, the squared error of features, beside a divergence in nats


def names_of_classes(folder, nouns):
    """What captions call each of these classes where they say nothing else, `[words]` each; of as many shards as it takes."""
    found, number = {}, 0
    while len(found) < len(nouns) and folder.shard(number).exists():
        part = tokens.read(folder.shard(number))
        alone = part.of((part.labels[:, scenes.KIND] == 0) & (part.labels[:, scenes.STATED] == 0))
        found |= {noun: ids[:count] for noun, ids, count in zip(alone.labels[:, scenes.NOUN_A], alone.ids, alone.lengths(), strict=True)}
        number += 1
    if missing := [name for noun, name in enumerate(nouns) if noun not in found]:
        raise SystemExit(f"error: no caption of {folder.path} says {', '.join(missing)} and nothing else, as a text model has to be asked; make more")
    return [found[noun] for noun in range(len(nouns))]


class Teacher:
    """A frozen text model that is asked for scenes by their class."""

    def __init__(self, args, folder):
        """`folder` has the scenes in whose captions classes are named."""
        header = folder.header
        self.model, metadata = common.load_weights(args.teacher, base.build, args.device)
        if metadata["arch"] != "dimoo" or metadata["header"] != header:
            raise SystemExit(f"error: {args.teacher} holds no text model of these scenes' words")
        self.vocabulary = base.Vocabulary(header["words"])
        self.names = names_of_classes(folder, header["nouns"])
        self.net = base.Through(torch.compile(self.model, dynamic=True), self.model) if args.compile else self.model

    @torch.no_grad()
    def passes_on(self, student):
        """A class model that was not trained begins with the teacher's table of codes, which its features are then held to."""
        net = self.model.net
        student.tok_emb.weight[: student.codebook] = net.ff_out.weight[self.model.text_vocab :] * net.ln_f.weight
        student.bias[: student.tokens, : student.codebook] = 0

    @torch.no_grad()
    def features(self, codes, labels, drop, window):
        """Features at image tokens, or at those of the windows, before the last norm's weight `[B, N, width]`."""
        found = None
        words = np.array([1 if drop else len(self.names[noun]) for noun in labels])
        for count in np.unique(words):  # as the model knows no padding
            rows = np.flatnonzero(words == count)
            ids = [[self.vocabulary.uncondition]] * len(rows) if drop else [self.names[noun] for noun in labels[rows]]
            prompts = torch.from_numpy(np.array(ids, np.int64)).to(codes.device)
            at = torch.from_numpy(rows).to(codes.device)
            told = base.features_of(self.net, "dimoo", codes[at], prompts, self.vocabulary, None if window is None else window[at])
            found = told.new_empty(len(codes), *told.shape[1:]) if found is None else found
            found[at] = told
        return found.float() / self.model.net.ln_f.weight

    def loss(self, student, features, wanted, places):
        """Of masked tokens `[M, width]`: how far what is drawn is from the teacher's, whose features are `wanted`, and features from features."""
        with torch.autocast(features.device.type, enabled=False):
            theirs = self.model.logits(wanted * self.model.net.ln_f.weight).log_softmax(-1)
        ours = student.logits(features, places).float().log_softmax(-1)
        apart = F.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1)
        return apart.sum() + FEATURES * (features.float() - wanted).square().mean(-1).sum()
