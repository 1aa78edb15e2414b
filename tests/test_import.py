"""Importing learnkit has no side effects, and every module can be imported alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ["IPython", "fastprogress", "jinja2", "matplotlib", "pandas", "sklearn", "timm", "torchvision"]

FINGERPRINT = """
import hashlib, logging, os, random, signal, threading, warnings
import numpy as np
import torch

def fingerprint():
    return {
        "torch generator": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy generator": repr(np.random.get_state()),
        "random generator": repr(random.getstate()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warning filters": repr(warnings.filters),
        "signal handlers": repr([signal.getsignal(s) for s in sorted(signal.valid_signals())]),
        "threads": [torch.get_num_threads(), threading.active_count()],
        "numbers": repr([torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_float32_matmul_precision()]),
        "determinism": [torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark],
        "log": repr([logging.root.level, logging.root.handlers]),
    }
"""

CHANGES = f"""
{FINGERPRINT}
import json
before = fingerprint()
import learnkit
after = fingerprint()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""

# What an import could do wrong, and the line of the fingerprint that has to show it.
MEDDLING = {
    "torch.manual_seed(1)": "torch generator",
    "np.random.rand()": "numpy generator",
    "random.random()": "random generator",
    "os.environ['LEARNKIT_X'] = '1'": "environment",
    "os.chdir('/')": "folder",
    "warnings.simplefilter('ignore')": "warning filters",
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)": "signal handlers",
    "torch.set_num_threads(torch.get_num_threads() + 1)": "threads",
    "torch.set_default_dtype(torch.float64)": "numbers",
    "torch.backends.cudnn.benchmark = True": "determinism",
    "logging.basicConfig()": "log",
}

NOTICED = f"""
{FINGERPRINT}
import json, sys
noticed = []
for meddling in json.loads(sys.argv[1]):
    before = fingerprint()
    exec(meddling)
    after = fingerprint()
    noticed += [name for name in before if before[name] != after[name]]
print(json.dumps(noticed))
"""

LOADED = f"""
import json, sys
import learnkit
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""

# The package is put in place without running its __init__, which would import the modules in an order that works.
ALONE = """
import importlib, json, sys, types
root, *names = sys.argv[1:]
failures = {}
for name in names:
    for loaded in [m for m in sys.modules if m.partition(".")[0] == "learnkit"]:
        del sys.modules[loaded]
    if name != "learnkit":
        sys.modules["learnkit"] = package = types.ModuleType("learnkit")
        package.__path__ = [root]
    try:
        importlib.import_module(name)
    except Exception as error:
        failures[name] = f"{type(error).__name__}: {error}"
print(json.dumps(failures))
"""


def in_fresh_python(code: str, *args: str) -> object:
    """What the code prints last, read as JSON."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    return json.loads(done.stdout.splitlines()[-1])


def module_names() -> list[str]:
    files = sorted((ROOT / "learnkit").rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


@pytest.mark.slow
def test_importing_learnkit_does_not_change_generators_environment_or_settings() -> None:
    assert in_fresh_python(CHANGES) == []


@pytest.mark.slow
def test_the_fingerprint_notices_meddling() -> None:
    assert in_fresh_python(NOTICED, json.dumps(MEDDLING)) == list(MEDDLING.values())


def test_importing_learnkit_loads_no_heavy_library() -> None:
    assert in_fresh_python(LOADED) == []


@pytest.mark.slow  # test_architecture refuses circles of imports, which are what could break it
def test_every_module_can_be_imported_alone() -> None:
    names = module_names()
    assert "learnkit.errors" in names
    assert in_fresh_python(ALONE, str(ROOT / "learnkit"), *names) == {}
