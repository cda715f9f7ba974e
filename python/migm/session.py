"""Pictures step by step, with features at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import SettingError
from .pictures import Step

Predictor = Callable[["Session", Step], list[np.ndarray]]


class Session:
    """One batch of pictures, made a step at a time; begin one with `Model.session`.

    What a predictor of one's own needs is here: the last-layer features that a step left, the tokens, and a place to put other features
    before the next step draws from them. `Session.run` does all steps with a Python callable in the predictor's place:

    >>> def keep(session, step):          # plain reuse
    ...     return session.features
    >>> session = model.session("a fox", seeds=1, budget=4, predictor="reuse")
    >>> images = session.run(keep)
    """

    def __init__(self, model, jobs: str, settings: str, pictures: int):
        self._model, self._engine, self._pictures = model, model._engine, pictures
        self._id: int | None = self._engine.begin(jobs, settings)
        plan = self._engine.plan(self._id)
        self._plan = [Step(step["step"], step["full"], step["masked"], step["revealed"]) for step in plan]
        self._next = 0

    def _open(self) -> int:
        if self._id is None:
            raise SettingError("the session has been closed; begin another")
        return self._id

    @property
    def plan(self) -> list[Step]:
        """All steps."""
        return list(self._plan)

    @property
    def next_step(self) -> Step | None:
        """The step that `step` would run; `None` when all are behind."""
        return self._plan[self._next] if self._next < len(self._plan) else None

    def step(self) -> Step | None:
        """Runs the next step: the model or the predictor, then the draw. Gives it, or `None` when all are behind."""
        step = self.next_step
        if step is None or not self._engine.step(self._open()):
            return None
        self._next += 1
        return step

    @property
    def codes(self) -> np.ndarray:
        """`[pictures, rows, columns]` uint32; `Model.codebook` where masked."""
        codes = np.frombuffer(self._engine.tokens(self._open()), np.uint32)
        return codes.reshape(self._pictures, *self._model.grid)

    @property
    def features(self) -> list[np.ndarray]:
        """Last-layer features, a network each: `[sequences, rows, width]` float32.

        A class model has one network, whose sequences are the pictures with their classes and, guided, the same without; a text model
        has one with the prompts and, guided, one without. Rows of a class model are the tokens of the picture and the class; of a text
        model the whole sequence.
        """
        features = self._engine.features(self._open())
        return [np.frombuffer(values, np.float32).reshape(shape) for values, shape in features]

    @features.setter
    def features(self, features: list[np.ndarray]) -> None:
        arrays = [np.ascontiguousarray(values, np.float32) for values in features]
        self._engine.set_features(self._open(), [values.tobytes() for values in arrays])

    def run(self, predictor: Predictor | None = None) -> np.ndarray:
        """Runs all steps that are left and gives the pictures `[pictures, height, width, 3]` uint8.

        With a callable, which is given the session and the step, its features stand in for the model's at the steps that are not full.
        It needs a session with `predictor="reuse"`, which leaves features as they are.
        """
        while (step := self.next_step) is not None:
            if predictor is not None and not step.full:
                features = predictor(self, step)
                if not isinstance(features, (list, tuple)):
                    raise SettingError("a predictor gives a list of features, an array for each network")
                self.features = features
            self.step()
        return self.images

    @property
    def images(self) -> np.ndarray:
        """The pictures `[pictures, height, width, 3]` uint8, when all steps are behind."""
        rgb = np.frombuffer(self._engine.pictures(self._open()), np.uint8)
        return rgb.reshape(self._pictures, *self._model.size, 3)

    def close(self) -> None:
        """Gives its memory back; also done when nothing refers to it any more."""
        if self._id is not None:
            self._engine.end(self._id)
            self._id = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_id", None) is not None:
            self.close()
