"""learnkit convert: nothing runs unless the file is trusted, and then in another process; the tensors stay the same.

Few tests start a process, which takes seconds; what it does is mostly tested in test_unpickle.py, by calling it.
"""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from learnkit.cli import convert
from learnkit.cli.main import main
from learnkit.safe_load import read_weights
from tests.cli.carriers import CARRIERS, carry, equal
from tests.doubles import Bomb

Convert = Callable[..., tuple[int, str, str]]


@pytest.fixture
def convert_file(capsys: pytest.CaptureFixture[str]) -> Convert:
    """Run `learnkit convert ...`: exit code, stdout, stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        code = main(["convert", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"fc.weight": torch.arange(12.0).view(3, 4), "fc.bias": torch.tensor([1.0, -2.0, 3.5])}


@pytest.mark.parametrize("kind", CARRIERS)
def test_nothing_runs_without_trust(kind: str, tmp_path: Path, convert_file: Convert) -> None:
    file, marker = tmp_path / "w.pth", tmp_path / "ran"
    carry(kind, file, {"weight": Bomb(marker)})
    code, out, err = convert_file(file, tmp_path / "w.safetensors")
    assert (code, out) == (2, "")
    assert f"opening {file} would run the code in it" in err
    assert "--i-trust-this-file" in err
    assert not marker.exists()
    assert os.listdir(tmp_path) == ["w.pth"]


@pytest.mark.slow
def test_a_pt2_file_is_never_opened(tmp_path: Path, convert_file: Convert) -> None:
    carry("pt2", tmp_path / "w.pt2", {"weight": Bomb(tmp_path / "ran")})
    assert convert_file("w.pt2", "w.safetensors", "--i-trust-this-file")[0] == 2
    assert os.listdir(tmp_path) == ["w.pt2"]


def test_a_legacy_file_is_converted_in_another_process(
    tmp_path: Path, convert_file: Convert, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    def forbidden(*args: object, **options: object) -> None:
        raise AssertionError("unpickled in this process")

    monkeypatch.setattr(pickle, "load", forbidden)
    monkeypatch.setattr(torch, "load", forbidden)
    out_file = tmp_path / "new" / "w.safetensors"
    code, out, err = convert_file(tmp_path / "old.pth", out_file, "--i-trust-this-file")
    assert (code, err) == (0, "")
    assert f"Wrote {out_file}: 2 tensors, 15 numbers" in out
    assert f"cnn_learner(dls, arch, weights='{out_file}')" in out
    assert equal(safetensors.torch.load_file(out_file), state)
    assert os.listdir(out_file.parent) == ["w.safetensors"]


# A custom module that a file needs; it reports its environment.
LIBRARY = """
import json, os, sys
from torch import nn

class Learner:
    def __init__(self):
        self.model = nn.Linear(2, 3)

    def __setstate__(self, state):
        self.__dict__.update(state)
        seen = {"environment": dict(os.environ), "folder": os.getcwd(), "there": os.listdir()}
        seen["input"] = sys.stdin.read()
        print("noise on stdout")
        with open(self.report, "w") as file:
            json.dump(seen, file)
