"""A model on a device."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from . import _migm
from .errors import SettingError
from .pictures import Began, Picture, Pictures, Step, Stepped
from .session import Session

Event = Began | Stepped | Picture


def _list(value) -> list:
    """One of something, or several."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _seed(value) -> int:
    try:
        seed = operator.index(value)
    except TypeError:
        raise SettingError(f"a seed is an integer, not {value!r}") from None
    if not 0 <= seed < 1 << 64:
        raise SettingError(f"a seed is from 0 to 2^64 - 1, not {seed}")
    return seed


class Model:
    """A model, open on a device. Open one with `Model.open`; it closes when nothing refers to it any more.

    All methods wait without the interpreter's lock. One thing at a time runs on a model: what another thread asks for waits for it.
    """

    def __init__(self, engine: _migm.Engine):
        self._engine = engine
        self._about = json.loads(engine.describe())

    @classmethod
    def open(cls, source: str | os.PathLike = "scenes-text", device: str = "auto", exact: bool = False) -> Model:
        """Opens a bundled model (`scenes-text`, `scenes-class`) by name, or a model folder.

        `device` is `auto` (a graphics device if there is one in hardware, else the CPU), `cpu`, `cpu-bf16` (linear layers and head in bf16, on
        processors that multiply it: quicker, and not the same tokens), `gpu`, or part of an adapter's name.
        `exact` keeps a GPU to f32, so that a seed gives the same tokens on every device.

        Raises `ModelError` for a folder that is none, `DeviceError` where there is no such device.
        """
        return cls(_migm.Engine.open(os.fspath(source), device, exact))

    def __repr__(self) -> str:
        return f"<migm.Model {self.name} on {self.device}>"

    @property
    def name(self) -> str:
        """The bundled model's name, or the folder."""
        return self._about["name"]

    @property
    def device(self) -> str:
        """What computes."""
        return self._about["device"]

    @property
    def classes(self) -> list[str] | None:
        """The classes' names of a class model, `None` of a text model."""
        return self._about["classes"]

    @property
    def things(self) -> list[str]:
        """Things that a bundled text model has words for."""
        return self._about["things"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture, in pixels."""
        return tuple(self._about["size"])

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a picture's tokens."""
        return tuple(self._about["grid"])

    @property
    def codebook(self) -> int:
        """Codes that a token can be; this number itself stands for a masked token."""
        return self._about["codebook"]

    @property
    def has_shortcut(self) -> bool:
        """Whether there is a learned shortcut."""
        return self._about["shortcut"]

    @property
    def sampling(self) -> dict:
        """The sampling settings that hold where nothing else is said, by the names that `generate` takes."""
        return dict(self._about["sampling"])

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of a prompt that the model has never seen."""
        return self._engine.unknown_words(prompt)

    def settings(self, *, steps: int | None = None, budget: int | None = None, pace: str | None = None,
                 predictor: str | None = None, **sampling) -> dict:
        """Settings by name, as `generate` takes them; what is `None` is left to the model.

        - `steps`: in all.
        - `budget`: full steps in all, evenly among them; the same as `pace="uniform:BUDGET"`.
        - `pace`: which steps run in full, as `migm generate --refresh` has it: `every`, `uniform:4`, `list:0,3,9`, `adaptive:0.3`, ...
        - `predictor`: what stands in for the model at the others, as `--predictor`: `shortcut`, `reuse`, `ml-cache`, `taylor:2`, ...
        - anything of `Model.sampling`: `guidance`, `choice_temperature`, `schedule`, `order`, ...
        """
        if budget is not None and pace is not None:
            raise SettingError("a budget is a pace; give one of them")
        if budget is not None:
            pace = f"uniform:{budget}"
        given = {"steps": steps, "pace": pace, "predictor": predictor, **sampling}
        return {name: value for name, value in given.items() if value is not None}

    def resolve(self, **settings) -> dict:
        """All settings that a run would have, by the names that `generate` takes: those that are given, as for `settings`, and the
        model's own for the rest.

        Raises `SettingError` for what cannot be.
        """
        resolved = self._engine.for_share(self._settings(self.settings(**settings)), 1.0)
        # They are of 32 bits there: 2.3 and not 2.299999952316284.
        return json.loads(resolved, parse_float=lambda number: float(str(np.float32(number))))

    def _settings(self, given: dict) -> str:
        """Settings as the engine reads them."""
        try:
            return json.dumps(given)
        except TypeError as error:
            raise SettingError(f"settings: {error}") from None

    def _jobs(self, prompts, seeds, codes=None) -> tuple[list[str], list[int], str]:
        prompts = [str(prompt) for prompt in _list(prompts)]
        seeds = [_seed(seed) for seed in (range(len(prompts)) if seeds is None else _list(seeds))]
        if not prompts or not seeds:
            raise SettingError("there is nothing to make: no prompt, or no seed")
        if len(prompts) == 1:
            prompts = prompts * len(seeds)
        elif len(seeds) == 1:
            seeds = seeds * len(prompts)
        if len(prompts) != len(seeds):
            raise SettingError(f"{len(prompts)} prompts and {len(seeds)} seeds: give as many of both, or one of either")
        kind = "prompt" if self.classes is None else "class"
        jobs = [{kind: prompt, "seed": seed} for prompt, seed in zip(prompts, seeds)]
        if codes is not None:
            codes = self._codes(codes)
            if len(codes) not in (1, len(jobs)):
                raise SettingError(f"codes of {len(codes)} pictures, where {len(jobs)} are to be made")
            for i, job in enumerate(jobs):
                job["codes"] = codes[i % len(codes)].ravel().tolist()
        return prompts, seeds, json.dumps(jobs)

    def _codes(self, codes) -> np.ndarray:
        """Codes `[n, rows, columns]`, checked."""
        codes = np.asarray(codes)
        rows, columns = self.grid
        if codes.dtype.kind not in "iu" or codes.shape[-2:] != (rows, columns) or codes.ndim not in (2, 3):
            raise SettingError(
                f"codes are integers [n, {rows}, {columns}] or [{rows}, {columns}], not {codes.dtype} {list(codes.shape)}"
            )
        if codes.size and (codes.min() < 0 or codes.max() > self.codebook):
            raise SettingError(f"codes are from 0 to {self.codebook - 1}, and {self.codebook} where masked")
        return codes.reshape(-1, rows, columns).astype(np.uint32)

    def _images(self, images) -> np.ndarray:
        """Pictures `[n, height, width, 3]`, checked."""
        images = np.asarray(images)
        height, width = self.size
        if images.dtype != np.uint8 or images.shape[-3:] != (height, width, 3) or images.ndim not in (3, 4):
            raise SettingError(
                f"pictures are uint8 [n, {height}, {width}, 3] or [{height}, {width}, 3], not {images.dtype} {list(images.shape)}"
            )
        return np.ascontiguousarray(images.reshape(-1, height, width, 3))

    def generate(self, prompts: str | int | Sequence, seeds: int | Iterable[int] | None = None, *, steps: int | None = None,
                 budget: int | None = None, pace: str | None = None, predictor: str | None = None, codes=None,
                 batch: int | None = None, on_step: Callable[[Step], None] | None = None, **sampling) -> Pictures:
        """Makes pictures of prompts, or of classes by name or number with a class model.

        As many seeds as prompts, or one of either; without seeds prompts are counted from 0. `codes` (`[n, rows, columns]`, or one
        for all) says what is there already: only what is `Model.codebook` in it is made. `batch` pictures are made at once, as many as
        fit without it. `on_step` is called after each step. For the other settings see `Model.settings`.

        Tokens are those of `migm generate` with the same settings and seeds.

        Raises `SettingError` for what cannot be.
        """
        settings = self.settings(steps=steps, budget=budget, pace=pace, predictor=predictor, **sampling)
        prompts, seeds, jobs = self._jobs(prompts, seeds, codes)
        run = self._engine.run(jobs, self._settings(settings), batch, False, None)
        return self._pictures(run, prompts, seeds, settings, on_step)

    def _pictures(self, run, prompts, seeds, settings, on_step=None) -> Pictures:
        """All that a run makes."""
        made: list[Picture | None] = [None] * len(seeds)
        for event in self._events(run):
            if isinstance(event, Picture):
                made[event.index] = event
            elif on_step is not None and isinstance(event, Stepped):
                on_step(event.step)
        images = np.stack([picture.image for picture in made])
        codes = np.stack([picture.codes for picture in made])
        return Pictures(images, codes, prompts, seeds, [picture.steps for picture in made], settings)

    def stream(self, prompts: str | int | Sequence, seeds: int | Iterable[int] | None = None, *, steps: int | None = None,
               budget: int | None = None, pace: str | None = None, predictor: str | None = None, codes=None,
               batch: int | None = None, with_codes: bool = False, **sampling) -> Iterator[Event]:
        """The same as an iterator of events: `Began`, `Stepped` and `Picture` of `migm.pictures`.

        `with_codes` reads the tokens after each step, which takes time. A run stops when its iterator is closed or forgotten.
        """
        settings = self.settings(steps=steps, budget=budget, pace=pace, predictor=predictor, **sampling)
        _, _, jobs = self._jobs(prompts, seeds, codes)
        return self._events(self._engine.run(jobs, self._settings(settings), batch, with_codes, None))

    def _events(self, run: _migm.Run) -> Iterator[Event]:
        (height, width), (rows, columns) = self.size, self.grid
        try:
            for event in run:
                kind = event["event"]
                if kind == "began":
                    yield Began(event["pictures"], event["steps"])
                elif kind == "step":
                    codes = event["codes"]
                    if codes is not None:
                        codes = np.frombuffer(codes, np.uint32).reshape(-1, rows, columns)
                    yield Stepped(Step(event["step"], event["full"], event["masked"], event["revealed"]), codes)
                else:
                    yield self._picture(event, height, width, rows, columns)
        finally:
            run.close()

    def _picture(self, event, height, width, rows, columns) -> Picture:
        told = zip(event["full"], event["masked"], event["revealed"], event["step_ms"])
        steps = [Step(i, *step) for i, step in enumerate(told)]
        image = np.frombuffer(event["rgb"], np.uint8).reshape(height, width, 3)
        codes = np.frombuffer(event["codes"], np.uint32).reshape(rows, columns)
        return Picture(event["index"], image, codes, steps, event["together"], event["loop_ms"])

    def encode(self, images) -> np.ndarray:
        """The codes `[n, rows, columns]` uint32 of pictures `[n, height, width, 3]` uint8 (or of one) of the model's size."""
        images = self._images(images)
        codes = self._engine.encode(images.tobytes())
        return np.frombuffer(codes, np.uint32).reshape(-1, *self.grid)

    def decode(self, codes) -> np.ndarray:
        """The pictures `[n, height, width, 3]` uint8 of codes `[n, rows, columns]` (or of one)."""
        codes = self._codes(codes)
        rgb = self._engine.decode(codes.tobytes())
        return np.frombuffer(rgb, np.uint8).reshape(-1, *self.size, 3)

    def edit(self, image, prompt: str | int, mask, seeds: int | Iterable[int] = 0, *, steps: int | None = None,
             budget: int | None = None, pace: str | None = None, predictor: str | None = None, batch: int | None = None,
             **sampling) -> Pictures:
        """Makes a part of a picture `[height, width, 3]` uint8 anew, once for each seed.

        `mask` `[height, width]` is true where: the tokens that it touches are made, as `prompt` (the whole picture in words, as it
        will be) says. Beyond one token around them every pixel is the picture's own. Without `steps` there are fewer for a part.
        Tokens are those of `migm edit --mask`.
        """
        images, mask = self._images(image), np.asarray(mask)
        if len(images) != 1:
            raise SettingError("an edit is of one picture")
        if mask.shape != self.size:
            raise SettingError(f"a mask is [{self.size[0]}, {self.size[1]}] as the picture, not {list(mask.shape)}")
        bits = np.ascontiguousarray(mask.astype(bool)).astype(np.uint8) * 255
        edit, codes, share = self._engine.edit(images.tobytes(), bits.tobytes())
        try:
            settings = self.settings(steps=steps, budget=budget, pace=pace, predictor=predictor, **sampling)
            if steps is None:
                settings = json.loads(self._engine.for_share(self._settings(settings), share))
            codes = np.frombuffer(codes, np.uint32).reshape(1, *self.grid)
            prompts, seeds, jobs = self._jobs(prompt, seeds, codes)
            run = self._engine.run(jobs, self._settings(settings), batch, False, edit)
            return self._pictures(run, prompts, seeds, settings)
        finally:
            self._engine.end_edit(edit)

    def session(self, prompts: str | int | Sequence, seeds: int | Iterable[int] | None = None, *, steps: int | None = None,
                budget: int | None = None, pace: str | None = None, predictor: str | None = None, **sampling) -> Session:
        """Pictures of one batch, to be made step by step: see `Session`."""
        settings = self.settings(steps=steps, budget=budget, pace=pace, predictor=predictor, **sampling)
        _, seeds, jobs = self._jobs(prompts, seeds)
        return Session(self, jobs, self._settings(settings), len(seeds))
