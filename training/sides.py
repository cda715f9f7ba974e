"""What a text base knows of left and right: how much its loss grows where a caption's nouns or its relation are exchanged.

Captions are those of the run's tokenized scenes that are ten words long and name their two things in one word each, as
"a fox to the left of a koala at night"; nine tenths of the tokens are masked. Nats a token, as means; 0 is ignorance.

`python training/sides.py --config small --out runs/small`, or `--weights FILE` for other weights than the run's.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import base
import common
import scenes

WORDS = 10
MASKED = 0.9
# Where the words stand: a NOUN to the RELATION of a NOUN.
FIRST, RELATION, SECOND = slice(0, 2), 4, slice(6, 8)


def exchanged(prompt, left, right):
    """The caption as it is, with its nouns exchanged, and with its relation exchanged."""
    nouns, relation = prompt.clone(), prompt.clone()
    nouns[:, FIRST], nouns[:, SECOND] = prompt[:, SECOND], prompt[:, FIRST]
    relation[:, RELATION] = left + right - prompt[:, RELATION]
    return prompt, nouns, relation


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--weights", type=Path, help="the base's weights (default: the run's)")
    parser.add_argument("--count", type=int, default=128, help="captions of each relation")
    args = parser.parse_args()
    config = common.prepare(args)
    model, metadata = common.load_weights(args.weights or args.out / "base-dimoo.safetensors", base.build, args.device)
    tokens = base.prompt_set(args, config)
    vocabulary = base.Vocabulary(metadata["header"]["words"])
    left, right = (vocabulary.words.index(word) for word in ("left", "right"))
    lengths = (tokens.ids != scenes.NO_WORD).sum(1)
    for number, (name, word) in enumerate((("left", left), ("right", right))):
        fits = (tokens.labels[:, scenes.RELATION] == number) & (lengths == WORDS) & (tokens.ids[:, RELATION] == word)
        chosen = np.flatnonzero(fits)[: args.count]
        if not len(chosen):
            raise SystemExit(f"error: no scene of the run has such a caption with {name}")
        prompt = base.prompts(tokens, chosen, WORDS, vocabulary, args.device)
        codes = torch.from_numpy(tokens.codes[chosen].astype(np.int64)).to(args.device)
        torch.manual_seed(args.seed)
        mask = torch.rand(codes.shape).argsort(1).argsort(1) < int(MASKED * codes.shape[1])
        mask = mask.to(args.device)
        inputs = torch.where(mask, model.codebook, codes)
        losses = []
        for caption in exchanged(prompt, left, right):
            logits = model.logits(base.features_of(model, "dimoo", inputs, caption, vocabulary)[mask])
            losses.append(float(F.cross_entropy(logits, codes[mask])))
        true, nouns, relation = losses
        print(f"{name}: {len(chosen)} captions, loss {true:.3f}, nouns exchanged {nouns - true:+.3f}, relation {relation - true:+.3f}")


if __name__ == "__main__":
    main()
