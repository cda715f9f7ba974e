"""All stages in order, from nothing to exported models: `python training/run.py --config small --out runs/small`.

Each stage is a process of its own, and one that was stopped goes on where it was: run the same command again. Options that
are not known here (`--scenes`, `--device`, `--threads`...) go to every stage. `--minutes-base-dimoo 45` and the like set a
stage's time; `--stages` picks some. Scenes are tokenized beside the bases, from when there are codes.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from config import CONFIGS

STAGES = {
    "judge": ["judge.py"],
    "tokenizer": ["tokenizer.py"],
    "base-dimoo": ["base.py", "--arch", "dimoo"],
    "base-maskgit": ["base.py", "--arch", "maskgit"],
    "shortcut-dimoo": ["shortcut.py", "--arch", "dimoo"],
    "shortcut-maskgit": ["shortcut.py", "--arch", "maskgit"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--config", default="small", choices=CONFIGS)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--stages", default=",".join(STAGES), help="which, by name, with commas between")
    for name in STAGES:
        parser.add_argument(f"--minutes-{name}", type=float)
    args, rest = parser.parse_known_args()
    unknown = [name for name in args.stages.split(",") if name not in STAGES]
    if unknown:
        parser.error(f"no stage is named {', '.join(unknown)}; they are {', '.join(STAGES)}")
    here = Path(__file__).parent
    common = ["--config", args.config, "--out", str(args.out)]
    beside = None
    try:
        for name, (file, *options) in STAGES.items():
            if name not in args.stages.split(","):
                continue
            if name.startswith("base-") and beside is None:
                beside = subprocess.Popen([sys.executable, str(here / "tokens.py"), *common, *rest])
            minutes = getattr(args, f"minutes_{name.replace('-', '_')}")
            command = [sys.executable, str(here / file), *options, *common, *rest]
            command += ["--minutes", str(minutes)] if minutes is not None else []
            print(f"== {name}", flush=True)
            stage = subprocess.Popen(command)
            while (code := stage.poll()) is None:
                if beside and beside.poll():  # it failed, and a base would wait for it
                    stage.terminate()
                time.sleep(0.1)
            if code != 0:
                sys.exit(code)
    finally:
        if beside:
            beside.terminate()
            beside.wait()
    print("== export", flush=True)
    sys.exit(subprocess.run([sys.executable, str(here / "export.py"), "--out", str(args.out)]).returncode)


if __name__ == "__main__":
    main()
