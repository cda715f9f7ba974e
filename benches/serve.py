"""`migm serve` under a crowd: 500 requests from 16 clients on this machine, among them some that cancel, read slowly or send nonsense.

The first part counts what must not happen: a request without an answer (lost), an answer too many (twice), a picture that is not the one
that the package makes of the same prompt, seed and settings (wrong), a wait beyond the server's bound. What each client does is drawn from
a seed. The server's memory is looked at all along. The second part measures: pictures a second through the server, many small requests at
once, beside the same pictures by the package in this process, in turn.

    python benches/serve.py --migm target/release/migm        # needs the packages of python/requirements.txt, and migm's

It ends with 1 if anything was lost, twice, wrong or late. On machines without `/proc` memory is left out.
"""

import argparse
import base64
import concurrent.futures
import datetime
import hashlib
import io
import json
import os
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import migm

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = ["a fox", "two foxes in the snow", "a red car on a road at night", "a cat"]
CLASSES = ["fox", "taxi", "cat"]
LONGEST_WAIT = 30
QUEUE = 24
# Of a hundred requests.
KINDS = {"plain": 52, "class": 10, "url": 6, "stream": 8, "edit": 6, "job": 5, "cancelled job": 3, "hung up": 4, "slow": 3, "nonsense": 3}


