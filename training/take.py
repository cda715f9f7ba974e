"""Takes exported models back into a run, so that training goes on from them: the reverse of `export.py`.

`python training/take.py --config small --models assets/models --out runs/more` finds the folders of a text model, a class model
and a judge below `--models` by what their `config.json` says, and writes `tokenizer.safetensors` and `judge.safetensors` as their
stages leave them, and `begin-STAGE.safetensors` for the bases and shortcuts: what `--begin` takes. Weights come back from f16.

A run has one tokenizer: what stands in it already as `tokenizer.safetensors`, or else the first model's. A base on other codes is taken
over to it: each code begins with what the base knew of the old code nearest to it, which is better than to begin at random.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import base
import common
import judge
import shortcut
import tokenizer
from scenes import Scenes, source_of


CODEBOOK = "quantize.embedding.weight"


def taken(path, model, metadata, to, change=lambda weights: weights):
    """Writes the weights of `path` as those of `model`, which says what they must be."""
    found = change({name: value.float() for name, value in load_file(path).items()})
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise SystemExit(f"error: {path} is not of this configuration: {error}") from None
    common.save_weights(to, model, metadata)
    print(f"{to}: from {path}")


def recoded(weights, arch, near):
    """A base's weights where each code has what the code `near` it had: its embedding, and its row of the head."""
    codes = len(near)
    if arch == "dimoo":  # codes come after the words
        names = ("model.transformer.wte.weight", "model.transformer.ff_out.weight")
        return weights | {name: torch.cat([weights[name][:-codes], weights[name][-codes:][near]]) for name in names}
    # Codes come first, and the head is the table with a bias for each position.
    table, bias = weights["tok_emb.weight"], weights["bias"]
    bias = torch.cat([bias[..., :codes][..., near], bias[..., codes:]], -1)
    return weights | {"tok_emb.weight": torch.cat([table[:codes][near], table[codes:]]), "bias": bias}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser)
    parser.add_argument("--models", required=True, type=Path, help="the folder with the models' folders")
    args = parser.parse_args()
    config = common.prepare(args)
    stream = Scenes(source_of(args), config.size, config.nouns, args.seed)
    header = stream.header.names()
    stream.close()
    kinds = {}
    for path in sorted(args.models.glob("*/config.json")):
        kinds.setdefault(json.loads(path.read_text())["architecture"], path.parent)
    if not kinds:
        raise SystemExit(f"error: {args.models} has no folder with a config.json")
    values = config.as_dict()
    for arch, kind in (("dimoo", "lumina-dimoo"), ("maskgit", "maskgit")):
        if kind not in kinds:
            continue
        folder = kinds[kind]
        if not (args.out / "tokenizer.safetensors").exists():
            # Tensors are called alike either way.
            local = json.loads((folder / "config.json").read_text())["tokenizer"].get("local", False)
            if local != config.tokenizer.local:
                has, wants = ("no GroupNorm", "some") if local else ("GroupNorms", "none")
                told = f"the tokenizer in {folder} has {has} in its encoder, and --config {config.name} {wants}"
                raise SystemExit(f"error: {told}" + ("" if local else "; training/local.py takes them out, before this"))
            taken(folder / "vq.safetensors", tokenizer.build({}, config), {"config": values}, args.out / "tokenizer.safetensors")
        owner = base.new_base(arch, config, header)
        metadata = {"config": values, "arch": arch, "header": header}
        present, its = load_file(args.out / "tokenizer.safetensors")[CODEBOOK], load_file(folder / "vq.safetensors")[CODEBOOK]
        change = {}
        if not torch.equal(present, its.float()):
            near = torch.cdist(present, its.float()).argmin(1)
            change = {"change": lambda weights, arch=arch, near=near: recoded(weights, arch, near)}
            print(f"{arch}: on other codes than the run's; each begins as the nearest of {near.unique().numel()}")
        taken(folder / f"{arch}.safetensors", owner, metadata, args.out / f"begin-base-{arch}.safetensors", **change)
        if (folder / "shortcut.safetensors").exists():
            student = shortcut.new_shortcut(arch, owner, config.shortcut, {"cross_attention": True, "time": True})
            taken(folder / "shortcut.safetensors", student, {"arch": arch}, args.out / f"begin-shortcut-{arch}.safetensors")
    if "scene-judge" in kinds:
        metadata = {"config": values, "header": header}
        taken(kinds["scene-judge"] / "judge.safetensors", judge.build(metadata, config), metadata, args.out / "judge.safetensors")


if __name__ == "__main__":
    with torch.no_grad():
        main()
