"""Starts several processes of a script, as a launcher does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environment(size: int, rank: int, port: int, **more: str) -> dict[str, str]:
    """What torchrun would set for this process."""
    own = {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "LEARNKIT_PROGRESS": "off",
    }  # fmt: skip
    return {**os.environ, **own, **more}


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def started(size: int, *command: str, **more: str) -> list["subprocess.Popen[str]"]:
    """The processes, one alone without a word of others in its environment."""
    port = free_port()
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "LEARNKIT_PROGRESS": "off", **more}
    return [
        subprocess.Popen(
            [sys.executable, *command], env=alone if size == 1 else environment(size, rank, port, **more), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(size)
    ]  # fmt: skip


def finished(processes: list["subprocess.Popen[str]"], timeout: float = 300) -> list[tuple[int, str]]:
    """The exit code and what was written to stderr, of each."""
    try:
        return [(process.wait(timeout), process.communicate()[1]) for process in processes]
    finally:
        for process in processes:
            process.kill()


def run(size: int, *command: object, timeout: float = 600, **more: str) -> list[int]:
    """The exit codes of the processes, all 0; what one that fails has to say is shown."""
    ended = finished(started(size, *map(str, command), **more), timeout)
    for rank, (code, errors) in enumerate(ended):
        assert code == 0, f"process {rank} of {size} ended with {code}:\n{errors[-4000:]}"
    return [code for code, _ in ended]
