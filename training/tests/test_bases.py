"""What bases learn, and what from: windows of scenes, the order of words, another model; in one process and in two."""

import argparse
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import base
import binding
import common
import scenes
import teacher
import tokens
from config import CONFIGS
from toy import OPTIONS, TRAINING, call, column


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


def test_a_class_model_learns_what_a_text_model_answers(run, tmp_path):
    """It comes to the features of its teacher, which is asked for nothing but a class's name."""
    folder = tokens.Folder(run)
    words, nouns = folder.header["words"], folder.header["nouns"]
    names = teacher.names_of_classes(folder, nouns)
    said = [" ".join(words[i] for i in name) for name in names]
    assert [name.split()[-1] for name in said] == nouns and all(len(name.split()) == 2 for name in said), said
    with pytest.raises(SystemExit, match="says zebra and nothing else"):
        teacher.names_of_classes(folder, [*nouns, "zebra"])
    # With the table that it begins with, a class model that has the teacher's features has nothing to learn.
    guide = teacher.Teacher(argparse.Namespace(teacher=run / "base-dimoo.safetensors", device="cpu", compile=False), folder)
    student = base.new_base("maskgit", CONFIGS["toy"], folder.header)
    guide.passes_on(student)
    part = base.of_one_thing(folder.held()).of(slice(0, 6))
    codes = torch.full((6, student.tokens), student.codebook)
    theirs = guide.features(codes, part.labels[:, scenes.NOUN_A], False, None)
    places = torch.arange(student.tokens).expand(6, -1)
    with torch.no_grad():
        nothing, something = (float(guide.loss(student, f, theirs, places)) for f in (theirs, torch.randn_like(theirs)))
    assert abs(nothing) < 1e-3 < 1 < something
    assert not torch.equal(theirs, guide.features(codes, part.labels[:, scenes.NOUN_A], True, None)), "a name is told"
    for name in ("tokens", "tokenizer.safetensors"):
        (shutil.copytree if name == "tokens" else shutil.copy)(run / name, tmp_path / name)
    options = ["--out", str(tmp_path), "--steps", "60", *OPTIONS]
    call("base.py", "--arch", "maskgit", "--teacher", str(run / "base-dimoo.safetensors"), *options)
    losses = column(tmp_path / "base-maskgit.csv", "loss")
    assert losses[-1] < 0.7 * losses[0], losses
    for arch, of in (("dimoo", "base-dimoo"), ("maskgit", "base-maskgit")):
        with pytest.raises(subprocess.CalledProcessError):
            call("base.py", "--arch", arch, "--teacher", str(run / f"{of}.safetensors"), *options)
