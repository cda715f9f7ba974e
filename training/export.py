"""Writes what was trained as model folders that `migm` opens: official tensor names, matrices in f16.

`python training/export.py --out runs/small` makes `runs/small/text`, `runs/small/class` and `runs/small/judge`, each from
what the run has; a base without a shortcut is exported without one. `--shortcut-name NAME` takes an ablation's shortcut.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import base
import common
import judge
import shortcut
import tokenizer
from config import replace, revive


def write_json(path, values):
    """Indented, and whole or not at all."""
    common.write_whole(path, lambda file: Path(file).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n"))


def write_part(path, model):
    """A model's tensors in f16."""
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise SystemExit(f"error: {name} holds values beyond f16; train on or with a smaller --lr")
    common.write_whole(path, lambda file: save_file(tensors, file))


def replaced(text, by):
    """A normaliser of `tokenizer.json`."""
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def words_json(vocabulary):
    """`tokenizer.json`: a word a token, as the scenes' grammar has words: split at spaces, in lower case, without commas."""
    at = {name: index for index, name in enumerate(vocabulary.names)}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at[name], "content": name, **special} for name in base.SPECIAL],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, replaced(",", " "), replaced("\u2019", "'")]},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": at, "unk_token": "[UNK]"},
    }


def exportable(student, metadata):
    """A shortcut as the engine computes it."""
    if not metadata["options"]["time"]:
        # A scale-shift of zero is none.
        student.adaLN_modulation.weight.zero_()
        student.adaLN_modulation.bias.zero_()
    return student


def parts_of(student):
    """What the engine is told of a shortcut that was trained without something."""
    return {} if student.options["cross_attention"] else {"cross_attention": False}


def tokenizer_config(config):
    """The tokenizer's part of `config.json`."""
    t = config.tokenizer
    return {"ch": list(t.ch), "layers": t.layers, "latent": t.latent, "groups": t.groups} | ({"local": True} if t.local else {})


def text_transformer(model, config, vocabulary):
    """The transformer's part of a text model's `config.json`."""
    v = vocabulary
    sizes = {"d_model": model.width, "heads": model.heads, "layers": config.text.layers, "mlp": model.mlp}
    ids = {"mask": v.mask, "newline": v.newline, "boa": v.boa, "boi": v.boi, "eoi": v.eoi, "eoa": v.eoa}
    return {**sizes, "text_vocab": v.size, "codebook": model.codebook, **ids, "grid": list(model.grid)}


def class_transformer(model, config):
    """The transformer's part of a class model's `config.json`."""
    c = config.classes
    sizes = {"grid": model.grid, "hidden": c.hidden, "depth": c.depth, "heads": c.heads, "mlp": c.mlp}
    return {**sizes, "codebook": model.codebook, "classes": model.classes}


def load(run, arch, device="cpu", shortcut_name=""):
    """`(base, its metadata, its configuration, shortcut or None, vq)` of a run."""
    model, metadata = common.load_weights(run / f"base-{arch}.safetensors", base.build, device)
    vq, _ = common.load_weights(run / "tokenizer.safetensors", tokenizer.build, device)
    path = run / f"shortcut-{arch}{'-' if shortcut_name else ''}{shortcut_name}.safetensors"
    config, student = revive(metadata["config"]), None
    if path.exists():
        student, about = shortcut.load(path, model, device)
        student = exportable(student, about)
        learnt = revive(about["config"])
        # It is at its best with the sampling whose trajectories it learnt from.
        sampling = {"text_sampling": learnt.text_sampling, "class_sampling": learnt.class_sampling}
        config = replace(config, shortcut=learnt.shortcut, **sampling)
    elif shortcut_name:
        raise SystemExit(f"error: {path} does not exist")
    return model, metadata, config, student, vq


def export(run, arch, folder, shortcut_name=""):
    """One model folder."""
    model, metadata, config, student, vq = load(run, arch, shortcut_name=shortcut_name)
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder / "vq.safetensors", vq)
    sizes = config.shortcut
    if arch == "dimoo":
        vocabulary = base.Vocabulary(metadata["header"]["words"])
        write_part(folder / "dimoo.safetensors", model)
        write_json(folder / "tokenizer.json", words_json(vocabulary))
        values = {"architecture": "lumina-dimoo", "transformer": text_transformer(model, config, vocabulary)}
        values |= {"tokenizer": tokenizer_config(config)}
        values |= {"shortcut": {"sc_blocks": sizes.blocks, "ratio": sizes.ratio} | parts_of(student)} if student else {}
        values |= {"sampling": config.text_sampling, "prompt_template": "{prompt}"}
        header = metadata["header"]
        kinds = {"things": header["nouns"], **{kind: header[kind] for kind in ("colours", "places", "lights")}}
        values |= {"words": [{"kind": kind, "words": words} for kind, words in kinds.items()]}
    else:
        write_part(folder / "maskgit.safetensors", model)
        values = {"architecture": "maskgit", "image_size": config.size, **class_transformer(model, config)}
        values |= {"labels": metadata["header"]["nouns"], "tokenizer": {"kind": "amused", **tokenizer_config(config)}}
        if student:
            sizes = {"n_block": sizes.blocks, "bottleneck_ratio": sizes.ratio, "heads": model.heads}
            values["shortcut"] = sizes | parts_of(student)
        values |= {"sampling": config.class_sampling}
    if student:
        write_part(folder / "shortcut.safetensors", student)
    # Last: a folder without it is no model.
    write_json(folder / "config.json", values)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.glob('*.safetensors')) / 1e6:.2f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--to", type=Path, help="where the model folders go (default: the run's folder)")
    parser.add_argument("--shortcut-name", default="")
    args = parser.parse_args()
    to = args.to or args.out
    with torch.no_grad():
        for arch, name in (("dimoo", "text"), ("maskgit", "class")):
            if (args.out / f"base-{arch}.safetensors").exists():
                export(args.out, arch, to / name, args.shortcut_name)
        if (args.out / "judge.safetensors").exists():
            model, metadata = common.load_weights(args.out / "judge.safetensors", judge.build)
            judge.write_model(to / "judge", model, metadata["header"], revive(metadata["config"]))


if __name__ == "__main__":
    main()
