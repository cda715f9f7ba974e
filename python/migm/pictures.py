"""What comes of a run, and what is told while it goes on."""

from __future__ import annotations

import dataclasses

import numpy as np

from .sheet import png, sheet


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a run."""

    index: int
    """Counts from 0."""
    full: bool
    """Whether the base model ran, and not what stands in for it."""
    masked: int
    """Tokens of each picture that are masked before the step."""
    revealed: int
    """Tokens of each picture that the step reveals."""
    ms: float | None = None
    """Milliseconds, of all pictures of its batch together; known when a run is over."""


@dataclasses.dataclass(frozen=True)
class Began:
    """A batch begins: all that is to be made of its pictures is masked."""

    pictures: list[int]
    """Which they are, in the order in which they were asked for."""
    steps: int
    """Steps to come, at most."""


@dataclasses.dataclass(frozen=True)
class Stepped:
    """A step was run (on a GPU it may be under way yet)."""

    step: Step
    codes: np.ndarray | None
    """`[pictures of the batch, rows, columns]` uint32, the number of codes where masked; only where that was asked for."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture is made."""

    index: int
    """Which, in the order in which they were asked for."""
    image: np.ndarray
    """`[height, width, 3]` uint8, RGB."""
    codes: np.ndarray
    """`[rows, columns]` uint32."""
    steps: list[Step]
    """As they were run, with times of its whole batch."""
    batch: int
    """Pictures in its batch."""
    ms: float
    """Milliseconds of its batch's steps."""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures in the order in which they were asked for."""

    images: np.ndarray
    """`[n, height, width, 3]` uint8, RGB."""
    codes: np.ndarray
    """`[n, rows, columns]` uint32."""
    prompts: list[str]
    """The prompt, or the class, of each."""
    seeds: list[int]
    """The seed of each."""
    steps: list[list[Step]]
    """The steps of each as they were run."""
    settings: dict
    """What they were made under; `Model.generate(prompts, seeds=seeds, **settings)` makes them again."""

    def __len__(self) -> int:
        return len(self.images)

    def sheet(self, columns: int | None = None) -> np.ndarray:
        """All of them in one picture `[height, width, 3]` uint8, so many in a row."""
        return sheet(self.images, columns)

    def _repr_png_(self) -> bytes:
        return png(self.sheet())

    @property
    def full_steps(self) -> list[int]:
        """Steps of each picture that ran the base model."""
        return [sum(step.full for step in steps) for steps in self.steps]
