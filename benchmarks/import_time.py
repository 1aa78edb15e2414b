"""What `import learnkit` costs over `import torch`, each in fresh processes."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Case, compare, report

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    rows = compare({name: importing(code) for name, code in IMPORTS.items()}, rounds=rounds)
    report("Import time in fresh processes; the result is the number of modules", rows, "torch", name="import_time")


if __name__ == "__main__":
    main()
