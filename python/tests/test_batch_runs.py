"""Runs at scale under Ray: they make what a plain loop makes, and are killed and go on."""

import dataclasses
import json
import os
import signal
import sys

import pytest
from batch_support import WORDS, digests, found, plainly, planned, write
from conftest import ROOT
from migm.batch import actor, run, shard

sys.path.insert(0, str(ROOT / "benches"))

import batch as bench

IN_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc here")


@pytest.fixture(scope="module")
def cluster():
    with run._connected(run.Cluster(actors=2)):
        yield run.Cluster(actors=2)


def test_a_run_makes_what_a_plain_loop_makes(cluster, classes, tmp_path):
    of, folder = planned(tmp_path, [*WORDS, "unicorn", *WORDS], shard_size=2), tmp_path / "out"
    heard = []
    report = run.execute(of, folder, cluster, most=3, listen=lambda report: heard.append(report.made))
    assert (report.made, report.waiting, report.failed, report.actors) == (3, 2, {}, 2) and heard[0] == 0 and heard[-1] == 3
    expected = plainly(classes, of)
    first = found(folder)
    assert len(first) == 6 and digests(first).items() <= digests(expected).items()
    # What is whole stays as it is, what is not is made anew, and what cannot be written fails by itself.
    whole, harmed = (folder / f"{shard.name(number)}.tar" for number in sorted(int(name[:5]) for name in first if name.endswith(".tar"))[:2])
    before = whole.stat()
    harmed.write_bytes(b"half of a tar")
    blocked = next(folder / name for name in expected if name.endswith(".tar") and name not in first)
    blocked.mkdir()
    (folder / ".00000.tar.0123.tmp").write_bytes(b"left by a process that was killed")
    report = run.execute(of, folder, cluster)
    assert (report.found, report.made, list(report.failed)) == (2, 2, [int(blocked.stem)])
    assert "IsADirectoryError" in report.failed[int(blocked.stem)] and whole.stat().st_mtime_ns == before.st_mtime_ns
    said = json.loads((folder / "report.json").read_text())
    assert said["failed"] == {blocked.stem: report.failed[int(blocked.stem)]} and said["shards"]["failed"] == 1
    assert sum(said["refused"].values()) == said["pictures"]["refused"] == 1
    blocked.rmdir()
    report = run.execute(of, folder, cluster)
    assert (report.found, report.made, report.failed, report.refused.total()) == (4, 1, {}, 1)
    assert digests(found(folder)) == digests(expected) and report.pictures == 8
    stats = {number: shard.done(folder, number, of.run) for number in range(of.shards)}
    assert all(stats.values()) and not list(folder.glob(".*"))


def test_a_run_with_nothing_left_starts_no_ray(tmp_path, monkeypatch, classes):
    of, folder = planned(tmp_path), tmp_path / "out"
    of.claim(folder)
    for number in range(of.shards):
        shard.write(folder, number, shard.samples(classes, number, of.of_shard(number), of.settings, None), of.run)
    monkeypatch.setitem(sys.modules, "ray", None)
    report = run.execute(of, folder)
    assert (report.found, report.made, report.pictures) == (2, 0, 4)


def test_a_shard_that_kills_every_process_is_given_up(cluster, tmp_path, monkeypatch):
    class ShardMaker(actor.ShardMaker):
        def _samples(self, number, pictures):
            if number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._samples(number, pictures)

    monkeypatch.setattr(run, "ShardMaker", ShardMaker)
    report = run.execute(planned(tmp_path, shard_size=1), tmp_path / "out", dataclasses.replace(cluster, tries=1))
    assert report.failed == {1: "its process died, 1 times of 1"} and (report.made, report.restarts) == (3, 1)


def test_a_cluster_whose_machines_have_another_model_ends_the_run(cluster, tmp_path):
    of = planned(tmp_path)
    wrong = dataclasses.replace(of, manifest={**of.manifest, "model": {"name": "scenes-v0", "sha256": "0" * 64}})
    report = run.execute(wrong, tmp_path / "out", cluster)
    assert report.made == 0 and len(report.failed) == of.shards
    assert all("another model here" in reason for reason in report.failed.values())


@IN_LINUX
def test_a_run_that_is_killed_ends_as_one_that_was_not(tmp_path, capsys):
    # The bench at toy size: by Ray, by a plain process, and by Ray while an engine and the driver are killed. It compares all bytes.
    told = bench.main([
        "--pictures", "30", "--shard-size", "2", "--rounds", "1", "--kills", "1", "1", "--seed", "3",
        "--work", str(tmp_path / "work"), "--json", str(tmp_path / "batch.json"),
    ])
    assert (told["kills"]["engine"], told["kills"]["driver"], told["kills"]["starts"]) == (1, 1, 2)
    assert (told["shards"], told["files_alike"]) == (15, 45) and told == json.loads((tmp_path / "batch.json").read_text())
    assert "45 files alike in all three runs" in capsys.readouterr().out
    report = json.loads((tmp_path / "work" / "killed" / "report.json").read_text())
    # What was there when the driver was killed was not made again.
    assert report["shards"]["found"] >= 1 and report["shards"]["made"] < 15 and report["pictures"]["there"] == 30


def test_the_bench_sees_what_is_missing_twice_or_unlike(classes, tmp_path):
    of = planned(tmp_path, [*WORDS, *WORDS], shard_size=4)
    folder = tmp_path / "out"
    of.claim(folder)
    for number in range(of.shards):
        shard.write(folder, number, shard.samples(classes, number, of.of_shard(number), of.settings, None), of.run)
    bench.check(folder, of)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "00001.parquet").unlink()
    with pytest.raises(SystemExit, match="lacks .'00001.parquet'"):
        bench.check(folder, of)
    # The other shard's pictures under this one's name, and statistics that agree with it.
    shard.write(folder, 1, shard.samples(classes, 0, of.of_shard(0), of.settings, None), of.run)
    with pytest.raises(SystemExit, match="twice, .'000010000"):
        bench.check(folder, of)
    for path, data in whole.items():
        path.write_bytes(data)
    (folder / ".00000.tries").write_bytes(b".")
    with pytest.raises(SystemExit, match="has beside .'.00000.tries'"):
        bench.check(folder, of)


def test_whom_the_bench_kills_is_drawn_beforehand():
    drawn = bench.draw_kills(200, 30, 10, 1)
    assert drawn == bench.draw_kills(200, 30, 10, 1) != bench.draw_kills(200, 30, 10, 2)
    assert [victim for _, victim, _ in drawn].count("driver") == 10 and len(drawn) == 40
    assert [count for count, _, _ in drawn] == sorted(count for count, _, _ in drawn) and drawn[-1][0] < 150
