"""`benches/gpu.py` with programs that stand in for migm and for a Python with PyTorch: what is measured, left out and computed from it."""

import json
import stat
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benches"))
import gpu

# Prints and writes what migm would, and keeps a list of its calls. `ODD` says what is to go wrong.
MIGM = """#!{python}
import json, os, sys
ODD, words, tier = {odd!r}, sys.argv[1:], os.environ.get("MIGM_TIER")
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([tier, *words]) + "\\n")
of = lambda name: words[words.index(name) + 1] if name in words else None
model, batch = of("--config") or of("--model"), int(of("--batch") or 0)


def end(sentence, code=1):
    print("measuring (DiscreteGpu, Vulkan)", file=sys.stderr)
    print("error: " + sentence, file=sys.stderr)
    sys.exit(code)


if words[0] == "info":
    tiers = ["portable", "subgroup", "f16", "matrix"][: ODD.get("tiers", 4)]
    adapter = {{"name": "Toy 3000", "kind": ODD.get("kind", "DiscreteGpu"), "backend": "Vulkan", "driver": "toy 1.0", "tiers_offered": tiers}}
    adapter["tier_used"] = tiers[-1] + " tier: the best that it has"
    print(json.dumps({{"version": "0.1.0", "adapters": ODD.get("adapters", [adapter])}}))
if words[0] == "verify":
    for file in words[1:3]:
        part = {{"name": "base.features", "shape": [1, 4], "largest_error": 1e-6, "relative_error": 2e-6, "ok": ODD.get("wrong") != tier}}
        print(json.dumps({{"file": file, "device": "Toy 3000", "wrong_kernel": None, "parts": [part]}}))
    sys.exit(ODD.get("wrong") == tier)
if words[0] == "tune":
    if ODD.get("crash") == tier:
        os.kill(os.getpid(), 11)
    file = os.environ["MIGM_TUNED"]
    known = json.load(open(file))["devices"] if os.path.exists(file) else []
    timings = [{{"cut": {{"rows": 64, "parts": 1}}, "microseconds": 30.0}}, {{"cut": {{"rows": 16, "parts": 2}}, "microseconds": 20.0}}]
    timings.append({{"cut": {{"rows": 32, "parts": 1}}, "microseconds": None}})
    product = {{"shape": {{"kernel": "linear", "sizes": [64, 8, 8]}}, "sizes": [50, 8, 8], "timings": timings}}
    known.append({{"adapter": "Toy 3000", "driver": "toy 1.0", "tier": tier, "products": [product]}})
    json.dump({{"devices": known}}, open(file, "w"))
if words[0] == "bench":
    if batch == ODD.get("too_many"):
        end("Toy 3000 ran out of memory: no room; use a smaller batch, or `--backend cpu`")
    if model == "lumina-dimoo" and "--quantize" not in words and ODD.get("small"):
        end("tensor `wte` needs 1102217216 bytes, and Toy 3000 binds at most 134217728; use a smaller batch or image, or another adapter")
    times = lambda ms: {{"count": 3, "least_ms": ms, "median_ms": ms, "gflop": 1.0, "gflop_per_s": 1000 / ms}}
    op = {{"program": "full", "shader": "linear+bias", "count": 4, "ms": 9.0, "share": 0.99, "gflop_per_s": 111.0, "share_of_peak": 0.222}}
    small = {{**op, "shader": "unite", "share": 0.01}}
    report = {{"model": model, "device": "Toy 3000", "batch": batch, "steps": int(of("--steps")), "refresh": "uniform:" + of("--budget")}}
    report |= {{"peak_gflop_per_s": 500.0, "full": times(10.0 * batch), "shortcut": times(2.0 * batch), "loop_ms": 36.0, "profile": [op, small]}}
    json.dump(report, open(of("--json"), "w"))
"""

