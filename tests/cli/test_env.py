"""learnkit env: facts for a bug report, and no secrets."""

import os
import platform
from importlib.metadata import version

import pytest
import torch

import learnkit
from learnkit.cli.env import VARIABLES
from tests.cli.trained import Command


def facts(command: Command) -> dict[str, str]:
    answer = command("env")
    assert (answer.code, answer.err) == (0, "")
    return dict(line.split(": ", 1) for line in answer.lines)


def test_versions_are_those_that_are_installed(command: Command) -> None:
    found = facts(command)
    assert found["learnkit"].startswith(f"{learnkit.__version__} ")
    assert found["python"].startswith(f"{platform.python_version()} ")
    assert found["torch"].startswith(f"{torch.__version__} ")
    assert (found["torchvision"], found["numpy"]) == (version("torchvision"), version("numpy"))


def test_packages_that_are_missing_are_said_to_be(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnkit.cli.env.PACKAGES", ("numpy", "no-such-package"))
    assert facts(command)["no-such-package"] == "not installed"


def test_settings_are_shown_and_tokens_are_not(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_PROGRESS", "plain\x1b[2J")
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "LEARNKIT_TOKEN"):
        monkeypatch.setenv(name, "secret-123")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = facts(command)
    assert found["LEARNKIT_PROGRESS"] == "plain\\x1b[2J"
    assert "OMP_NUM_THREADS" not in found
    assert not any("secret" in fact for fact in found.values())
    assert not any(word in name for name in VARIABLES for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))


def test_cores_and_devices_are_listed(command: Command) -> None:
    found = facts(command)
    assert f"of {os.cpu_count()} cores" in found["cpu"]
    if not torch.accelerator.is_available():
        assert found["devices"] == "cpu"
