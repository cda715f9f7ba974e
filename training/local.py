"""Takes the GroupNorms out of the encoder of an exported tokenizer: the begin of one whose codes depend on what is near.

`python training/local.py --config small --model MODEL --out runs/more` puts the mean statistics of scenes in the
place of each picture's own, and then has the encoder alone learn the latents that it had, for `--minutes` (2). It leaves
`begin-tokenizer.safetensors`, with the old decoder and codebook, for

`python training/tokenizer.py --config small --out runs/more --phases codes --whole 1 --begin runs/more/begin-tokenizer.safetensors`

where all of it goes on. A base on the old codes is then taken over by `take.py`.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import common
import tokenizer
from config import replace
from scenes import Scenes, source_of

PICTURES, BATCH, RATE = 64, 8, 1e-3


@torch.no_grad()
def fold(ours, theirs, x):
    """Sets each `Affine` of the encoder `ours` to the GroupNorm of `theirs`, with its mean statistics over the pictures `x`, the first ones first."""
    norms = {name: layer for name, layer in theirs.named_modules() if isinstance(layer, nn.GroupNorm)}

    def folded(norm):
        def measure(layer, inputs):
            groups = inputs[0].float().unflatten(1, (norm.num_groups, -1)).flatten(2)
            each = norm.num_channels // norm.num_groups
            mean = groups.mean((0, 2)).repeat_interleave(each)
            spread = groups.var(2, unbiased=False).mean(0).add(norm.eps).sqrt().repeat_interleave(each)
            layer.weight.copy_(norm.weight / spread)
            layer.bias.copy_(norm.bias - norm.weight * mean / spread)

        return measure

    layers = dict(ours.named_modules())
    hooks = [layers[name].register_forward_pre_hook(folded(norm)) for name, norm in norms.items()]
    ours(x)
    for hook in hooks:
        hook.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--model", required=True, type=Path, help="the folder of a text or class model whose tokenizer has GroupNorms")
    args = parser.parse_args()
    config = common.prepare(args)
    if json.loads((args.model / "config.json").read_text())["tokenizer"].get("local") or not config.tokenizer.local:
        raise SystemExit(f"error: there are no GroupNorms to take out of {args.model}, or --config {config.name} wants to keep them")
    theirs = tokenizer.VQModel(replace(config.tokenizer, local=False)).to(args.device)
    ours = tokenizer.VQModel(config.tokenizer).to(args.device)
    try:
        theirs.load_state_dict(load_file(args.model / "vq.safetensors"))
    except RuntimeError as error:
        raise SystemExit(f"error: the tokenizer of {args.model} is not of this configuration: {error}") from None
    ours.load_state_dict(theirs.state_dict())
    theirs.eval().requires_grad_(False)
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed)
    held = tokenizer.pictures(stream.take(PICTURES), args.device)
    fold(ours.encoder, theirs.encoder, held)

    def apart(x):
        with torch.no_grad(), common.autocast(args):
            wanted = theirs.latents(x).float()
        with common.autocast(args):
            found = ours.latents(x).float()
        weights = tokenizer.patch_weights(tokenizer.emphasis(x), config.tokenizer.factor)
        return (weights[:, None] * (tokenizer.rows_of(found) - tokenizer.rows_of(wanted)).square()).mean() / wanted.square().mean()

    learns = nn.ModuleDict({"encoder": ours.encoder, "quant_conv": ours.quant_conv})
    optimizers = common.optimizers(args.optimizer or "muon", learns, args.lr or RATE, (0.9, 0.99), 1e-4)
    with torch.no_grad():
        before = float(apart(held))
    began, limit, step, done = time.monotonic(), 60 * (2 if args.minutes is None else args.minutes), 0, 0.0
    while done < 1:
        passed = (time.monotonic() - began) / limit if limit else 1.0
        done = max(passed, step / args.steps if args.steps else 0.0)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = (args.lr or RATE) * min(1.0, (step + 1) / 20, 2 * (1 - min(done, 0.99)))
        loss = apart(tokenizer.pictures(stream.take(args.batch or BATCH), args.device))
        learns.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learns.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
    stream.close()
    path = args.out / "begin-tokenizer.safetensors"
    common.save_weights(path, ours, {"config": config.as_dict(), "phase": "codes", "begun": f"{args.model.name}, without GroupNorms"})
    with torch.no_grad():
        after = float(apart(held))
        steady = [100 * float(tokenizer.steadiness(model, held, config.grid)) for model in (theirs, ours)]
    print(f"codes of a picture's right half that stay when the left one is another's: {steady[0]:.0f} % before, {steady[1]:.0f} % now")
    print(f"{path}: squared distance from the old latents {before:.3f} of their size, {after:.3f} after {step} steps")


if __name__ == "__main__":
    main()
