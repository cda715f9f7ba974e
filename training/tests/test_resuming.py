"""What stopped goes on as if it had not: trainings, streams of scenes, and the order of scenes."""

import argparse

import numpy as np
import pytest
import torch

import common
import scenes
import tokens
from config import CONFIGS, replace, text_sampling
from scenes import Scenes, Source
from toy import SHAPES


class ThreeShards:
    """Tokens of a run that has three shards so far: codes number the scenes."""

    def __init__(self, there=3):
        self.there = there

    def shard(self, number):
        return _There(number, number < self.there)

    def first(self):
        return self.read(self.shard(0))

    @staticmethod
    def read(path):
        numbers = np.arange(100) + 100 * path.number
        ids = np.where(np.arange(32) < 3 + numbers[:, None] % 5, 1, scenes.NO_WORD)
        return tokens.Part(numbers[:, None], (numbers % 3)[:, None] * np.ones((1, 16), int), ids)


class _There:
    def __init__(self, number, there):
        self.number, self.there = number, there

    def exists(self):
        return self.there


def test_no_scene_comes_twice_before_all_have_come(monkeypatch):
    monkeypatch.setattr(tokens, "read", ThreeShards.read)
    folder = ThreeShards()
    batches = tokens.Batches(folder, 8)
    seen = []
    while batches.again == 0:
        part = batches.take()
        assert len(part) == 8 and (part.ids != scenes.NO_WORD).all() and len(set(part.lengths())) == 1
        seen += part.codes[:, 0].tolist()
    assert len(set(seen[:-8])) == len(seen) - 8 >= 300 - 5 * 8
    # A shard that appears later comes before old ones again.
    folder.there = 4
    while batches.again == 1 and batches.new == 3:
        batches.take()
    assert batches.new == 4 and batches.shard == 3
    alone = tokens.Batches(ThreeShards(), 8, single=True)
    assert all((alone.take().labels[:, scenes.KIND] == 0).all() for _ in range(20))


def test_batches_go_on_where_they_were(monkeypatch):
    monkeypatch.setattr(tokens, "read", ThreeShards.read)
    ours = tokens.Batches(ThreeShards(), 8)
    for _ in range(17):
        ours.take()
    other = tokens.Batches(ThreeShards(), 8)
    other.load_state_dict(ours.state_dict())
    for _ in range(40):
        assert ours.take().codes.tolist() == other.take().codes.tolist()


def toy_arguments(out, steps):
    return argparse.Namespace(
        config="toy", out=out, minutes=1e9, steps=steps, batch=None, lr=None, device=torch.device("cpu"), precision="f32",
        begin=None, optimizer=None, decay=0.2,
    )  # fmt: skip


def toy_training(out, steps, stop_at=None):
    """A linear model that learns from noise: its weights depend on data, generators, optimizer and average."""
    out.mkdir(exist_ok=True)
    torch.manual_seed(3)
    model = torch.nn.Linear(4, 4)
    trainer = common.Trainer(toy_arguments(out, steps), "judge", model, {"config": {}})

    def loss_of():
        x = torch.randn(8, 4) + trainer.position
        trainer.position += 1
        trainer.stop = trainer.step + 1 == stop_at
        return (model(x) - np.random.rand()).square().mean(), {"sometimes": 0.5} if trainer.step % 4 == 0 else {}

    if stop_at:
        with pytest.raises(SystemExit, match="goes on"):
            trainer.run(loss_of)
    else:
        trainer.run(loss_of)
    return trainer


def test_a_resumed_training_ends_where_an_uninterrupted_one_ends(tmp_path):
    np.random.seed(1)
    whole = toy_training(tmp_path / "a", 20)
    np.random.seed(1)
    toy_training(tmp_path / "b", 20, stop_at=7)
    np.random.seed(99)
    resumed = toy_training(tmp_path / "b", 20)
    assert resumed.step == whole.step == 20 and resumed.position == 20
    assert [row["sometimes"] for row in whole.rows] == [0.5, 0.5], "in the mean over the steps that have it"
    for ours, theirs in ((resumed.model, whole.model), (resumed.average, whole.average)):
        assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_a_higher_limit_goes_on_from_before_the_rate_fell(tmp_path):
    np.random.seed(1)
    whole = toy_training(tmp_path / "a", 40)
    np.random.seed(1)
    toy_training(tmp_path / "b", 20)
    np.random.seed(99)
    resumed = toy_training(tmp_path / "b", 40)
    rates = {row["step"]: row["lr"] for row in resumed.rows}
    assert rates[20] == rates[30] > rates[40] > 0
    assert resumed.step == whole.step == 40 and torch.allclose(resumed.model.weight, whole.model.weight, atol=1e-6)


def test_a_stage_goes_on_under_another_schedule_but_not_with_other_sizes():
    trainer = common.Trainer.__new__(common.Trainer)
    trained, now = CONFIGS["toy"].as_dict(), replace(CONFIGS["toy"], stages={}, scenes=1, text_sampling=text_sampling(9, 1.0))
    same = lambda ours: trainer._what({"config": trained}) == trainer._what({"config": ours})  # noqa: E731
    trainer.stage = "base-dimoo"
    assert same(now.as_dict())
    assert not same(replace(now, nouns=5).as_dict())
    # A shortcut learns from trajectories that are sampled so.
    trainer.stage = "shortcut-dimoo"
    assert not same(now.as_dict())


def test_other_switches_do_not_resume_a_run(tmp_path):
    toy_training(tmp_path, 3)
    with pytest.raises(SystemExit, match="other sizes"):
        common.Trainer(toy_arguments(tmp_path, 3), "judge", torch.nn.Linear(4, 4), {"config": {"other": 1}})


def test_the_stream_resumes_at_a_position(tmp_path):
    first = Scenes(Source(SHAPES), 32, 4, seed=5)
    first.take(130)
    wanted = first.take(20)
    again = Scenes(Source(SHAPES), 32, 4, seed=5, position=130)
    found = again.take(20)
    first.close()
    again.close()
    assert found.captions == wanted.captions
    assert (found.pixels == wanted.pixels).all() and (found.labels == wanted.labels).all() and (found.ids == wanted.ids).all()
    words = [" ".join(first.header.words[i] for i in row if i != 65535) for row in found.ids]
    assert words == [caption.lower() for caption in found.captions]


def test_a_stream_of_something_else_is_refused(tmp_path):
    (tmp_path / "other").write_bytes(b"P6 32 32 255\n")
    with pytest.raises(SystemExit, match="no stream of scenes"):
        Scenes(Source("", str(tmp_path / "other")), 32, 4)
