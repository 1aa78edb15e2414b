"""All rows of the table, learnkit against what it is measured by, each script in a process of its own.

    python -m benchmarks [--quick] [--only loop_overhead,pipeline]

The table is printed and written to benchmarks/results/table.md; table.json has the same numbers, and each script writes
the seconds of its rounds beside them.
"""

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context

from benchmarks import harness

SCRIPTS = (
    "loop_overhead",
    "train_folder",
    "pipeline",
    "large_photos",
    "tables",
    "augmentation",
    "inference",
    "head_features",
    "similar",
    "records",
    "checkpoints",
    "import_time",
)


def surroundings() -> str:
    """What the figures depend on: the packages and the machine."""
    import torch

    import learnkit

    capability, load = torch.backends.cpu.get_cpu_capability(), os.getloadavg()[0]
    cores = f"{os.cpu_count()} cores with {capability}"
    versions = f"learnkit {learnkit.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return f"{versions}; {cores}, load {load:.1f}"


def main() -> None:
    """Exit with 1 if a script failed; the others have a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--only", default=",".join(SCRIPTS), help="names of scripts, comma-separated")
    args = parser.parse_args()
    found: list[harness.Result] = []
    has_failed = False
    for script in args.only.split(","):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            try:
                found += process.submit(harness.measured, script, ["--quick"] * args.quick).result()
            except Exception as error:
                has_failed = True
                print(f"{script} failed: {type(error).__name__}: {error}", file=sys.stderr)
    text = f"{surroundings()}\n\n{harness.table(found)}\n"
    harness.RESULTS.mkdir(exist_ok=True)
    (harness.RESULTS / "table.md").write_text(text, encoding="utf-8")
    content = json.dumps([asdict(one) for one in found], indent=1) + "\n"
    (harness.RESULTS / "table.json").write_text(content, encoding="utf-8")
    print(text)
    sys.exit(1 if has_failed else 0)


if __name__ == "__main__":
    main()