class Server:
    """A server on any port, and what it says of itself."""

    def __init__(self, binary, *arguments):
        command = [binary, "serve", "--backend", "cpu", "--port", "0", "--queue", str(QUEUE), "--longest-wait", str(LONGEST_WAIT), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise SystemExit(f"{' '.join(command)} does not listen")
        self.api = line.split()[-1]
        self.base = self.api.removesuffix("/v1")
        self.host, port = self.base.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    def metric(self, name):
        """The sum of a metric over its labels."""
        text = httpx.get(self.base + "/metrics").text
        return sum(float(value) for value in re.findall(rf"^migm_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))

    def answers(self, address, status):
        text = httpx.get(self.base + "/metrics").text
        found = re.findall(rf'^migm_answers_total{{address="{address}",status="{status}"}} (\S+)$', text, re.MULTILINE)
        return int(sum(map(float, found)))

    def resident(self):
        """MiB in memory, now and at most."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return None, None
        mib = lambda key: int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024  # noqa: E731
        return mib("VmRSS"), mib("VmHWM")

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=60)


class Crowd:
    """Clients that do what a seed says."""

    def __init__(self, server, image, mask, steps):
        self.server, self.image, self.mask, self.steps = server, image, mask, steps
        self.lock = threading.Lock()
        self.delivered = []  # (what was asked, the file) of every picture
        self.latencies, self.retried, self.statuses = [], 0, {}
        self.problems = []
        self.sent = self.hung_up_pictures = self.kept_pictures = 0
        self.client = httpx.Client(timeout=300, limits=httpx.Limits(max_connections=64))

    def problem(self, kind, words):
        with self.lock:
            self.problems.append((kind, words))

    def post(self, path, **how):
        """A request until it is taken: who is told when to ask again asks then."""
        while True:
            began = time.perf_counter()
            answer = self.client.post(self.server.api + path, **how)
            with self.lock:
                self.sent += 1
                self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
            if answer.status_code != 429:
                with self.lock:
                    self.latencies.append(time.perf_counter() - began)
                return answer
            with self.lock:
                self.retried += 1
            time.sleep(int(answer.headers["retry-after"]))

    def take(self, asked, items):
        """Checks that an answer has what was asked for."""
        if [item["seed"] for item in items] != [asked["seed"] + i for i in range(asked.get("n", 1))]:
            self.problem("wrong", f"other pictures than {asked}")
        for i, item in enumerate(items):
            file = base64.b64decode(item["b64_json"]) if "b64_json" in item else self.client.get(item["url"]).content
            with self.lock:
                self.delivered.append(({**asked, "seed": asked["seed"] + i, "n": 1}, file))

    def plain(self, draw, asked):
        self.take(asked, self.ok(asked, self.post("/images/generations", json=asked)).get("data", []))

    def ok(self, asked, answer):
        if answer.status_code != 200:
            self.problem("late" if answer.status_code == 503 else "lost", f"{answer.status_code} to {asked}: {answer.text[:200]}")
            return {}
        return answer.json()

    def stream(self, draw, asked):
        asked = {**asked, "n": 1, "stream": True, "partial_images": draw.randint(0, 3)}
        answer = self.post("/images/generations", json=asked)
        data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        completed = [event for event in data if event.get("type") == "image_generation.completed"]
        # Before the last step there are so many pictures to show.
        if len(completed) != 1 or len(data) != min(asked["partial_images"], asked["steps"] - 1) + 1:
            self.problem("twice" if len(completed) > 1 else "lost", f"{len(data)} events to {asked}")
            return
        self.take({key: asked[key] for key in ("model", "prompt", "seed", "steps", "budget", "n")}, [{**completed[0], "seed": asked["seed"]}])

    def edit(self, draw, asked):
        form = {"model": "scenes-text", "prompt": draw.choice(PROMPTS), "seed": asked["seed"], "steps": asked["steps"], "n": 1}
        files = {"image": ("a.png", self.image), "mask": ("m.png", self.mask)}
        answer = self.post("/images/edits", data=form, files=files)
        items = self.ok(form, answer).get("data", [])
        if len(items) != 1 and answer.status_code == 200:
            self.problem("wrong", f"{len(items)} pictures to an edit")
        with self.lock:
            self.kept_pictures += len(items)

    def job(self, draw, asked, cancels=False):
        answer = self.post("/jobs", json=asked)
        if answer.status_code != 202:
            self.problem("lost", f"{answer.status_code} to a job: {answer.text[:200]}")
            return
        place = f"{self.server.api}/jobs/{answer.json()['id']}"
        if cancels:
            time.sleep(draw.random() * 0.2)
            status = self.client.delete(place).json()["status"]
            with self.lock:
                self.hung_up_pictures += asked["n"]
            if status not in ("cancelled", "done"):
                self.problem("wrong", f"a cancelled job is {status}")
            return
        with self.client.stream("GET", place + "/events") as events:
            told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
        ends = [job for job in told if job["status"] not in ("waiting", "running")]
        if len(ends) != 1:
            self.problem("twice" if ends else "lost", f"{len(ends)} ends of a job")
        elif ends[0]["status"] == "done":
            self.take(asked, ends[0]["data"])
        else:
            self.problem("late", f"a job {ends[0]['status']}: {ends[0].get('error')}")

    def raw(self, asked):
        """A connection of our own with a request on it."""
        body = json.dumps(asked).encode()
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {self.server.host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.create_connection((self.server.host, self.server.port))
        connection.sendall(head.encode() + body)
        return connection

    def hang_up(self, draw, asked):
        with self.raw(asked):
            time.sleep(draw.random() * 0.3)
        with self.lock:
            self.hung_up_pictures += asked["n"]

    def slow(self, draw, asked):
        while True:
            with self.raw(asked) as connection:
                connection.settimeout(120)
                file, length = b"", None
                while length is None or len(file) < length:
                    piece = connection.recv(512)
                    if not piece:
                        break
                    file += piece
                    head, found, _ = file.partition(b"\r\n\r\n")
                    if found and length is None:
                        length = len(head) + 4 + int(re.search(rb"(?i)content-length: (\d+)", head)[1])
                    time.sleep(0.002)
                # Nothing follows an answer.
                connection.settimeout(0.1)
                try:
                    if len(file) != length or connection.recv(1):
                        self.problem("twice" if len(file) == length else "lost", "an answer to a slow reader is not one")
                except TimeoutError:
                    pass
            with self.lock:
                self.sent += 1
                status = int(file[9:12])
                self.statuses[status] = self.statuses.get(status, 0) + 1
            if status != 429:
                break
            with self.lock:
                self.retried += 1
            time.sleep(1)
        if status != 200:
            self.problem("lost", f"{status} to a slow reader")
            return
        self.take(asked, json.loads(file.partition(b"\r\n\r\n")[2])["data"])

    def nonsense(self, draw, asked):
        path, how, status = draw.choice([
            ("/images/generations", {"content": b"{\"prompt\": ", "headers": {"content-type": "application/json"}}, 400),
            ("/images/generations", {"json": {"prompt": "a fox", "size": "7x7"}}, 400),
            ("/images/generations", {"json": {"prompt": "a fox", "steps": -4}}, 400),
            ("/images/generations", {"json": {"prompt": "x" * 3_000_000}}, 413),
            ("/images/generations", {"json": {"prompt": "a fox", "model": "../../etc/passwd"}}, 400),
            ("/images/edits", {"files": {"image": b"\x89PNG\r\n\x1a\nbroken"}, "data": {"prompt": "a"}}, 400),
            ("/jobs", {"content": b"\x00\xff", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
            ("/nowhere", {"json": {}}, 404),
        ])
        answer = self.post(path, **how)
        if answer.status_code != status or "message" not in answer.json()["error"]:
            self.problem("wrong", f"{answer.status_code} to nonsense at {path}: {answer.text[:200]}")

    def go(self, number, kind, seed):
        draw = random.Random(seed * 1_000_003 + number)
        asked = {"model": "scenes-text", "prompt": draw.choice(PROMPTS), "seed": draw.randrange(1000), "steps": draw.choice(self.steps), "budget": 1, "n": draw.choice([1, 1, 1, 2, 3])}
        if kind == "class":
            asked.update(model="scenes-class", prompt=draw.choice(CLASSES))
        if kind == "url":
            asked["response_format"] = "url"
        act = {"plain": self.plain, "class": self.plain, "url": self.plain, "stream": self.stream, "edit": self.edit, "job": self.job,
               "cancelled job": lambda *a: self.job(*a, cancels=True), "hung up": self.hang_up, "slow": self.slow, "nonsense": self.nonsense}[kind]
        try:
            act(draw, asked)
        except Exception as error:  # noqa: BLE001 - a client that fails has no answer
            self.problem("lost", f"{kind}: {error!r}")


def picture(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"))


def check(crowd, models):
    """Compares every delivered picture with the package's own."""
    made = {}
    for asked, _ in crowd.delivered:
        key = (asked["model"], asked["prompt"], asked["seed"], asked["steps"])
        made.setdefault(key, None)
    groups = {}
    for model, prompt, seed, steps in made:
        groups.setdefault((model, prompt, steps), []).append(seed)
    for (model, prompt, steps), seeds in groups.items():
        images = models[model].generate(prompt, seeds=seeds, steps=steps, budget=1).images
        for seed, image in zip(seeds, images, strict=True):
            made[model, prompt, seed, steps] = image
    for asked, file in crowd.delivered:
        if not np.array_equal(picture(file), made[asked["model"], asked["prompt"], asked["seed"], asked["steps"]]):
            crowd.problem("wrong", f"another picture than the package's: {asked}")


def load(binary, count, clients, seed, models, steps, sizes):
    """The first part. What was found, as fields of the report."""
    server = Server(binary)
    fox = models["scenes-text"].generate("a fox", seeds=1, steps=4).images[0]
    mask = np.dstack([fox, np.full((128, 128), 255, np.uint8)])
    mask[:, :40, 3] = 0
    files = []
    for pixels in (fox, mask):
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
    crowd = Crowd(server, *files, steps)
    # Every kind of session is there before memory is looked at.
    for n in sizes:
        for model in ("scenes-text", "scenes-class"):
            crowd.client.post(server.api + "/images/generations", json={"model": model, "prompt": "fox", "n": n, "steps": 2, "seed": 0}).raise_for_status()
    before = server.metric("pictures_total")
    warm = server.resident()[0]
    kinds = [kind for kind, share in KINDS.items() for _ in range(max(1, round(count * share / 100)))][:count]
    random.Random(seed).shuffle(kinds)
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda job: crowd.go(*job), [(i, kind, seed) for i, kind in enumerate(kinds)]))
    took = time.perf_counter() - began
    deadline = time.perf_counter() + 60
    while server.metric("running_pictures") + server.metric("waiting_pictures") > 0 and time.perf_counter() < deadline:
        time.sleep(0.1)
    after, most = server.resident()
    made = server.metric("pictures_total") - before
    wanted = len(crowd.delivered) + crowd.kept_pictures
    if not wanted <= made <= wanted + crowd.hung_up_pictures:
        crowd.problem("twice" if made > wanted else "lost", f"{made} pictures made, {wanted} delivered")
    answered = sum(server.answers(address, 200) for address in ("/v1/images/generations", "/v1/images/edits")) - 2 * len(sizes)
    if answered != crowd.statuses.get(200, 0):
        crowd.problem("twice", f"{answered} answers by the server's count, {crowd.statuses.get(200, 0)} by the clients'")
    waits = httpx.get(server.base + "/metrics").text
    within = [(float(edge), int(number)) for edge, number in re.findall(r'^migm_wait_seconds_bucket{le="([\d.]+)"} (\d+)$', waits, re.MULTILINE)]
    all_waits = int(server.metric("wait_seconds_count"))
    longest = next((edge for edge, number in within if number == all_waits), None)
    if server.stop() != 0:
        crowd.problem("wrong", "the server did not end well")
    check(crowd, models)
    times = sorted(crowd.latencies)
    at = lambda share: round(times[min(len(times) - 1, int(share * len(times)))], 3)  # noqa: E731
    kinds_of = lambda kind: sum(found == kind for found, _ in crowd.problems)  # noqa: E731
    return crowd.problems, {
        "requests": count, "clients": clients, "seed": seed, "steps": steps, "kinds": {kind: kinds.count(kind) for kind in KINDS}, "seconds": round(took, 1),
        "statuses": {str(status): number for status, number in sorted(crowd.statuses.items())}, "asked_again": crowd.retried,
        "pictures": len(crowd.delivered), "lost": kinds_of("lost"), "twice": kinds_of("twice"), "wrong": kinds_of("wrong"), "late": kinds_of("late"),
        "latency_s": {"median": at(0.5), "p95": at(0.95), "p99": at(0.99), "most": round(times[-1], 3)},
        "wait_s": {"bound": LONGEST_WAIT, "longest_below": longest},
        "resident_mib": None if warm is None else {"warm": round(warm), "most": round(most), "after": round(after)},
    }


def throughput(binary, pictures, rounds, model, steps):
    """The second part: pictures a second by the server and by the package, in turn."""
    server = Server(binary, "scenes-text")
    settings = {"steps": steps, "budget": 2}
    ours, own = [], []
    with httpx.Client(timeout=300, limits=httpx.Limits(max_connections=64)) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        def ask(seed):
            return client.post(server.api + "/images/generations", json={"prompt": "two foxes in the snow", "seed": seed, **settings}).raise_for_status()

        for _ in range(rounds + 1):
            began = time.perf_counter()
            list(pool.map(ask, range(pictures)))
            ours.append(pictures / (time.perf_counter() - began))
            began = time.perf_counter()
            model.generate("two foxes in the snow", seeds=range(pictures), **settings)
            own.append(pictures / (time.perf_counter() - began))
    server.stop()
    ratios = [a / b for a, b in zip(ours[1:], own[1:], strict=True)]
    return {
        "pictures": pictures, "rounds": rounds, **settings, "server_per_s": round(statistics.median(ours[1:]), 2),
        "package_per_s": round(statistics.median(own[1:]), 2), "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def processor():
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor()


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--migm", default=str(ROOT / "target/release/migm"), help="the program, built with the feature serve")
    parse.add_argument("--requests", type=int, default=500)
    parse.add_argument("--clients", type=int, default=16)
    parse.add_argument("--seed", type=int, default=1)
    parse.add_argument("--quick", action="store_true", help="in small, as the tests run it")
    parse.add_argument("--out", default=str(ROOT / "benches/results/serve-cpu.json"))
    given = parse.parse_args()
    models = {name: migm.Model.open(name, device="cpu") for name in ("scenes-text", "scenes-class")}
    count, clients, pictures, rounds = (24, 8, 4, 1) if given.quick else (given.requests, given.clients, 96, 5)
    # Small in the tests, where a step of a debug build takes long.
    steps = [1, 2] if given.quick else [2, 3, 4]
    problems, found = load(given.migm, count, clients, given.seed, models, steps, (1,) if given.quick else (1, 2, 4, 8))
    for kind, words in problems:
        print(f"{kind}: {words}")
    found["throughput"] = throughput(given.migm, pictures, rounds, models["scenes-text"], 2 if given.quick else 8)
    report = {
        "date": datetime.date.today().isoformat(), "processor": processor(), "threads": os.cpu_count(), "migm": migm.__version__,
        "binary": hashlib.sha256(Path(given.migm).read_bytes()).hexdigest()[:16], **found,
    }
    text = json.dumps(report, indent=1)
    print(text)
    Path(given.out).write_text(text + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
