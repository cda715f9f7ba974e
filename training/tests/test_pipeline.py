"""Every stage at toy size, from nothing to exported models, and PyTorch and `migm` agreeing on them.

The environment's MIGM_BIN names the `migm` to test with; without it only the training is tested.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import base
import binding
import common
import export
import judge
import record
import sampling
import scenes
import tokenizer
import tokens
from config import CONFIGS, replace
from scenes import Scenes, Source

TRAINING = Path(__file__).parents[1]
SHAPES = f"{sys.executable} {Path(__file__).parent / 'shapes.py'}"
MIGM = os.environ.get("MIGM_BIN")
needs_migm = pytest.mark.skipif(not MIGM, reason="MIGM_BIN names no migm")
# Two threads that wait for each other are slower than one at this size.
OPTIONS = ["--config", "toy", "--scenes", SHAPES, "--threads", "1", "--device", "cpu", "--precision", "f32", "--minutes", "30"]


def call(file, *options):
    subprocess.run([sys.executable, str(TRAINING / file), *options], check=True, timeout=900)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """All stages, by the command that the README gives."""
    out = tmp_path_factory.mktemp("runs") / "toy"
    call("run.py", "--out", str(out), "--steps", "40", *OPTIONS)
    return out


def figures(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def column(path, name):
    return [float(row[name]) for row in figures(path) if row.get(name)]


def test_every_stage_learns(run):
    phases = [f"tokenizer-{name}" for name in tokenizer.PHASES]
    for stage in (phases[0], "judge"):
        losses = column(run / f"{stage}.csv", "loss")
        assert losses[-1] < 0.97 * losses[0], f"{stage}: {losses}"
    for phase in phases:
        assert (run / f"{phase}.safetensors").exists() and (run / f"{phase}.png").exists()
        assert column(run / f"{phase}.csv", "psnr")[-1] > 9 and column(run / f"{phase}.csv", "sharpness")[-1] > 0
    assert column(run / "tokenizer-codes.csv", "codes")[-1] > 4
    # On held-out scenes, as one batch's loss says as much of its masks as of the model. Well below a guess among the 64 codes, and of
    # the text model below what ten steps reach. The class model begins with how frequent codes are: see the next test.
    for arch in ("dimoo", "maskgit"):
        losses = column(run / f"base-{arch}.csv", "validation")
        assert losses[-1] < np.log(64) - 0.2, f"base-{arch}: {losses}"
        assert arch == "maskgit" or losses[-1] < 0.97 * losses[0], f"base-{arch}: {losses}"
    for arch in ("dimoo", "maskgit"):
        rows = figures(run / f"shortcut-{arch}.csv")
        assert float(rows[-1]["loss"]) < float(rows[-1]["reuse"]), f"{arch}: no better than reuse"
        held = [float(rows[-1][f"held_mse_{name}"]) for name in ("shortcut", "reuse")]
        # The toy text model's features hardly move: there is nothing to be better at.
        assert min(held) > 0 and (arch == "dimoo" or held[0] < held[1]), f"{arch}: {held} on runs that it has not seen"
        assert len({row["held_mse_reuse"] for row in rows if row["held_mse_reuse"]}) == 1, "those runs are the same each time"


@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_settings_are_tried_before_the_judge(run, arch):
    options = ["--arch", arch, "--out", str(run), "--count", "8", "--guidance", "0,2", "--choice", "1,4", *OPTIONS]
    command = [sys.executable, str(TRAINING / "tune.py"), *options]
    lines = subprocess.run(command, check=True, timeout=900, capture_output=True, text=True).stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"guidance {guidance}, choice {choice}, draw 1" for guidance in (0, 2) for choice in (1, 4)
    ]
    shares = [float(part.split()[-1]) for part in lines[0].split(":")[1].split(",")]
    assert len(shares) == 9 and all(0 <= share <= 1 for share in shares)
    assert (run / f"tune-{arch}-2-4-1.png").exists()


def test_a_stage_that_is_done_stays_as_it_is(run):
    before = (run / "base-dimoo.safetensors").read_bytes()
    call("base.py", "--arch", "dimoo", "--out", str(run), "--steps", "40", *OPTIONS)
    assert (run / "base-dimoo.safetensors").read_bytes() == before


def test_ablations_train_under_names_of_their_own(run):
    before = (run / "shortcut-maskgit.safetensors").read_bytes()
    switches = ["--no-cross-attention", "--no-time", "--ratio", "4", "--blocks", "2", "--kl", "0.1", "--rollout", "2"]
    call("shortcut.py", "--arch", "maskgit", "--name", "bare", "--out", str(run), "--steps", "4", *switches, *OPTIONS)
    assert (run / "shortcut-maskgit-bare.safetensors").exists()
    for arch in ("dimoo", "maskgit"):
        call("shortcut.py", "--arch", arch, "--name", "chain", "--out", str(run), "--steps", "4", "--unroll", "3", *OPTIONS)
        assert column(run / f"shortcut-{arch}-chain.csv", "loss")[-1] > 0
        # What was learnt by one loss can go on by another, what has other parts cannot.
        begin = ["--begin", str(run / f"shortcut-{arch}-chain.safetensors"), "--name", "other", "--out", str(run), "--steps", "1", *OPTIONS]
        call("shortcut.py", "--arch", arch, "--kl", "0", *begin)
        with pytest.raises(subprocess.CalledProcessError):
            call("shortcut.py", "--arch", arch, "--no-time", *begin)
    assert (run / "shortcut-maskgit.safetensors").read_bytes() == before


def test_a_base_on_other_codes_is_taken_over_to_those_of_the_run(run, tmp_path):
    """Codes in another order are the same codes: a base that goes with them comes back as it was."""
    call("export.py", "--out", str(run), "--to", str(tmp_path / "models"))
    call("take.py", "--models", str(tmp_path / "models"), "--out", str(tmp_path / "as-it-was"), *OPTIONS)
    vq, part = (tmp_path / "models/class" / name for name in ("vq.safetensors", "maskgit.safetensors"))
    codebook, weights = common.load_file(vq), common.load_file(part)
    first = codebook["quantize.embedding.weight"]
    order = torch.randperm(len(first))
    codebook["quantize.embedding.weight"] = first[order].contiguous()
    for name, axis in (("tok_emb.weight", 0), ("bias", -1)):
        others = torch.arange(len(order), weights[name].shape[axis])
        weights[name] = weights[name].index_select(axis, torch.cat([order, others])).contiguous()
    save_file(codebook, vq)
    save_file(weights, part)
    call("take.py", "--models", str(tmp_path / "models"), "--out", str(tmp_path / "taken"), *OPTIONS)
    ours, theirs = (common.load_file(tmp_path / folder / "begin-base-maskgit.safetensors") for folder in ("taken", "as-it-was"))
    # Codes that are equal can stand for each other.
    single = ((first[:, None] == first).all(-1).sum(1) == 1).nonzero()[:, 0]
    assert len(single) > 8
    for name, axis in (("tok_emb.weight", 0), ("bias", -1)):
        assert torch.equal(ours[name].index_select(axis, single), theirs[name].index_select(axis, single)), name
    assert not torch.equal(common.load_file(part)["tok_emb.weight"].float(), theirs["tok_emb.weight"])


def test_group_norms_are_taken_out_of_a_tokenizer(run, tmp_path):
    """An exported tokenizer that has them becomes one without, whose latents are nearly what they were, and is trained on."""
    config = CONFIGS["toy"]
    with_norms = replace(config, tokenizer=replace(config.tokenizer, local=False))
    torch.manual_seed(0)
    old = tokenizer.VQModel(with_norms.tokenizer)
    model = tmp_path / "models" / "text"
    shutil.copytree(run / "text", model)
    values = json.loads((model / "config.json").read_text())
    assert values["tokenizer"].pop("local")
    (model / "config.json").write_text(json.dumps(values))
    save_file(old.state_dict(), model / "vq.safetensors")
    out = tmp_path / "more"
    told = [sys.executable, str(TRAINING / "take.py"), "--models", str(tmp_path / "models"), "--out", str(out), *OPTIONS]
    refused = subprocess.run(told, capture_output=True, text=True)
    assert refused.returncode != 0 and "training/local.py takes them out" in refused.stderr
    said = subprocess.run(
        [sys.executable, str(TRAINING / "local.py"), "--model", str(model), "--out", str(out), *OPTIONS, "--steps", "40"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    before, after = (float(part.split()[0]) for part in said.split("latents ")[1].split("size, "))
    assert after < 0.5 * before < 1, said
    begin = out / "begin-tokenizer.safetensors"
    assert common.metadata_of(begin)["config"]["tokenizer"]["local"]
    ours = common.load_file(begin)
    assert torch.equal(ours["decoder.conv_out.weight"], old.state_dict()["decoder.conv_out.weight"])
    assert not torch.allclose(ours["encoder.mid_block.resnets.0.norm1.weight"], torch.ones(32), atol=1e-2), "statistics are in it"
    call("tokenizer.py", "--phases", "codes", "--whole", "1", "--steps", "2", "--begin", str(begin), "--out", str(out), *OPTIONS)
    kept = [common.load_file(path)["quantize.embedding.weight"] for path in (begin, out / "tokenizer.safetensors")]
    assert float((kept[0] - kept[1]).abs().mean()) < 0.05 * float(kept[0].abs().mean()), "no k-means anew"
    call("take.py", "--models", str(tmp_path / "models"), "--out", str(out), *OPTIONS)


def test_a_class_base_learns_more_than_how_frequent_codes_are(run, tmp_path):
    """Codes that the class decides: a base that knew their frequencies alone would keep the loss that it begins with."""
    for name in ("tokens", "tokenizer.safetensors"):
        (shutil.copytree if name == "tokens" else shutil.copy)(run / name, tmp_path / name)
    for path in (tmp_path / "tokens").glob("*.npz"):
        part = tokens.read(path)
        part.codes[:] = (part.labels[:, [scenes.NOUN_A]] * 11 + np.arange(part.codes.shape[1])) % 64
        tokens.write(path, part)
    call("base.py", "--arch", "maskgit", "--out", str(tmp_path), "--steps", "150", *OPTIONS)
    losses = column(tmp_path / "base-maskgit.csv", "validation")
    assert losses[-1] < 0.5 * losses[0], losses


def test_training_goes_on_from_exported_models(run, tmp_path):
    call("export.py", "--out", str(run), "--to", str(tmp_path / "models"))
    more = tmp_path / "more"
    call("take.py", "--models", str(tmp_path / "models"), "--out", str(more), *OPTIONS)
    for name in ("tokenizer", "judge"):
        ours, theirs = (common.load_file(folder / f"{name}.safetensors") for folder in (more, run))
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-3, rtol=1e-3) for key in theirs), name
    call("tokens.py", "--out", str(more), "--count", "512", "--shard", "256", *OPTIONS)
    switches = ["--optimizer", "adamw", "--lr", "1e-4", "--steps", "4"]
    for arch in ("dimoo", "maskgit"):
        begin = ["--arch", arch, "--out", str(more), "--begin"]
        call("base.py", *begin, str(more / f"begin-base-{arch}.safetensors"), *switches, *OPTIONS)
        before, after = (column(folder / f"base-{arch}.csv", "validation")[-1] for folder in (run, more))
        assert after < before + 0.1, f"{arch}: {before} became {after}"
        call("shortcut.py", *begin, str(more / f"begin-shortcut-{arch}.safetensors"), "--steps", "2", *OPTIONS)
    with pytest.raises(subprocess.CalledProcessError):
        begin = ["--begin", str(more / "begin-base-maskgit.safetensors")]
        call("base.py", "--arch", "dimoo", "--out", str(tmp_path / "other"), *begin, *OPTIONS)


def test_tokens_stay_while_the_decoder_learns(run):
    prints = []
    for name in ("autoencoder", "codes", "decoder"):
        model, _ = common.load_weights(run / f"tokenizer-{name}.safetensors", tokenizer.build)
        prints.append(tokenizer.fingerprint(model))
    assert prints[0] != prints[1] == prints[2] == tokens.Folder(run).fingerprint
    ours, theirs = (common.load_file(run / f"tokenizer-{name}.safetensors") for name in ("codes", "decoder"))
    assert not torch.equal(ours["decoder.conv_out.weight"], theirs["decoder.conv_out.weight"])
    assert (run / "tokenizer.safetensors").read_bytes() == (run / "tokenizer-decoder.safetensors").read_bytes()


def test_tokens_go_on_where_they_stopped(run, tmp_path):
    for count in (96, 160):
        shutil.copy(run / "tokenizer.safetensors", tmp_path)
        call("tokens.py", "--out", str(tmp_path), "--count", str(count), "--shard", "64", *OPTIONS)
    folder = tokens.Folder(tmp_path)
    shards = [tokens.read(folder.shard(number)) for number in range(3)]
    assert [len(shard) for shard in shards] == [64, 64, 64] and not folder.shard(3).exists()
    stream = Scenes(Source(SHAPES, ""), 32, 4, seed=10)
    assert (stream.take(192).ids == tokens.joined(shards).ids).all()
    stream.close()
    model, _ = common.load_weights(run / "tokenizer-autoencoder.safetensors", tokenizer.build)
    with pytest.raises(SystemExit, match="holds tokens of tokenizer"):
        tokens.Folder(tmp_path, model)


@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_a_window_is_seen_where_it_stands(arch):
    """A window of everything is everything; one of a part has features of its own places, and sees nothing else."""
    header = {"words": ["a", "fox"], "nouns": ["fox", "owl"]}
    torch.manual_seed(0)
    config = CONFIGS["toy"]
    model = base.new_base(arch, config, header).eval()
    vocabulary = base.Vocabulary(header["words"])
    codes = torch.randint(0, config.tokenizer.codebook, (2, model.tokens))
    condition = torch.tensor([[0, 1], [1, 0]]) if arch == "dimoo" else torch.tensor([model.class_id(0), model.class_id(1)])
    of = lambda codes, window=None: base.features_of(model, arch, codes, condition, vocabulary, window)  # noqa: E731
    everything = torch.arange(model.tokens).expand(2, -1)
    assert torch.allclose(of(codes), of(codes, everything), atol=1e-5)
    window = torch.tensor([[1, 2, 5, 6], [8, 9, 12, 15]])
    other = (codes + 1) % config.tokenizer.codebook
    other.scatter_(1, window, codes.gather(1, window))
    assert of(codes, window).shape[1] == 4
    assert torch.allclose(of(codes, window), of(other, window), atol=1e-6)
    for row in range(2):
        assert not torch.allclose(of(codes)[row, window[row]], of(codes, window)[row], atol=1e-3)


def test_windows_hold_the_things():
    """All of them where they fit, and what is nearest beside them; a part of them where they do not."""
    labels = np.zeros((3, 16), np.int16)
    boxes = [(2, 3, 4, 4), (0, 0, 3, 0), (0, 1, 7, 5)]  # left, top, right, bottom on a grid of 6 rows and 8 columns
    for row, (left, top, right, bottom) in zip(labels, boxes, strict=True):
        row[[scenes.FIRST, scenes.LAST]] = top * 8 + left, bottom * 8 + right
    seen = set()
    for _ in range(20):
        chosen = tokens.windows(labels, 12, 6, 8)
        assert chosen.shape == (3, 12) and (chosen.diff() > 0).all() and 0 <= chosen.min() and chosen.max() < 48
        for window, (left, top, right, bottom) in zip(chosen.tolist(), boxes, strict=True):
            box = {row * 8 + column for row in range(top, bottom + 1) for column in range(left, right + 1)}
            assert len(box & set(window)) == min(12, len(box)), box
        seen.add(tuple(chosen[0].tolist()))
    assert len(seen) > 5, "another part of what is around them every time"


def test_a_base_learns_from_windows(run, tmp_path):
    for name in ("tokens", "tokenizer.safetensors"):
        (shutil.copytree if name == "tokens" else shutil.copy)(run / name, tmp_path / name)
    options = ["--arch", "dimoo", "--out", str(tmp_path), "--window", "8", *OPTIONS]
    call("base.py", "--steps", "12", *options)
    assert column(tmp_path / "base-dimoo.csv", "validation")[-1] < 0.95 * np.log(CONFIGS["toy"].tokenizer.codebook), "better than a guess"
    held = tokens.read(tmp_path / "tokens" / "held.npz")
    held.labels[:, scenes.LAST] = 0
    tokens.write(tmp_path / "tokens" / "held.npz", held)
    with pytest.raises(subprocess.CalledProcessError):
        call("base.py", "--steps", "13", *options)


def test_a_base_learns_the_order_of_words(run, tmp_path):
    """Enough steps on a few scenes, and each is likelier under its own caption than under the same words in another order."""
    torch.manual_seed(0)
    np.random.seed(0)
    folder = tokens.Folder(run)
    part = tokens.joined([folder.held(), folder.first()])
    part = part.of(np.logical_or(*tokens.exchangeable(part.labels)))
    part = part.of_length(part.lengths()[0]).of(slice(0, 8))
    model = base.new_base("dimoo", CONFIGS["toy"], folder.header)
    vocabulary = base.Vocabulary(folder.header["words"])
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    seen = []
    for _ in range(150):
        other = tokens.exchanged(part, folder.header)
        places, hidden = binding.places_of(part, 12, model.codebook, CONFIGS["toy"].grid)
        loss, told = binding.loss(model, part, other, places, hidden, vocabulary, "cpu")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(float(told))
    assert len(part) > 3 and np.mean(seen[-10:]) > 0.9, seen
    for name in ("tokens", "tokenizer.safetensors"):
        (shutil.copytree if name == "tokens" else shutil.copy)(run / name, tmp_path / name)
    call("base.py", "--arch", "dimoo", "--out", str(tmp_path), "--bind", "0.8", "--steps", "12", *OPTIONS)
    for name in ("sides", "colours"):
        shares = column(tmp_path / "base-dimoo.csv", name)
        assert shares and all(0 <= share <= 1 for share in shares), name
    with pytest.raises(subprocess.CalledProcessError):
        call("base.py", "--arch", "maskgit", "--out", str(tmp_path), "--bind", "0.8", "--steps", "1", *OPTIONS)


def test_two_processes_take_the_steps_of_one(run, tmp_path):
    weights = []
    together = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launch in (("one", []), ("two", together)):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copytree(run / "tokens", folder / "tokens")
        shutil.copy(run / "tokenizer.safetensors", folder)
        options = ["--arch", "dimoo", "--out", str(folder), "--steps", "6", "--batch", "9", *OPTIONS]
        command = [sys.executable, *launch, str(TRAINING / "base.py"), *options]
        told = subprocess.run(command, timeout=900, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        assert told.stdout.count("base-dimoo: step 6") == 1, "one of them speaks"
        weights.append(common.load_file(folder / "base-dimoo.safetensors"))
    one, two = weights
    far = lambda a, b: sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5  # noqa: E731
    before = common.load_file(run / "base-dimoo.safetensors")
    assert far(one, two) < 0.01 * far(one, before), "muon rounds to bf16, so they are not the same to the bit"
    for name in ("loss", "validation"):
        curves = [column(tmp_path / folder / "base-dimoo.csv", name) for folder in ("one", "two")]
        assert np.allclose(*curves, rtol=1e-4), name
    options = ["--phases", "codes", "--out", str(tmp_path / "one"), "--steps", "1", "--begin", str(run / "tokenizer.safetensors"), *OPTIONS]
    refused = subprocess.run([sys.executable, *together, str(TRAINING / "tokenizer.py"), *options], capture_output=True, text=True)
    assert refused.returncode != 0 and "tokenizer-codes trains in one process" in refused.stderr


def test_two_processes_train_a_shortcut_on_runs_of_their_own(run, tmp_path):
    for name in ("tokenizer.safetensors", "base-dimoo.safetensors"):
        shutil.copy(run / name, tmp_path)
    shutil.copytree(run / "tokens", tmp_path / "tokens")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(TRAINING / "shortcut.py"), "--arch", "dimoo", "--out", str(tmp_path), "--batch", "4", *OPTIONS]
    for steps in ("6", "12"):
        told = subprocess.run([*command, "--steps", steps], timeout=900, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        assert told.stdout.count(f"shortcut-dimoo: step {steps}") == 1, "one of them speaks"
    assert "resumed at step" in told.stdout, "the second command goes on"
    curve = tmp_path / "shortcut-dimoo.csv"
    assert column(curve, "step") == [10, 12]
    assert all(np.isfinite(column(curve, "loss"))) and np.isfinite(column(curve, "held_mse_shortcut")).all()


def test_a_judge_is_asked_for_what_was_said_alone():
    shape = (4, 4, 8, 8, 3, 8, 4, 2)
    labels = np.zeros((1, 16), np.int16)
    labels[0, :14] = [1, 2, 3, 2, 0, 2, 3, 5, 1, 6, 7, 4, 0, 0]  # a COLOUR of A is said, and no place or light
    wanted = judge.targets(labels, "cpu")
    assert wanted.tolist() == [[2, 3, 6, 7, 1, 5, 1, 1]]
    logits = lambda classes: torch.cat([torch.nn.functional.one_hot(torch.tensor([c]), n) for c, n in zip(classes, shape, strict=True)], 1).float()  # noqa: E731
    assert judge.asked(logits([2, 3, 6, 7, 1, 5, 1, 1]), labels, shape)[0].tolist() == [1] * 9
    assert judge.asked(logits([2, 3, 6, 0, 1, 0, 0, 1]), labels, shape)[0].tolist() == [1] * 9
    assert judge.asked(logits([2, 3, 5, 7, 1, 5, 1, 0]), labels, shape)[0].tolist() == [1, 1, 0, 1, 1, 1, 1, 0, 0]
    assert judge.asked(logits([3, 2, 7, 6, 1, 5, 1, 1]), labels, shape)[0, -1] == 0
    labels[0, scenes.RELATION] = scenes.AND
    assert judge.asked(logits([3, 2, 7, 6, 1, 5, 1, 1]), labels, shape)[0, -1] == 1
    labels[0, scenes.TORN] = 1
    assert judge.correct(logits([0, 0, 0, 0, 1, 5, 1, 0]), judge.targets(labels, "cpu"), shape).all()


def test_published_schedules():
    """Specification of the official samplers: sums, and tables of the paper's code."""
    assert sampling.reveals("maskgit", 15, 1024) == [1, 26, 38, 46, 54, 61, 67, 73, 79, 84, 89, 94, 99, 104, 109]
    assert sampling.reveals("dimoo", 16, 4096) == [20, 59, 98, 135, 172, 207, 239, 270, 298, 323, 345, 363, 378, 390, 398, 401]
    full = [step for step, is_full in enumerate(sampling.full_steps(15, 10)) if is_full]
    assert full == [0, 2, 3, 4, 6, 8, 9, 10, 12, 14]


