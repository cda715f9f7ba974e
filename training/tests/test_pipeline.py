"""Every stage at toy size, from nothing to exported models, and PyTorch and `migm` agreeing on them.

The environment's MIGM_BIN names the `migm` to test with; without it only the training is tested.
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import base
import common
import judge
import record
import sampling
import scenes
import tokenizer
import tokens
from config import CONFIGS, replace
from scenes import Scenes, Source
from toy import MIGM, OPTIONS, SHAPES, TRAINING, call, column, figures, needs_migm


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
