"""`migm serve` as applications use it: by OpenAI's SDK unmodified, by curl, and by clients that do as they please."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import httpx
import numpy as np
import openai
import PIL.Image
import pytest

import migm

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIGM = str(ROOT / os.environ.get("MIGM_BIN", "target/debug/migm"))


@contextlib.contextmanager
def serving(*arguments: str, **environment: str):
    """A server on any port: its address and its process."""
    command = [MIGM, "serve", "--backend", "cpu", "--port", "0", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        line = server.stdout.readline()
        assert line.startswith("listening on http://"), line + server.stderr.read()
        yield line.split()[-1], server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def address():
    with serving() as (address, _):
        yield address


@pytest.fixture(scope="module")
def sdk(address):
    return openai.OpenAI(base_url=address, api_key="none", max_retries=0)


def pixels(item) -> np.ndarray:
    return decoded(base64.b64decode(item.b64_json))


def decoded(file: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(file)).convert("RGB"))


def test_the_sdk_gets_the_pictures_that_the_package_makes(sdk, text):
    made = sdk.images.generate(
        model="scenes-text", prompt="a fox in the snow", n=3, size="128x128", response_format="b64_json",
        extra_body={"seed": 5, "steps": 4, "budget": 2},
    )
    own = text.generate("a fox in the snow", seeds=[5, 6, 7], steps=4, budget=2)
    assert [item.seed for item in made.data] == [5, 6, 7]
    for item, image in zip(made.data, own.images, strict=True):
        assert np.array_equal(pixels(item), image)
    assert made.migm["steps"] == ["full", "predicted", "full", "predicted"]


def test_a_class_model_takes_a_class_and_an_address_is_fetched(sdk, address):
    made = sdk.images.generate(model="scenes-class", prompt="fox", response_format="url", extra_body={"steps": 2, "seed": 1})
    answer = httpx.get(made.data[0].url)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert decoded(answer.content).shape == (128, 128, 3)
    assert httpx.get(made.data[0].url.replace("/0.png", "/1.png")).status_code == 404


def test_a_stream_shows_pictures_in_the_making(sdk):
    events = list(sdk.images.generate(prompt="a taxi", stream=True, partial_images=2, extra_body={"seed": 3, "steps": 6}))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    whole = sdk.images.generate(prompt="a taxi", extra_body={"seed": 3, "steps": 6})
    assert np.array_equal(pixels(events[-1]), pixels(whole.data[0])), "the last one is the picture"
    assert not np.array_equal(pixels(events[0]), pixels(events[1]))


def test_an_edit_is_the_packages(sdk, text):
    image = text.generate("a fox in the snow", seeds=5, steps=4).images[0]
    mask = np.zeros((128, 128), bool)
    mask[:, :48] = True
    cut = np.dstack([image, np.where(mask, 0, 255).astype(np.uint8)])
    files = {"image": io.BytesIO(migm.sheet.png(image)), "mask": io.BytesIO()}
    PIL.Image.fromarray(cut).save(files["mask"], "PNG")
    files["image"].name, files["mask"].name = "a.png", "m.png"
    files["mask"].seek(0)
    made = sdk.images.edit(image=files["image"], mask=files["mask"], prompt="a cat in the snow", n=2, extra_body={"seed": 2, "budget": 2})
    own = text.edit(image, "a cat in the snow", mask, seeds=[2, 3], budget=2)
    for item, expected in zip(made.data, own.images, strict=True):
        assert np.array_equal(pixels(item), expected)
        assert np.array_equal(pixels(item)[:, 56:], image[:, 56:]), "beyond one token nothing has changed"


def test_models_are_listed(sdk):
    assert [model.id for model in sdk.models.list()] == ["scenes-text", "scenes-class"]
    assert sdk.models.retrieve("scenes-class").classes[0]
    with pytest.raises(openai.NotFoundError, match="no model"):
        sdk.models.retrieve("dall-e-3")


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        ({"prompt": "a fox", "model": "dall-e-3"}, "model", "scenes-text, scenes-class"),
        ({"prompt": "a fox", "size": "1024x1024"}, "size", "128x128"),
        ({"prompt": "a fox", "n": 11}, "n", "from 1 to 10"),
        ({"prompt": "a fox", "extra_body": {"stepz": 2}}, "stepz", "no field and no setting"),
        ({"prompt": "a fox", "extra_body": {"steps": 0}}, None, "at least 1 step"),
        ({"prompt": "a fox", "extra_body": {"steps": 2, "budget": 9}}, None, "9"),
        ({"prompt": "foxx", "model": "scenes-class"}, "prompt", "no class"),
    ],
)
def test_what_is_wrong_is_said_by_its_field(sdk, given, param, words):
    with pytest.raises(openai.BadRequestError, match=words) as raised:
        sdk.images.generate(**given)
    assert raised.value.param == param


def test_other_requests_are_refused(address):
    post = lambda path, **how: httpx.post(address + path, **how)  # noqa: E731
    for answer, status, words in [
        (post("/images/generations", content=b"{", headers={"content-type": "application/json"}), 400, "not JSON"),
        (post("/images/generations", content=b"a fox"), 400, "Content-Type"),
        (post("/images/generations", json={"prompt": "x" * 2_000_000}), 413, "1024 KiB"),
        (post("/images/generations", files={"image": b"x"}, data={"prompt": "a"}), 400, "edits"),
        (post("/images/edits", json={"prompt": "a fox"}), 400, "multipart"),
        (post("/images/edits", files={"image": b"no picture"}, data={"prompt": "a"}), 400, "no PNG"),
        (post("/images/variations", json={}), 404, "nothing at this address"),
        (httpx.get(address + "/images/generations"), 405, "another method"),
        (httpx.get(address + "/jobs/none"), 404, "no such job"),
        (post("/images/generations", json={"prompt": "a fox"}, headers={"origin": "https://example.com"}), 403, "example.com"),
    ]:
        assert answer.status_code == status, answer.text
        assert words in answer.json()["error"]["message"]


def events(answer: httpx.Response):
    """Server-sent events: names and data."""
    name = None
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_a_job_is_followed_and_fetched(address):
    begun = httpx.post(address + "/jobs", json={"prompt": "a fox", "n": 2, "steps": 4, "seed": 1})
    assert begun.status_code == 202 and begun.json()["status"] in ("waiting", "running")
    place = address.removesuffix("/v1") + begun.headers["location"]
    with httpx.stream("GET", place + "/events", timeout=60) as answer:
        told = list(events(answer))
    name, last = told[-1]
    assert (name, last["status"], last["made"]) == ("done", "done", 2)
    assert all(name == "progress" for name, _ in told[:-1])
    assert [item["seed"] for item in last["data"]] == [1, 2]
    assert httpx.get(last["data"][1]["url"]).status_code == 200
    assert last["id"] in [job["id"] for job in httpx.get(address + "/jobs").json()["data"]]


def test_a_job_is_cancelled(address):
    begun = httpx.post(address + "/jobs", json={"prompt": "a fox", "steps": 250, "pace": "every"}).json()
    ended = httpx.delete(address + f"/jobs/{begun['id']}").json()
    assert ended["status"] == "cancelled" and ended["error"]["code"] == "cancelled"
    with httpx.stream("GET", address + f"/jobs/{begun['id']}/events", timeout=60) as answer:
        assert [name for name, _ in events(answer)] == ["cancelled"]


def test_who_hangs_up_has_nothing_more_made(address):
    def cancelled():
        text = httpx.get(address.removesuffix("/v1") + "/metrics").text
        return int(next(line for line in text.splitlines() if line.startswith("migm_cancelled_total ")).split()[1])

    before = cancelled()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(address + "/images/generations", json={"prompt": "a fox", "steps": 256, "pace": "every"}, timeout=0.3)
    # What comes next does not wait for it.
    assert httpx.post(address + "/images/generations", json={"prompt": "a fox", "steps": 1}, timeout=10).status_code == 200
    assert cancelled() == before + 1


def test_more_than_can_wait_is_refused_with_a_time():
    with serving("--queue", "2") as (address, _):
        sdk = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        with pytest.raises(openai.RateLimitError) as raised:
            sdk.images.generate(prompt="a fox", n=3)
        assert int(raised.value.response.headers["retry-after"]) >= 1
        # The SDK's own patience gets all of them through.
        patient = openai.OpenAI(base_url=address, api_key="none", max_retries=20)
        made = [None] * 6
        def ask(i):
            made[i] = patient.images.generate(prompt="a fox", extra_body={"seed": i, "steps": 2}).data[0].seed
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == list(range(6))


def test_nothing_waits_longer_than_it_may():
    with serving("--longest-wait", "1", "--batch", "1") as (address, _):
        slow = httpx.post(address + "/jobs", json={"prompt": "a fox", "steps": 256, "pace": "every"}).json()
        late = httpx.post(address + "/images/generations", json={"prompt": "a fox", "steps": 1}, timeout=60)
        assert late.status_code == 503 and late.json()["error"]["code"] == "overdue" and "retry-after" in late.headers
        httpx.delete(address + f"/jobs/{slow['id']}")


def test_a_token_is_wanted_beyond_this_machine(tmp_path):
    refused = subprocess.run([MIGM, "serve", "--host", "0.0.0.0", "--port", "0"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "--token-file" in refused.stderr
    (tmp_path / "token").write_text("a-long-secret\n")
    with serving("--token-file", str(tmp_path / "token")) as (address, _):
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=address, api_key="another", max_retries=0).models.list()
        known = openai.OpenAI(base_url=address, api_key="a-long-secret", max_retries=0)
        url = known.images.generate(prompt="a fox", response_format="url", extra_body={"steps": 1}).data[0].url
        assert httpx.get(url).status_code == 200, "the address of a picture is its own key"
        assert httpx.get(address + "/jobs").status_code == 401
        assert httpx.get(address.removesuffix("/v1") + "/health").text == "ok"


def test_a_server_that_cannot_be_says_why(address):
    port = address.split(":")[-1].removesuffix("/v1")
    for arguments, words in [
        (["--port", port], "another program may listen there"),
        (["scenes-text", "scenes-text", "--port", "0"], "two models are called"),
        (["nowhere", "--port", "0"], "nowhere"),
        (["--token-file", "nowhere", "--port", "0"], "nowhere"),
    ]:
        refused = subprocess.run([MIGM, "serve", "--backend", "cpu", *arguments], capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr


def test_names_that_were_made_to_point_here_are_refused(address):
    answer = httpx.get(address + "/models", headers={"host": "example.com"})
    assert answer.status_code == 403 and "--token-file" in answer.json()["error"]["message"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_a_stop_answers_what_is_under_way():
    with serving() as (address, server):
        answers = []
        def ask():
            answers.append(httpx.post(address + "/images/generations", json={"prompt": "a fox", "steps": 12, "pace": "every"}, timeout=60))
        asking = threading.Thread(target=ask)
        asking.start()
        while "migm_running_pictures 1" not in httpx.get(address.removesuffix("/v1") + "/metrics").text:
            pass
        server.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 200
        assert server.wait(timeout=30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(address + "/models")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_documentations_curl_works(address):
    text = (ROOT / "docs/serve.md").read_text()
    command = next(block for block in text.split("```") if block.strip().startswith("curl") and "generations" in block)
    command = command.replace("http://127.0.0.1:8017/v1", address).split("|")[0]
    answer = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout)
    assert decoded(base64.b64decode(answer["data"][0]["b64_json"])).shape == (128, 128, 3)


def test_a_crowd_is_answered(tmp_path):
    """The load of `docs/serve.md` at small size: clients that cancel, read slowly and send nonsense among those that do not."""
    command = [sys.executable, str(ROOT / "benches/serve.py"), "--quick", "--migm", MIGM, "--out", str(tmp_path / "load.json")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "load.json").read_text())
    assert found["lost"] == 0 and found["twice"] == 0 and found["wrong"] == 0
