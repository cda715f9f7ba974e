"""`benches/peer.py` at toy size: its PyTorch does what migm does, and no more."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import base
import sampling
from config import Shortcut

sys.path.append(str(Path(__file__).parents[2] / "benches"))
import peer

SIZES = {"grid": 4, "hidden": 32, "depth": 2, "heads": 4, "mlp": 64, "codebook": 16, "classes": 3}
LENGTH, INNER, MIDDLE = 17, 16, 64  # tokens and a class; width of the shortcut; between the layers of its time: sqrt(16 * 256)
ROWS = 2 * LENGTH
SETTINGS = {**peer.SETTINGS, "steps": 4}


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(base, "attend", peer.fused)
    torch.manual_seed(0)
    model, net = peer.models(SIZES, Shortcut(blocks=1, ratio=2))
    torch.nn.init.normal_(model.bias)
    return model, net


def full_by_hand():
    outside = 3 * ROWS * 32 * 32
    block = ROWS * 32 * (3 * 32 + 32 + 2 * 64) + 2 * 2 * LENGTH * LENGTH * 32
    return outside + 2 * block


def shortcut_by_hand(new):
    time = 256 * MIDDLE + MIDDLE * INNER + INNER * 2 * INNER
    outside = ROWS * 32 * INNER + new * 32 * INNER + ROWS * INNER * INNER + ROWS * INNER * 32
    # One set of keys and values of new tokens serves both sequences.
    cross = 2 * ROWS * INNER * INNER + new * INNER * 2 * INNER + 2 * 2 * LENGTH * new * INNER
    own = 4 * ROWS * INNER * INNER + 2 * 2 * LENGTH * LENGTH * INNER
    feed_forward = 2 * ROWS * INNER * 4 * INNER
    return time + outside + cross + own + 2 * feed_forward


def test_multiply_adds_are_those_counted_by_hand(toys):
    counts = sampling.reveals("maskgit", 4, 16)
    masked = [16 - sum(counts[:step]) for step in range(4)]
    found = peer.counted(peer.Run(*toys, SETTINGS))
    assert found["masked"] == masked
    assert found["full"] == full_by_hand()
    assert found["shortcut"] == [0] + [shortcut_by_hand(new) for new in counts[:3]]
    assert found["head"] == [m * 32 * 16 for m in masked]


def test_the_products_listed_are_those_of_a_step():
    listed = sum(math.prod(product) for of in peer.products(SIZES, 5).values() for product in of)
    assert listed == full_by_hand() + 5 * 32 * 16
    assert set(peer.Products(SIZES, 5).run_ms()) == {*peer.PRODUCTS, "fused attention"}


@torch.no_grad()
def test_both_sequences_at_once_are_what_training_computes(toys, monkeypatch):
    run = peer.Run(*toys, SETTINGS)
    run.full()
    run.reveal()
    run.predict()
    ours = run.both, run.logits(run.masked()[0])
    monkeypatch.undo()
    plain = sampling.Run(toys[0], "maskgit", run.condition, None, SETTINGS)
    plain.full()
    plain.codes, plain.new_positions, plain.step = run.codes, run.new_positions, run.step
    plain.features = sampling.predict(toys[1], plain)
    theirs = torch.cat(plain.features), plain.logits(plain.masked()[0])
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-5), float((a - b).abs().max())


@torch.no_grad()
def test_a_batch_is_its_images_and_a_run_on_a_device_draws_the_same(toys):
    model, net = toys
    parts = SimpleNamespace(owner=model, model=model, net=net, draw=peer.draw)
    runs = [peer.Run(*toys, SETTINGS, 2), peer.ClassRun(parts, SETTINGS, 2)]
    for step in range(4):
        for run in runs:
            run.full() if step % 2 == 0 else run.predict()
        features, positions = runs[0].both, runs[0].masked()[0]
        assert torch.equal(runs[1].masked()[0], positions)
        # Of the second image alone, the same.
        alone = peer.Run(*toys, SETTINGS)
        alone.codes, alone.condition, alone.step = runs[0].codes[1:], runs[0].condition[1:], step
        alone.conditions = tuple(c[1:] for c in runs[0].conditions)
        if step % 2 == 0:
            alone.full()
            assert torch.allclose(alone.both, features[1::2], atol=1e-5)
        alone.both = features[1::2]
        assert torch.allclose(alone.logits(positions[1:]), runs[0].logits(positions)[1:], atol=1e-5)
        for run in runs:
            torch.manual_seed(step)
            run.reveal()
        assert torch.equal(runs[0].codes, runs[1].codes)
    assert (runs[0].codes < 16).all()


TEXT = {"d_model": 32, "heads": 4, "layers": 2, "mlp": 64, "text_vocab": 20, "codebook": 16, "grid": (2, 3)}
IDS = SimpleNamespace(mask=1, newline=2, boa=3, boi=4, eoi=5, eoa=6, uncondition=0)


@torch.no_grad()
def test_text_models_do_what_training_does():
    torch.manual_seed(0)
    model = peer.text_model(TEXT, torch.float32, "cpu")
    plain = base.DiMOO(**TEXT)
    plain.load_state_dict(model.state_dict())
    ids = torch.randint(36, (2, 9))
    assert torch.allclose(model(ids), plain(ids), atol=1e-5)
    run = peer.TextRun(SimpleNamespace(owner=model, model=model, net=None, draw=peer.draw), peer.TEXT_SETTINGS | {"steps": 3}, 2, (7, 3), IDS)
    found = peer.counted(run)
    lengths = [prompt + 2 + 2 * 4 + 2 for prompt in (7, 3)]
    layer = [2 * t * 32 * (4 * 32 + 3 * 64) + 2 * 2 * t * t * 32 for t in lengths]
    assert found["full"] == 2 * sum(layer) and not any(found["shortcut"])
    assert found["head"] == [2 * m * 32 * 16 for m in found["masked"]] and run.codes.max() < 16


def test_times_on_a_device_are_of_the_steps_of_a_report(toys):
    report = report_of(peer.counted(peer.Run(*toys, SETTINGS)))
    found = peer.on_device("maskgit-512", {**report, "batch": 1}, device="cpu", sizes=SIZES, shown=("eager",))
    assert len(found["same_work"]) == 5 and found["kinds"]["eager"].keys() == {"full", "predicted"}
    assert all(times["median_ms"] > times["head_and_sampling_ms"] > 0 for times in found["kinds"]["eager"].values())
    with pytest.raises(SystemExit, match="not do the same work"):
        peer.on_device("maskgit-512", {**report, "batch": 2}, device="cpu", sizes=SIZES, shown=("eager",))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_round_times_every_step(toys, kind):
    model, net = (m.to(kind) for m in toys)
    times = peer.torch_round(model, net, SETTINGS, 1)
    assert {name: len(of) for name, of in times.items()} == {"full": 1, "predicted": 3}
    assert all(step > head > 0 for of in times.values() for step, head in of)


def report_of(found, more=1.0):
    """As `migm bench` would report it."""

    def op(program, shader, amount):
        return {"program": program, "shader": shader, "ms": 2.0, "gflop_per_s": amount * 2 / 2.0 / 1e6}

    middle, draws = found["head"][2], 1e6
    profile = [op("full", "linear+vec4+bias", found["full"] * more), op("shortcut", "attention head4=12", found["shortcut"][2])]
    profile += [op("sample", "masked_logits+bias", middle), op("sample", "sample+guided", draws)]
    ends = {"full": found["full"] + middle, "shortcut": found["shortcut"][1] + found["head"][1]}
    whole = {name: {"gflop": 2e-9 * (amount + draws)} for name, amount in ends.items()}
    return {"steps": 4, "refresh": "uniform:2", "profile": profile, **whole}


def test_what_does_other_work_is_not_compared(toys):
    found = peer.counted(peer.Run(*toys, SETTINGS))
    rows = peer.same_work(found, report_of(found), peer.PARAMETERS)
    assert len(rows) == 7 and all(abs(row["difference"]) < 1e-6 for row in rows)
    assert "step 2: 2 x" in rows[5]["what"] and "step 1: 2 x" in rows[6]["what"]
    with pytest.raises(SystemExit, match=r"multiply-adds of the network: .* \(-1.96 %\)"):
        peer.same_work(found, report_of(found, 1.02), peer.PARAMETERS)
    with pytest.raises(SystemExit, match="parameters of the shortcut"):
        peer.same_work(found, report_of(found), {**peer.PARAMETERS, "shortcut": 5_000_000})


def test_the_published_model_has_the_published_parameters():
    with torch.device("meta"):
        model, net = peer.models()
    assert {"model": model, "shortcut": net}.keys() == peer.PARAMETERS.keys()
    assert [sum(p.numel() for p in m.parameters()) for m in (model, net)] == list(peer.PARAMETERS.values())
