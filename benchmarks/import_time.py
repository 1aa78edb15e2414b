"""What `import learnkit` costs over `import torch`, each in fresh processes."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Case, Result, compare, options, report, result

IMPORTS = {
    "python alone": "pass",
    "torch": "import torch",
    "torch (A/A control)": "import torch",
    "learnkit": "import learnkit",
    "torch and torchvision": "import torch, torchvision",
}


def importing(code: str) -> Case:
    """The result of a case is the number of modules loaded."""
    command = [sys.executable, "-W", "ignore", "-c", f"{code}\nimport sys\nprint(len(sys.modules))"]

    def run() -> int:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        return int(done.stdout)

    return lambda: run


def results(arguments: Sequence[str] | None = None) -> list[Result]:
    """Print a table and write it to results/."""
    args = options(__doc__, {"rounds": 1, "warm_up": 0}, arguments, rounds=7, warm_up=1)
    cases = {name: importing(code) for name, code in IMPORTS.items()}
    rows = compare(cases, rounds=args.rounds, warm_up=args.warm_up)
    report("Import time in fresh processes; the result is the number of modules", rows, "torch", name="import_time")
    control = "torch (A/A control)"
    return [result("import, in a fresh process", rows, "torch", "learnkit", control, unit="s", goal=1.1)]


if __name__ == "__main__":
    results()
