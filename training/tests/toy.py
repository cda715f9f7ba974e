"""What tests of the trainers share: a toy configuration on scenes of plain shapes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = Path(__file__).parents[1]
SHAPES = f"{sys.executable} {Path(__file__).parent / 'shapes.py'}"
MIGM = os.environ.get("MIGM_BIN")
needs_migm = pytest.mark.skipif(not MIGM, reason="MIGM_BIN names no migm")
# Two threads that wait for each other are slower than one at this size.
OPTIONS = ["--config", "toy", "--scenes", SHAPES, "--threads", "1", "--device", "cpu", "--precision", "f32", "--minutes", "30"]


def call(file, *options):
    subprocess.run([sys.executable, str(TRAINING / file), *options], check=True, timeout=900)


def figures(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def column(path, name):
    return [float(row[name]) for row in figures(path) if row.get(name)]