"""


@pytest.mark.slow
def test_the_other_process_has_its_own_folder_and_sees_no_secrets(
    tmp_path: Path, convert_file: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "users_own.py").write_text(LIBRARY)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "lib")
        import users_own  # type: ignore[import-not-found]

        learner = users_own.Learner()
        learner.report = str(tmp_path / "seen.json")
        torch.save(learner, tmp_path / "export.pkl")
        monkeypatch.delitem(sys.modules, "users_own")
    monkeypatch.setenv("PYTHONPATH", "lib")  # relative to where the command is started
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    code, out, err = convert_file("export.pkl", "w.safetensors", "--i-trust-this-file")
    assert (code, err) == (0, "")
    assert "noise" not in out
    assert equal(read_weights("w.safetensors"), dict(learner.model.state_dict()))
    seen: dict[str, Any] = json.loads((tmp_path / "seen.json").read_text())
    assert "s3cret" not in json.dumps(seen)
    assert seen["input"] == ""
    assert set(seen["there"]) <= {"stderr.txt"}
    assert Path(seen["folder"]) != tmp_path
    assert not Path(seen["folder"]).exists()


@pytest.mark.slow
def test_a_broken_file_prints_one_line_and_leaves_no_files(tmp_path: Path, convert_file: Convert) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": "x" * 1000})[:500])
    code, out, err = convert_file("w.pkl", "w.safetensors", "--i-trust-this-file")
    assert (code, out) == (2, "")
    assert err.startswith("learnkit: w.pkl could not be opened (UnpicklingError: pickle data was truncated)")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["w.pkl"]


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, convert_file: Convert, state: dict[str, Tensor]) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(state))
    code, _, err = convert_file("w.pkl", "w.safetensors", "--i-trust-this-file", "--timeout", "0.05")
    assert code == 2
    assert "opening w.pkl took more than 0.05 seconds" in err
    assert os.listdir(tmp_path) == ["w.pkl"]


# Results of the other process, from a fake: (exit code, result, stderr) -> part of the error.
@pytest.mark.parametrize(
    ("code", "result", "words", "expected"),
    [
        (0, None, b"", "could not be opened (exit code 0)"),
        (-11, None, b"", "could not be opened (exit code -11)"),
        (
            1,
            None,
            b"Traceback\n  line\n\nModuleNotFoundError: No module named 'x'\n\n",
            "(ModuleNotFoundError: No module",
        ),
        (1, None, b"\x1b[2J\xff", "(\\x1b[2J"),
        (0, b"", b"", "returned no valid tensors"),
        (0, b"not tensors", b"", "returned no valid tensors"),
        (0, pickle.dumps({"w": Bomb(Path("ran"))}), b"", "returned no valid tensors"),
    ],
)
def test_results_of_the_other_process_are_not_trusted(
    code: int, result: bytes | None, words: bytes, expected: str,
    tmp_path: Path, convert_file: Convert, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def run(command: list[str], **options: Any) -> Any:
        options["stderr"].write(words)
        options["stderr"].flush()
        if result is not None:
            Path(command[-1]).write_bytes(result)
        return convert.subprocess.CompletedProcess(command, code)  # type: ignore[attr-defined]

    (tmp_path / "w.pkl").write_bytes(pickle.dumps(state))
    monkeypatch.setattr("subprocess.run", run)
    exit_code, _, err = convert_file("w.pkl", "w.safetensors", "--i-trust-this-file")
    assert exit_code == 2
    assert expected in err
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    assert os.listdir(tmp_path) == ["w.pkl"]


def test_a_file_of_plain_tensors_needs_no_trust(
    tmp_path: Path, convert_file: Convert, state: dict[str, Tensor]
) -> None:
    torch.save({"model": state, "opt": {"lr": 0.1}}, tmp_path / "w.pth")
    assert convert_file("w.pth", "w.safetensors")[0] == 0
    assert equal(read_weights("w.safetensors"), state)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["none.pth", "w.safetensors"], "no file none.pth"),
        (["w.pth", "w.pth"], "expected a name that ends in .safetensors"),
        (["w.pth", "w.pt"], "expected a name that ends in .safetensors"),
        (["w.pth", "mine.safetensors"], "mine.safetensors exists already. Choose another name, or add --force"),
        (["w.pth", "folder.safetensors", "--force"], "folder.safetensors exists already"),
        (["w.pth", "w.safetensors", "--timeout", "0"], "--timeout: got 0.0"),
        (["w.pth", "w.safetensors", "--timeout", "nan"], "--timeout: got nan"),
    ],
)
def test_an_invalid_call_exits_with_2_and_does_nothing(
    args: list[str], expected: str, tmp_path: Path, convert_file: Convert, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "w.pth")
    (tmp_path / "mine.safetensors").write_text("mine")
    (tmp_path / "folder.safetensors").mkdir()
    code, out, err = convert_file(*args)
    assert (code, out) == (2, "")
    assert expected in err
    assert sorted(os.listdir(tmp_path)) == ["folder.safetensors", "mine.safetensors", "w.pth"]
    assert (tmp_path / "mine.safetensors").read_text() == "mine"


def test_force_overwrites_only_with_weights(tmp_path: Path, convert_file: Convert, state: dict[str, Tensor]) -> None:
    (tmp_path / "w.safetensors").write_text("mine")
    (tmp_path / "bad.pth").write_text("<html>404</html>")
    assert convert_file("bad.pth", "w.safetensors", "--force")[0] == 2
    assert (tmp_path / "w.safetensors").read_text() == "mine"
    torch.save(state, tmp_path / "w.pth")
    assert convert_file("w.pth", "w.safetensors", "--force")[0] == 0
    assert equal(read_weights("w.safetensors"), state)
