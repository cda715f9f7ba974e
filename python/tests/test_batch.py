"""Runs at scale: what shards are a function of, and what is refused. `test_batch_runs.py` has them under Ray."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading

import migm
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from batch_support import FEW, WORDS, digests, found, plainly, planned, write
from conftest import FIXTURE
from migm import _migm
from migm.batch import actor, cli, needed, plan, prompts, run, shard


def test_text_json_and_parquet_say_the_same(tmp_path):
    text = write(tmp_path, ["\ufeff# a comment", "", "fox", "  owl  "])
    told = write(tmp_path, ['{"class": "fox"}', "", '{"class": "owl", "seed": null}'], "prompts.jsonl")
    table = tmp_path / "prompts.parquet"
    parquet.write_table(arrow.table({"other": [1, 2], "class": ["fox", "owl"]}), table)
    named = tmp_path / "named.parquet"
    parquet.write_table(arrow.table({"seed": [None, None], "what": ["fox", "owl"]}), named)
    lines = [prompts.read(text), prompts.read(told), prompts.read(table), prompts.read(named, "what")]
    assert [[(line.text, line.seed) for line in of] for of in lines] == [[("fox", None), ("owl", None)]] * 4
    assert [line.number for line in lines[0]] == [3, 4] and [line.number for line in lines[1]] == [1, 3]


def test_seeds_of_a_file_may_be_the_largest(tmp_path):
    most = (1 << 64) - 1
    table = tmp_path / "prompts.parquet"
    parquet.write_table(arrow.table({"seed": arrow.array([most, 7], arrow.uint64()), "class": ["fox", "owl"]}), table)
    assert [line.seed for line in prompts.read(table)] == [most, 7]
    path = write(tmp_path, [f'{{"class": 3, "seed": {most}}}'], "prompts.jsonl")
    assert prompts.pictures(path, prompts.read(path), 0, 2, None) == [("3", most), ("3", 0)]


def test_every_picture_has_a_seed_by_the_rule(tmp_path):
    path = write(tmp_path, ['{"prompt": "a"}', '{"prompt": "b", "seed": 40}', '{"prompt": "c"}'], "prompts.jsonl")
    lines = prompts.read(path)
    assert prompts.pictures(path, lines, 10, 2, None) == [("a", 10), ("a", 11), ("b", 40), ("b", 41), ("c", 14), ("c", 15)]
    assert prompts.pictures(path, [lines[0], lines[2]], 0, 1, [5, 3]) == [("a", 5), ("a", 3), ("c", 5), ("c", 3)]
    with pytest.raises(migm.SettingError, match="prompts.jsonl:2: the line says a seed"):
        prompts.pictures(path, lines, 0, 1, [5, 3])


@pytest.mark.parametrize("name, data, words", [
    ("p.csv", b"fox\n", "p.csv: prompts come from a .txt, .jsonl or .parquet"),
    ("p.txt", b"fox\n\xff\n", "p.txt:2: no UTF-8 at byte 1"),
    ("p.txt", b"# nothing\n\n", "no line in it that asks"),
    ("p.jsonl", b'{"class": "fox"}\n{"class": \n', "p.jsonl:2: no JSON"),
    ("p.jsonl", b'["fox"]\n', "p.jsonl:1: a line is an object"),
    ("p.jsonl", b'{"class": "fox", "sed": 3}\n', "p.jsonl:1: 'sed' is not known"),
    ("p.jsonl", b'{"class": "fox", "prompt": "fox"}\n', "p.jsonl:1: it has neither or both"),
    ("p.jsonl", b'{"prompt": 7}\n', "p.jsonl:1: the prompt is text, not 7"),
    ("p.jsonl", b'{"prompt": "\\ud800"}\n', "p.jsonl:1: the prompt has half of a surrogate pair"),
    ("p.jsonl", b'{"class": "fox", "seed": -1}\n', "p.jsonl:1: a seed is an integer"),
    ("p.jsonl", b'{"class": "fox", "seed": 18446744073709551616}\n', "p.jsonl:1: a seed is an integer"),
    ("p.jsonl", b'{"class": "fox", "seed": true}\n', "p.jsonl:1: a seed is an integer"),
    ("p.parquet", b"PAR1 it is not", "p.parquet: no Parquet file"),
])
def test_prompts_that_are_none_are_named_by_line(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(migm.SettingError) as raised:
        prompts.read(tmp_path / name)
    assert words in str(raised.value)


def test_a_column_that_is_not_there_is_named(tmp_path):
    table = tmp_path / "p.parquet"
    parquet.write_table(arrow.table({"text": ["fox"], "width": [3]}), table)
    with pytest.raises(migm.SettingError, match="no column 'prompt'; there are text, width"):
        prompts.read(table)
    with pytest.raises(migm.SettingError, match="no column 'words'"):
        prompts.read(table, "words")
    parquet.write_table(arrow.table({"prompt": ["fox", None]}), table)
    with pytest.raises(migm.SettingError, match="p.parquet:2: the prompt is text, not None"):
        prompts.read(table)


# Shards


def test_a_shard_is_laid_out_as_img2dataset_has_it(classes, tmp_path):
    of = planned(tmp_path, ["fox", "unicorn", "owl", "cat"], first_seed=7)
    made = shard.samples(classes, 0, of.of_shard(0), of.settings, None)
    with tarfile.open(fileobj=io.BytesIO(shard.tar(made))) as archive:
        entries = archive.getmembers()
        read = {entry.name: archive.extractfile(entry).read() for entry in entries}
    assert list(read) == [f"00000000{i}.{ending}" for i in (0, 2) for ending in ("png", "txt", "json")]
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode) for e in entries} == {(0, 0, 0, "", "", 0o444)}
    image = classes.generate("owl", seeds=9, **FEW).images[0]
    assert read["000000002.png"] == migm.sheet.png(image) and read["000000002.txt"] == b"owl"
    said = json.loads(read["000000002.json"])
    assert said == {
        "key": "000000002", "status": "success", "error_message": None, "caption": "owl", "seed": 9, "width": 64, "height": 64,
        "full_steps": 1, "sha256": hashlib.sha256(read["000000002.png"]).hexdigest(),
    }
    rows = parquet.read_table(io.BytesIO(shard.parquet(made))).to_pylist()
    assert rows[2] == said and [row["status"] for row in rows] == ["success", "failed_to_generate", "success"]
    assert "no class" in rows[1]["error_message"] and rows[1]["sha256"] is None and rows[1]["caption"] == "unicorn"
    # Shard and place, as in the description of the layout.
    assert shard.key(42, 7) == "000420007" and of.of_shard(1) == [("cat", 10)]


def test_a_shard_is_the_same_whatever_is_made_at_once(classes, tmp_path):
    of = planned(tmp_path, [*WORDS, "unicorn", *WORDS], shard_size=9)
    alone = plainly(classes, of, batch=1)
    assert digests(plainly(classes, of, batch=4)) == digests(alone) == digests(plainly(classes, of))


def test_a_shard_is_the_same_on_one_thread(classes, tmp_path):
    of = planned(tmp_path)
    code = "import sys, json, migm; from migm.batch.actor import ShardMaker\n" \
        "folder, plan, rows = json.load(sys.stdin); maker = ShardMaker(folder, plan)\n" \
        "print([maker.make(row['shard'], json.loads(row['pictures'])) for row in rows])"
    rows = [actor.ShardMaker.row(of, number) for number in range(of.shards)]
    asked = json.dumps([str(tmp_path), actor.ShardMaker.arguments(of, 1), rows])
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7"}
    told = subprocess.run([sys.executable, "-c", code], input=asked, check=True, capture_output=True, text=True, env=environment)
    assert "failed" not in told.stdout
    assert digests(found(tmp_path)) == digests(plainly(classes, of))


def test_resolved_settings_are_those_that_a_run_has(classes, text):
    for model, subject in ((classes, "fox"), (text, "a fox")):
        resolved = model.resolve(**FEW, guidance=2.3)
        assert resolved == model.resolve(**resolved) and resolved["pace"] == "uniform:1" and resolved["guidance"] == 2.3
        assert (model.generate(subject, seeds=4, **resolved).codes == model.generate(subject, seeds=4, **FEW, guidance=2.3).codes).all()
        # All of a picture is to be made, so all steps are.
        assert model.resolve()["steps"] == model.sampling["steps"]


def test_bytes_of_a_picture_are_as_they_were():
    image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    # Another encoder writes other bytes: then shards of before are another format, and `plan.FORMAT` goes up with this.
    assert plan.FORMAT == 1
    assert hashlib.sha256(migm.sheet.png(image)).hexdigest() == "83bd36dac392a7bd07fb45d3fe27a7bcb1ff6429b1de8a5b6ad7f571411ef571"
    with pytest.raises(migm.SettingError, match="191 bytes, where 8 x 8"):
        _migm.png(image.tobytes()[1:], 8, 8)
    with pytest.raises(migm.SettingError, match="0 x 4294967295 pixels"):
        _migm.png(b"", 0, (1 << 32) - 1)


def test_a_bundled_model_has_its_folders_hash(tmp_path):
    folder = FIXTURE.parents[2] / "assets" / "models" / "scenes-text"
    assert plan.model_hash("scenes-text") == plan.model_hash(str(folder)) != plan.model_hash(str(FIXTURE))
    plan.check_model("scenes-text", plan.model_hash("scenes-text"))
    with pytest.raises(migm.ModelError, match="another model here"):
        plan.check_model("scenes-class", plan.model_hash("scenes-text"))
    with pytest.raises(migm.ModelError, match="no-such"):
        plan.check_model("no-such", "0")


def test_what_is_refused_is_its_own_samples_matter(classes, tmp_path):
    of = planned(tmp_path, ["unicorn", "fox", "gryphon", "unicorn", "owl"], shard_size=5)
    made = shard.samples(classes, 0, of.of_shard(0), of.settings, None)
    assert [sample.png is not None for sample in made] == [False, True, False, False, True]
    stats = shard.write(tmp_path, 0, made, of.run)
    assert (stats.count, stats.successes, sorted(stats.reasons.values())) == (5, 2, [1, 2])
    said = json.loads((tmp_path / "00000_stats.json").read_text())
    assert said["failed_to_generate"] == 3 and said["status_dict"]["success"] == 2 and shard.done(tmp_path, 0, of.run) == stats


def test_a_shard_of_refusals_alone_is_done(classes, tmp_path):
    of = planned(tmp_path, ["unicorn", "gryphon"])
    made = shard.samples(classes, 0, of.of_shard(0), of.settings, None)
    shard.write(tmp_path, 0, made, of.run)
    assert shard.done(tmp_path, 0, of.run).successes == 0
    with tarfile.open(tmp_path / "00000.tar") as archive:
        assert archive.getnames() == []


@pytest.mark.parametrize("harm", ["flip", "cut", "no tar", "no parquet", "no stats", "half stats", "another run", "stats of nothing"])
def test_a_shard_that_is_not_whole_is_not_done(classes, tmp_path, harm):
    of = planned(tmp_path)
    shard.write(tmp_path, 0, shard.samples(classes, 0, of.of_shard(0)[:1], of.settings, None), of.run)
    assert shard.done(tmp_path, 0, of.run) is not None
    tar, stats = tmp_path / "00000.tar", tmp_path / "00000_stats.json"
    data = bytearray(tar.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        tar.write_bytes(data)
    elif harm == "cut":
        tar.write_bytes(data[:-512])
    elif harm == "half stats":
        stats.write_bytes(stats.read_bytes()[:40])
    elif harm == "stats of nothing":
        stats.write_text("[]")
    elif harm.startswith("no "):
        {"tar": tar, "parquet": tmp_path / "00000.parquet", "stats": stats}[harm[3:]].unlink()
    assert shard.done(tmp_path, 0, "0" * 64 if harm == "another run" else of.run) is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path, failed = tmp_path / "00000.tar", []

    def writer(byte):
        try:
            for _ in range(40):
                shard.put(path, bytes([byte]) * 100_000)
                shard.tidy(tmp_path)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=writer, args=(byte,)) for byte in (1, 2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 100_000 and len(set(data)) == 1
    # Whoever tidies takes what another is writing; that one writes it again, and only thrice is refused.
    assert all(isinstance(error, FileNotFoundError) for error in failed)
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        shard.put(tmp_path / "00001.tar", b"data")
    assert list(tmp_path.iterdir()) == [path]


# Actors


@pytest.fixture
def maker(tmp_path):
    of = planned(tmp_path)
    return of, actor.ShardMaker(str(tmp_path), actor.ShardMaker.arguments(of, 2))


def test_an_actor_gives_back_what_became_of_shards(maker, tmp_path, classes):
    of, made = maker
    rows = [made.row(of, number) for number in (1, 0)]
    told = made({name: np.array([row[name] for row in rows], object) for name in rows[0]})
    assert told["shard"] == [1, 0] and [json.loads(of)["count"] for of in told["made"]] == [1, 3]
    assert digests(found(tmp_path)) == digests(plainly(classes, of))
    assert not list(tmp_path.glob(".*"))


def test_a_shard_whose_processes_die_is_given_up(maker, tmp_path):
    of, made = maker
    for _ in range(2):
        shard.begin(tmp_path, 1)
    assert made.make(1, of.of_shard(1)) == {"failed": "its process died, 2 times of 2", "tries": 3}
    # Another run begins anew.
    shard.tidy(tmp_path)
    assert made.make(1, of.of_shard(1))["tries"] == 1


def test_a_lost_device_is_opened_again_once(maker, monkeypatch):
    of, made = maker
    whole, calls = shard.samples, []

    def lost(*arguments):
        calls.append(arguments)
        if len(calls) in (1, 3, 4):
            raise migm.DeviceError("the device is lost")
        return whole(*arguments)

    monkeypatch.setattr(shard, "samples", lost)
    assert made.make(0, of.of_shard(0))["successes"] == 3
    assert made.make(1, of.of_shard(1))["failed"] == "DeviceError: the device is lost"


@pytest.mark.parametrize("given, words", [
    ({"sha256": "0" * 64}, "another model here"),
    ({"model": "nowhere"}, "no bundled model has that name"),
    ({"device": "no such adapter"}, "no such adapter"),
])
def test_an_actor_that_cannot_make_any_shard_says_so(tmp_path, given, words):
    of = planned(tmp_path)
    made = actor.ShardMaker(str(tmp_path), {**actor.ShardMaker.arguments(of, 2), **given})
    assert words in made.make(0, of.of_shard(0))["unable"]


# Manifests


def test_a_folder_is_of_one_run(tmp_path):
    folder = tmp_path / "out"
    planned(tmp_path).claim(folder)
    planned(tmp_path).claim(folder)
    for given, words in [
        ({"first_seed": 3}, "seeds first is 0 there and 3 here"),
        ({"settings": {**FEW, "guidance": 3.0}}, "settings guidance is 2.0 there and 3.0 here"),
        ({"shard_size": 2}, "shard_size is 3 there and 2 here"),
        ({"lines": ["owl"]}, "prompts lines is 4 there and 1 here"),
        ({"lines": [*WORDS[:3], "3"]}, "prompts sha256 is"),
        ({"seeds": [1]}, "seeds each is null there and [1] here"),
        ({"device": "gpu"}, 'device is "cpu" there and "gpu" here'),
        ({"exact": False}, "exact is true there and false here"),
    ]:
        with pytest.raises(migm.SettingError) as raised:
            planned(tmp_path, **given).claim(folder)
        assert words in str(raised.value), given
    other = planned(tmp_path)
    other = dataclasses.replace(other, manifest={**other.manifest, "model": {"name": "other", "sha256": "0"}})
    with pytest.raises(migm.SettingError, match="model is"):
        other.claim(folder)


def test_a_model_that_was_moved_is_the_same_run(tmp_path):
    of = planned(tmp_path)
    moved = dataclasses.replace(of, manifest={**of.manifest, "model": {**of.manifest["model"], "name": "elsewhere"}})
    moved.claim(tmp_path / "out")
    of.claim(tmp_path / "out")
    assert moved.run == of.run


@pytest.mark.parametrize("name, data, words", [
    ("00000.tar", b"", "has 00000.tar and no run.json"),
    ("run.json", b"{", "no manifest of a run"),
    ("run.json", b"[1]", "no manifest of a run"),
])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name, data, words):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_bytes(data)
    with pytest.raises(migm.SettingError, match=words):
        planned(tmp_path).claim(folder)
    assert [path.name for path in folder.iterdir()] == [name]


def test_threads_and_batches_of_a_cpu_are_not_the_runs(tmp_path):
    assert planned(tmp_path, batch=1).run == planned(tmp_path, batch=8).run
    assert planned(tmp_path, batch=1, device="gpu").run != planned(tmp_path, batch=8, device="gpu").run


@pytest.mark.parametrize("given, words", [
    ({"shard_size": 0}, "a shard has from 1 to 10000 pictures"),
    ({"shard_size": 10_001}, "a shard has from 1 to 10000 pictures"),
    ({"shard_size": 1, "per_prompt": 30_000}, "120000 pictures are 120000 shards"),
    ({"settings": {"steps": 2, "budget": 3}}, "more than the 2 steps"),
    ({"settings": {"tempo": 3}}, "no setting \"tempo\""),
])
def test_plans_that_cannot_be_are_refused(tmp_path, given, words):
    with pytest.raises(migm.SettingError, match=words):
        planned(tmp_path, **given)


def test_a_class_is_no_prompt(tmp_path):
    path = write(tmp_path, ['{"class": "fox"}', '{"prompt": "fox"}'], "prompts.jsonl")
    with pytest.raises(migm.SettingError, match="prompts.jsonl:2: a prompt, where scenes-v0 takes a class"):
        plan.Plan.make(str(FIXTURE), path, prompts.read(path))


# Without Ray


def test_migm_alone_brings_no_ray():
    code = "import sys, migm, migm.batch.cli; migm.batch.cli.parser(); print(sorted({'ray', 'pyarrow', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_missing_ray_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(migm.MigmError, match=r"ray is not installed; `pip install 'migm\[batch\]'` brings it"):
        needed("ray.data")
    path = write(tmp_path, WORDS)
    assert cli.main([str(path), "--out", str(tmp_path / "out"), "--model", str(FIXTURE)]) == 1
    assert capsys.readouterr().err.endswith("error: ray is not installed; `pip install 'migm[batch]'` brings it\n")


@pytest.mark.parametrize("arguments, words", [
    ([], "required: FILE, --out"),
    (["{prompts}"], "required: --out"),
    (["nowhere.txt", "--out", "{out}"], "nowhere.txt: No such file"),
    (["{prompts}", "--out", "{prompts}/out"], "Not a directory"),
    (["{prompts}", "--out", "{out}", "--seeds", "1..x"], "no list of seeds"),
    (["{prompts}", "--out", "{out}", "--seeds", "4..4"], "at least one"),
    (["{prompts}", "--out", "{out}", "--seeds", "1", "--per-prompt", "2"], "not allowed with"),
    (["{prompts}", "--out", "{out}", "--seeds", "1", "--seed", "2"], "give one"),
    (["{prompts}", "--out", "{out}", "--seed", "-1"], "no integer from 0"),
    (["{prompts}", "--out", "{out}", "--steps", "0"], "no number from 1"),
    (["{prompts}", "--out", "{out}", "--set", "guidance"], "no NAME=VALUE"),
    (["{prompts}", "--out", "{out}", "--steps", "2", "--set", "steps=3"], "steps is said twice"),
    (["{prompts}", "--out", "{out}", "--set", "tempo=3"], "no setting \"tempo\""),
    (["{prompts}", "--out", "{out}", "--set", "guidance=strong"], "settings"),
    (["{prompts}", "--out", "{out}", "--budget", "2", "--pace", "every"], "give one of them"),
    (["{prompts}", "--out", "{out}", "--predictor", "oracle"], "no predictor"),
    (["{prompts}", "--out", "{out}", "--device", "auto"], "another device on every machine"),
    (["{prompts}", "--out", "{out}", "--column", "text"], "a column is of a .parquet"),
    (["{prompts}", "--out", "{out}", "--gpus-per-actor", "-1"], "no number of devices"),
    (["{prompts}", "--out", "{out}", "--shard-size", "20000"], "from 1 to 10000"),
])
def test_commands_that_cannot_be_say_why(tmp_path, capsys, arguments, words):
    names = {"prompts": str(write(tmp_path, WORDS)), "out": str(tmp_path / "out")}
    arguments = [argument.format(**names) for argument in arguments] + ["--model", str(FIXTURE)]
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_none_ends_the_command(tmp_path, capsys):
    assert cli.main([str(write(tmp_path, WORDS)), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "none")]) == 1
    assert "no bundled model has that name" in capsys.readouterr().err


def test_lists_of_seeds_are_read_as_written():
    assert cli._seeds("7") == [7] and cli._seeds("3,0..3,9") == [3, 0, 1, 2, 9]


def test_progress_is_a_line_that_is_written_over_or_one_now_and_then(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    report = run.Report(planned(tmp_path))
    for stream, written in [(Terminal(), "\r0 of 2 shards, 0 of 4 pictures\x1b[K\r1 of 2"), (io.StringIO(), "0 of 2 shards, 0 of 4 pictures\n1 of 2")]:
        progress = cli.Progress(stream)
        report.made, report.new_pictures, report.pictures = 0, 0, 0
        progress(report)
        report.made, report.new_pictures, report.pictures = 1, 3, 3
        progress(report)
        progress.end()
        assert stream.getvalue().startswith(written) and stream.getvalue().endswith(" left\x1b[K\n" if stream.isatty() else " left\n")


# On Ray