def test_shortcuts_cost_a_fifteenth():
    """By multiplications of a sequence, head aside: both configurations, both architectures."""
    from config import CONFIGS

    for name in ("small", "large"):
        c = CONFIGS[name]
        tokens, new = c.grid * c.grid, c.grid * c.grid // 16
        t, w = c.text, c.text.d_model // c.shortcut.ratio
        length = 12 + 4 + tokens + c.grid
        full = t.layers * (4 * t.d_model**2 + 3 * t.d_model * t.mlp + 2 * length * t.d_model) * length
        block = length * (2 * w * w + 3 * w * t.mlp + 2 * w * (new + 12)) + 2 * (new + 12) * w * w
        own = length * (4 * w * w + 3 * w * t.mlp + 2 * length * w)
        cost = c.shortcut.blocks * (block + own) + 2 * length * w * t.d_model + (new + 12) * w * t.d_model
        assert full / cost > 15, f"{name} text: {full / cost:.1f}"
        m, w = c.classes, c.classes.hidden // c.shortcut.ratio
        length = tokens + 1
        layer = 4 * m.hidden**2 + 2 * m.hidden * m.mlp + 2 * length * m.hidden
        full = (m.depth * layer + 3 * m.hidden**2) * length
        block = length * (2 * w * w + 8 * w * w + 2 * w * new) + 2 * new * w * w + length * (12 * w * w + 2 * length * w)
        cost = c.shortcut.blocks * block + length * (2 * w * m.hidden + w * w) + new * w * m.hidden
        assert full / cost > 15, f"{name} class: {full / cost:.1f}"


