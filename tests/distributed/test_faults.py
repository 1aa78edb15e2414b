"""What goes wrong in one of two processes: an error, a hang, a signal, a kill. Each run is real, by `faults.py`."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.distributed.launching import HERE, environment, finished, free_port, run, started

pytestmark = pytest.mark.slow

SCRIPT = str(HERE / "faults.py")
ENDED = {"LEARNKIT_DEVICE": "cpu", "LEARNKIT_TIMEOUT": "120"}


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / "weights.pt")
    return found


def steps(folder: Path) -> list[int]:
    """How many steps each process has taken."""
    return [int((folder / f"steps-{rank}").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(2, SCRIPT, folder, "nothing", **ENDED)
    return weights(folder)


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_an_error_ends_all_with_its_message(tmp_path: Path) -> None:
    (first, words), (second, error) = finished(started(2, SCRIPT, str(tmp_path), "error 1 5", **ENDED))
    assert (first, second) == (1, 1)
    assert "OSError: the disk of process 1 is gone" in error
    assert "process 0 of 2 cannot go on (epoch 0, batch 4): process 1 failed: OSError: the disk of process 1" in words


def test_a_process_that_hangs_is_named(tmp_path: Path) -> None:
    waiting, hanging = started(2, SCRIPT, str(tmp_path), "hang 1 5", LEARNKIT_DEVICE="cpu", LEARNKIT_TIMEOUT="15")
    try:
        code, words = waiting.wait(120), waiting.communicate()[1]
    finally:
        waiting.kill()
        hanging.kill()
        hanging.communicate()
    assert code == 1
    assert "process 1 did not arrive within 15 s, or ended" in words


def after_ctrl_c() -> int:
    """The exit code of a program that uses torch: torch 2.14 makes it 1, others leave Python's."""
    script = "import torch\ntorch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)\nraise KeyboardInterrupt"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_ends_all_after_the_same_step(
    number: signal.Signals, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    """With a checkpoint, from which two processes go on to the same bits."""
    code = 143 if number == signal.SIGTERM else after_ctrl_c()
    found = finished(started(2, SCRIPT, str(tmp_path), f"signal {int(number)} 1 5", **ENDED))
    assert [ended for ended, _ in found] == [code, code]
    assert len(set(steps(tmp_path))) == 1
    assert 5 <= steps(tmp_path)[0] < 18
    assert not (tmp_path / "weights.pt").exists()
    run(2, SCRIPT, tmp_path, "nothing", **ENDED)
    assert_same(weights(tmp_path), undisturbed)


@pytest.fixture
def torchrun(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """torchrun of a slow fit, once both processes train."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    own = {
        name: value for name, value in environment(1, 0, free_port(), **ENDED).items() if not name.startswith("MASTER")
    }
    process = subprocess.Popen(
        [*command, SCRIPT, str(tmp_path), "slow"], env=own, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while not all((tmp_path / f"steps-{rank}").exists() for rank in range(2)):
        assert time.monotonic() < until, "the fit has not begun"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_ends_all_after_the_same_step(
    number: signal.Signals, tmp_path: Path, torchrun: "subprocess.Popen[str]"
) -> None:
    torchrun.send_signal(number)
    assert torchrun.wait(60) != 0
    assert len(set(steps(tmp_path))) == 1
    checkpoint = tmp_path / "models" / "checkpoints" / "fit-0" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["at"]["step"] == steps(tmp_path)[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_restarted_to_the_same_bits(
    rank: int, tmp_path: Path, undisturbed: dict[str, Tensor]
) -> None:
    """`torchrun --max-restarts` and resume="auto"."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "3"]
    run(1, *command, SCRIPT, tmp_path, f"kill {rank} 11", **ENDED)
    assert (tmp_path / "killed").exists()
    assert_same(weights(tmp_path), undisturbed)
