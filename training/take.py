"""Takes exported models back into a run, so that training goes on from them: the reverse of `export.py`.

`python training/take.py --config small --models assets/models --out runs/more` finds the folders of a text model, a class model
and a judge below `--models` by what their `config.json` says, and writes `tokenizer.safetensors` and `judge.safetensors` as their
stages leave them, and `begin-STAGE.safetensors` for the bases and shortcuts: what `--begin` takes. Weights come back from f16.
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


def taken(path, model, metadata, to):
    """Writes the weights of `path` as those of `model`, which says what they must be."""
    found = {name: value.float() for name, value in load_file(path).items()}
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise SystemExit(f"error: {path} is not of this configuration: {error}") from None
    common.save_weights(to, model, metadata)
    print(f"{to}: from {path}")


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
            taken(folder / "vq.safetensors", tokenizer.build({}, config), {"config": values}, args.out / "tokenizer.safetensors")
        owner = base.new_base(arch, config, header)
        metadata = {"config": values, "arch": arch, "header": header}
        taken(folder / f"{arch}.safetensors", owner, metadata, args.out / f"begin-base-{arch}.safetensors")
        if (folder / "shortcut.safetensors").exists():
            student = shortcut.new_shortcut(arch, owner, config.shortcut, {"cross_attention": True, "time": True})
            taken(folder / "shortcut.safetensors", student, {"arch": arch}, args.out / f"begin-shortcut-{arch}.safetensors")
    if "scene-judge" in kinds:
        metadata = {"config": values, "header": header}
        taken(kinds["scene-judge"] / "judge.safetensors", judge.build(metadata, config), metadata, args.out / "judge.safetensors")


if __name__ == "__main__":
    with torch.no_grad():
        main()