@needs_migm
@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_migm_computes_ablated_shortcuts(run, tmp_path, arch):
    for name, switches in (("own", ["--no-cross-attention", "--no-time"]), ("wide", ["--ratio", "1"])):
        call("shortcut.py", "--arch", arch, "--name", name, "--out", str(run), "--steps", "3", *switches, *OPTIONS)
        path = tmp_path / f"{name}.safetensors"
        record.record(run, arch, path, shortcut_name=name)
        done = subprocess.run([MIGM, "verify", str(path), "--backend", "cpu"], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "shortcut.out" in done.stdout


@needs_migm
@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_migm_computes_what_pytorch_computes(run, tmp_path, arch):
    path = tmp_path / f"{arch}.safetensors"
    record.record(run, arch, path)
    done = subprocess.run([MIGM, "verify", str(path), "--backend", "cpu"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("base.features", "shortcut.out", "trace.0", "trace.1"):
        assert part in done.stdout, done.stdout
    assert "FAILED" not in done.stdout


def louder(run, folder, arch):
    """A run's tokenizer, and its base with modules that add much to the residual stream: after a few steps they hardly add anything,
    and what an accelerator does with them would not show."""
    folder.mkdir()
    shutil.copy(run / "tokenizer.safetensors", folder)
    model, metadata = common.load_weights(run / f"base-{arch}.safetensors", base.build, "cpu")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 and ("blocks" in name or "layers" in name):
                p *= p.shape[1] ** -0.5 / p.std()
    common.save_weights(folder / f"base-{arch}.safetensors", model, metadata)


@needs_migm
@pytest.mark.parametrize("arch", ["dimoo", "maskgit"])
def test_migm_accelerates_as_the_papers_do(run, tmp_path, arch):
    louder(run, tmp_path / "run", arch)
    path = tmp_path / f"{arch}.safetensors"
    record.record(tmp_path / "run", arch, path, others=record.OTHERS)
    done = subprocess.run([MIGM, "verify", str(path), "--backend", "cpu"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    for index, other in enumerate(record.OTHERS, 1):
        parts = ["codes"] if arch == "dimoo" else ["masked_after"]
        parts += ["features"] if arch == "dimoo" or "guidance_interval" not in other else []
        for part in parts:
            assert f"trace.{index}.{part}" in done.stdout, done.stdout


@needs_migm
def test_a_recording_that_lies_fails(run, tmp_path):
    """The comparison above can fail: one changed weight does it."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    path = tmp_path / "dimoo.safetensors"
    record.record(copy, "dimoo", path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    tensors["dimoo.model.transformer.ln_f.weight"] *= 1.5
    save_file(tensors, path, metadata)
    done = subprocess.run([MIGM, "verify", str(path), "--backend", "cpu"], capture_output=True, text=True, timeout=600)
    assert done.returncode != 0 and "FAILED" in done.stdout, done.stdout


@needs_migm
@pytest.mark.parametrize("folder", ["text", "class"])
def test_migm_generates_with_the_exported_folders(run, tmp_path, folder):
    subject = ["a red disc to the left of a square on moon"] if folder == "text" else ["--class", "square"]
    picture = tmp_path / "picture.png"
    command = [MIGM, "generate", *subject, "--model", str(run / folder), "--budget", "2", "--backend", "cpu", "--out", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_judges_folder_says_what_it_reads(run):
    config = json.loads((run / "judge" / "config.json").read_text())
    assert config["architecture"] == "scene-judge" and len(config["nouns"]) == 4 and len(config["places"]) == 8
    assert config["colours"][0] == "natural" and "styles" not in config
    assert (run / "judge" / "judge.safetensors").exists()
