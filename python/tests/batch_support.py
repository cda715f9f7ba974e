"""What the tests of runs at scale share: plans of small shards, and what they are to come out as."""

import hashlib

from conftest import FIXTURE
from migm.batch import plan, prompts, shard

WORDS = ["fox", "owl", "cat", "2"]
FEW = {"steps": 2, "budget": 1}


def write(folder, lines, name="prompts.txt"):
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def planned(folder, lines=WORDS, **given):
    path = write(folder, lines)
    given = {"shard_size": 3, "settings": FEW, **given}
    return plan.Plan.make(str(FIXTURE), path, prompts.read(path), **given)


def plainly(model, of, batch=None):
    """What a plain loop over the shards writes: file names and bytes."""
    files = {}
    for number in range(of.shards):
        made = shard.samples(model, number, of.of_shard(number), of.settings, batch)
        files[f"{shard.name(number)}.tar"], files[f"{shard.name(number)}.parquet"] = shard.tar(made), shard.parquet(made)
    return files


def found(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tar", ".parquet")}


def digests(files):
    """For messages: a picture's bytes tell nobody anything."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


# Prompts and seeds
