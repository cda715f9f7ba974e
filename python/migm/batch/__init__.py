"""Pictures by the hundred thousand, on Ray Data: prompts from a file, WebDataset shards in a folder.

`migm-batch` is its command; see `docs/at-scale.md`. A row of the dataset is a whole shard, so Ray's own retries are of shards, and nothing
here schedules anything:

- `prompts`: lines of text, JSONL or Parquet;
- `plan`: what a run makes, and the manifest that says so;
- `shard`: a shard's bytes, which are a pure function of the plan, and how they get to the disk;
- `actor`: a process with a model, which makes shards;
- `run`: a run on a Ray cluster, from what is there already to the report;
- `cli`: the command line.

Ray and pyarrow come with `pip install 'migm[batch]'`; `import migm` alone does without them, and so do prompts that are no Parquet.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import MigmError


def needed(name: str) -> ModuleType:
    """An optional module, or a sentence that says how to get it. Raises `MigmError`."""
    package = name.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A package that is there, and lacks another, says so itself.
        if error.name != package:
            raise
        raise MigmError(f"{package} is not installed; `pip install 'migm[batch]'` brings it") from None
    return importlib.import_module(name)
