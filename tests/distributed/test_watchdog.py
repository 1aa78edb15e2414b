"""A deadline for code that hangs: in real processes."""

import subprocess
import sys
import time

import pytest

from tests.doubles import slow

HANGS = {  # PyDLL holds the lock of the interpreter, so that no other thread of Python runs
    "native code": "import ctypes; ctypes.PyDLL(None).sleep(60)",
    "Python": "import threading; threading.Event().wait(60)",
}


def ended(body: str) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a process that has half a second for `body`."""
    script = f"from learnkit.distributed.watchdog import ends_after\nwith ends_after(0.5):\n    {body}\nprint('done')"
    began = time.monotonic()
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50)
    assert ("done" in run.stdout) == (run.returncode == 0)
    return run.returncode, run.stderr, time.monotonic() - began


@pytest.mark.parametrize("what", [slow("native code"), "Python"])
def test_a_process_that_hangs_is_ended_with_its_stack(what: str) -> None:
    code, said, seconds = ended(HANGS[what])
    assert (code, seconds < 40) == (1, True)
    assert "Timeout" in said
    assert 'File "<string>", line 3' in said


@pytest.mark.slow
def test_in_time_nothing_happens_and_the_deadline_is_taken_back() -> None:
    assert ended("pass\nimport time; time.sleep(1)")[:2] == (0, "")


@pytest.mark.slow
def test_an_error_takes_the_deadline_back_too() -> None:
    code, said, _ = ended("raise KeyError('mine')")
    assert (code, "KeyError: 'mine'" in said, "Timeout" in said) == (1, True, False)