# Says what PyTorch there is, and has times for what is asked.
PYTHON = """#!{python}
import json, sys
ODD, words = {odd!r}, sys.argv[1:]
if words[0] == "-c":
    print(json.dumps(ODD.get("torch", {{"torch": None, "why": "No module named 'torch'"}})))
    sys.exit()
of = lambda name: words[words.index(name) + 1]
report = json.load(open(of("--report")))
found = {{"full": {{"median_ms": 20.0, "least_ms": 19.0}}, "predicted": {{"median_ms": 1.0, "least_ms": 1.0}}}}
if of("--model") == "lumina-dimoo":
    del found["predicted"]
kinds = {{"eager": found, "compiled": {{"failed": "torch.compile: no compiler"}} if ODD.get("no_compiler") else found}}
json.dump({{"kinds": kinds, "same_work": []}}, open(of("--json"), "w"))
"""
CUDA = {"torch": "2.15.0", "cuda": True, "device": "Toy 3000", "memory_bytes": 1 << 34, "runtime": "13.2"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the script; gives its exit code, results, table and the calls of migm."""
    monkeypatch.setattr(gpu, "commit", lambda: "0123abc")

    def stand_in(name, text, odd):
        file = tmp_path / name
        file.write_text(text.format(python=sys.executable + " -IS", odd=odd, calls=str(tmp_path / "calls")))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return str(file)

    def run(*words, **odd):
        out = tmp_path / "out"
        given = ["--migm", stand_in("migm", MIGM, odd), "--python", stand_in("python", PYTHON, odd), "--out", str(out), *words]
        code = gpu.main(given)
        (json_file,) = out.glob("*.json")
        calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        return code, json.loads(json_file.read_text()), json_file.with_suffix(".md").read_text(), calls

    return run


def reasons(results, list_name="left_out"):
    return {entry["what"]: entry["why"] for entry in results[list_name]}


def test_results_are_complete_where_everything_is_there(run):
    code, results, text, calls = run("--tiers", "portable,matrix", "--batches", "1,16", torch=CUDA)
    assert gpu.arguments(["--migm", sys.executable]).batches == [1, 16, 128]
    assert code == 0 and results["left_out"] == [] and results["failed"] == []
    assert "\nNothing.\n" in text and "Toy 3000" in text and "linear+bias" in text and "unite" not in text
    wanted = [(tier, "maskgit-512", batch, "f16") for tier in ("portable", "matrix") for batch in (1, 16)]
    wanted += [(tier, "lumina-dimoo", 1, weights) for tier in ("portable", "matrix") for weights in ("f16", "int4")]
    made = [tuple(entry[name] for name in ("tier", "model", "batch", "format")) for entry in results["bench"] if "report" in entry]
    assert sorted(made) == sorted(wanted)
    assert [(line["tier"], Path(line["file"]).name) for line in results["verify"]] == [
        (tier, name) for tier in ("portable", "matrix") for name in ("maskgit-tiny.safetensors", "dimoo-tiny.safetensors")
    ]
    assert len(results["tune"]) == 4 and len(results["tuned"]["devices"]) == 4
    assert "| `linear` | 50 x 8 x 8 | 64 rows, 30.0 us | 16 rows in 2 parts, 20.0 us | 1.50x, 1 wrong |" in text
    assert all(call[0] in ("portable", "matrix") for call in calls if call[1] != "info")
    assert results["adapter"]["driver"] == "toy 1.0" and [run["batch"] for run in results["torch"]["runs"]] == [1, 16, 1]


def test_ratios_are_ours_over_theirs(run):
    _, results, text, _ = run("--tiers", "f16", "--batches", "1,4", torch=CUDA)
    found = {(r["model"], r["batch"], r["format"], r["step"]): r["migm_over_torch"] for r in results["ratios"] if r["torch"] == "eager"}
    assert found == {
        ("maskgit-512", 1, "f16", "full"): 0.5,
        ("maskgit-512", 1, "f16", "predicted"): 2.0,
        ("maskgit-512", 4, "f16", "full"): 2.0,
        ("maskgit-512", 4, "f16", "predicted"): 8.0,
        # Its predicted steps are not made in PyTorch.
        ("lumina-dimoo", 1, "f16", "full"): 0.5,
        ("lumina-dimoo", 1, "int4", "full"): 0.5,
    }
    # Full and predicted steps, with their rates and shares of the peak of 500 GFLOP/s, and the ratios to both kinds.
    assert "| 1 | f16 | f16 | 10.00 | 100.0 | 20.0 % | 2.00 | 500.0 | 100.0 % | 36.0 | 0.50x | 2.00x | 0.50x | 2.00x |" in text


def test_a_tier_that_is_missing_is_left_out_with_the_reason(run):
    code, results, text, calls = run("--batches", "1", "--tiers", "f16,matrix", tiers=3)
    assert code == 0
    assert reasons(results)["matrix tier"] == "Toy 3000 does not have it; it has portable, subgroup, f16"
    assert "- matrix tier: Toy 3000 does not have it" in text
    assert {call[0] for call in calls} == {None, "f16"}


def test_what_memory_does_not_hold_is_left_out_in_migms_words(run):
    code, results, text, _ = run("--tiers", "portable", too_many=128, small=True)
    assert code == 0 and results["failed"] == []
    refused = [entry for entry in results["bench"] if "refused" in entry]
    assert [(entry["model"], entry["batch"], entry["format"]) for entry in refused] == [("maskgit-512", 128, "f16"), ("lumina-dimoo", 1, "f16")]
    assert not any("report" in entry for entry in refused)
    why = "Toy 3000 ran out of memory: no room; use a smaller batch, or `--backend cpu`"
    assert reasons(results)["maskgit-512 in f16, batch 128, portable tier"] == why
    assert f"| 128 | f16 | portable | refused: {why} |" in text and "binds at most 134217728" in text
    assert reasons(results)["PyTorch"] == "this Python has no PyTorch (No module named 'torch')"


def test_what_fails_is_listed_and_the_rest_is_measured(run):
    code, results, text, _ = run("--batches", "1", "--tiers", "portable,f16", wrong="f16", crash="portable", torch=CUDA, no_compiler=True)
    assert code == 1 and "## Failed" in text and "FAILED: base.features" in text
    assert reasons(results, "failed") == {
        "recordings on the f16 tier": "maskgit-tiny: FAILED: base.features",
        "cuts of maskgit-512, batch 1, portable tier": "was ended by SIGSEGV",
        "PyTorch, maskgit-512, batch 1, compiled": "torch.compile: no compiler",
        "PyTorch, lumina-dimoo, batch 1, compiled": "torch.compile: no compiler",
    }
    assert sum("report" in entry for entry in results["bench"]) == 6


def test_quick_measures_bundled_models_and_says_so(run):
    code, results, text, calls = run("--quick", kind="Cpu", tiers=1)
    assert code == 0 and "(quick)" in text
    assert [entry["model"] for entry in results["bench"]] == ["scenes-class", "scenes-text", "scenes-text"]
    assert reasons(results)["maskgit-512 and lumina-dimoo"] == "--quick measures scenes-class and scenes-text in their place"
    assert all(call[call.index("--steps") + 1] == "2" for call in calls if call[1] == "bench")


def test_quick_cuts_published_models_to_layers(run):
    _, results, _, calls = run("--quick", "--layers", "1", tiers=1, torch=CUDA)
    bench = [call for call in calls if call[1] == "bench"]
    assert all(call[call.index("--layers") + 1] == "1" for call in bench)
    assert ["--grid" in call for call in bench] == [False, True, True]
    assert "--layers 1" in reasons(results)["published depth"] and len(results["torch"]["runs"]) == 2


def test_another_device_in_pytorch_is_not_compared(run):
    _, results, _, _ = run("--batches", "1", tiers=1, torch={**CUDA, "device": "Toy 4000"})
    assert results["ratios"] == [] and "its device is Toy 4000" in reasons(results)["PyTorch"]
    assert "finds no CUDA device" in gpu.why_no_torch({"torch": "2.15.0", "cuda": False}, {"name": "Toy 3000"})


def test_what_there_is_no_time_for_is_left_out(run):
    code, results, _, calls = run("--minutes", "1e-9", tiers=1)
    assert code == 0 and [call[1] for call in calls] == ["info"] and "bench" in results
    assert all(entry["why"] == "the 1e-09 minutes of this run were over" for entry in results["left_out"][3:])


def test_a_software_adapter_wants_quick_and_none_is_an_error(run):
    with pytest.raises(SystemExit, match="Toy 3000 computes in software"):
        run(kind="Cpu")
    with pytest.raises(SystemExit, match="no graphics adapter here"):
        run(adapters=[])


def test_a_run_that_was_cut_short_says_so_and_what_is_no_number_is_none(run):
    _, results, text, _ = run("--tiers", "f16", "--batches", "1", torch=CUDA)
    assert "cut short" not in text
    cut = {**results, "complete": False}
    cut["bench"][0]["report"]["shortcut"] = {"count": 0, "least_ms": 0.0, "median_ms": 0.0, "gflop": 0.0, "gflop_per_s": 0.0}
    cut["verify"][0]["parts"][0] |= {"relative_error": None, "ok": False}
    text = gpu.markdown(cut)
    assert "the run was cut short" in text and "| no number | FAILED: base.features |" in text
    assert "| 1 | f16 | f16 | 10.00 | 100.0 | 20.0 % | none |  |  | 36.0 | 0.50x |  | 0.50x |  |" in text


def test_sentences_are_what_was_printed():
    assert gpu.sentence_of("measuring\nerror: it is full\n", 1) == "it is full"
    assert gpu.sentence_of("thread panicked\nat the end\n", 101) == "at the end"
    assert gpu.sentence_of("", 3) == "ended with exit code 3 and printed nothing"
    assert gpu.sentence_of("measuring\n", -9) == "was ended by SIGKILL, as systems do where memory runs out"
