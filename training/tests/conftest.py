"""Makes the training files importable, and a run of all stages that tests share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from toy import OPTIONS, call  # noqa: E402


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """All stages, by the command that the README gives."""
    out = tmp_path_factory.mktemp("runs") / "toy"
    call("run.py", "--out", str(out), "--steps", "40", *OPTIONS)
    return out
