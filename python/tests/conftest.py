"""One model for all tests that only look: opening takes longer than a step."""

import os
from pathlib import Path

import migm
import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "scenes-v0"


@pytest.fixture(scope="session")
def classes():
    """A small class model, 64 x 64 pixels."""
    return migm.Model.open(FIXTURE, device="cpu")


@pytest.fixture(scope="session")
def text():
    """The bundled text model."""
    return migm.Model.open("scenes-text", device="cpu")


@pytest.fixture(scope="session")
def binary():
    """The command line, to compare with."""
    path = os.environ.get("MIGM_BIN")
    if not path or not (ROOT / path).is_file():
        pytest.skip("MIGM_BIN names no program")
    return ROOT / path
