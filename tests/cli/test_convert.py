"""learnkit convert: nothing runs unless the file is trusted, and then in another process; the tensors stay the same.

Few tests start a process, which takes seconds; what it does is mostly tested in test_unpickle.py, by calling it.
"""

import io
import json
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from learnkit.cli import convert, unpickle
from learnkit.cli.main import main
from learnkit.cli.state_dicts import weights_in
from learnkit.errors import DataError
from learnkit.safe_load import read_weights

Convert = Callable[..., tuple[int, str, str]]
CARRIERS = ["pickle", "old pickle", "torch zip", "torch legacy", "torch tar", "pt2"]


class Bomb:
    """Makes a folder `ran` where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


class Net(nn.Module):
    """A custom model with tied weights, a buffer, and every memory layout of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.short = nn.Parameter(torch.randn(3, 2).bfloat16().T)
        self.register_buffer("n", torch.tensor(7))
        self.register_buffer("mask", torch.tensor([True, False]))


class ALearner:
    """Like fastai's: pickled as a whole, with its model in `.model`."""

    def __init__(self) -> None:
        self.model = Net()
        self.dls = object()


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


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def carry(kind: str, file: Path, content: object) -> None:
    """Write what unpickles to `content`, in a format that runs code when it is opened."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=kind in ("torch zip", "pt2"))
    if kind == "pickle":
        file.write_bytes(pickle.dumps(content))
    elif kind == "old pickle":
        file.write_bytes(pickle.dumps(content, 0))
    elif kind == "torch tar":
        with tarfile.open(file, "w") as archive:
            member = tarfile.TarInfo("pickle")
            member.size = len(pickle.dumps(content, 2))
            archive.addfile(member, io.BytesIO(pickle.dumps(content, 2)))
    elif kind == "pt2":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m/archive_format", "pt2")
            archive.writestr("m/data/sample_inputs/model.pt", buffer.getvalue())
    else:
        file.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("kind", CARRIERS)
def test_nothing_runs_without_trust(kind: str, tmp_path: Path, convert_file: Convert) -> None:
    file, marker = tmp_path / "w.pth", tmp_path / "ran"
    carry(kind, file, {"weight": Bomb(marker)})
    code, out, err = convert_file(file, tmp_path / "w.safetensors")
    assert (code, out) == (2, "")
    assert f"opening {file} would run any code in it" in err
    assert "--i-trust-this-file" in err
    assert not marker.exists()
    assert os.listdir(tmp_path) == ["w.pth"]


def test_a_pt2_file_is_never_opened(tmp_path: Path, convert_file: Convert) -> None:
    carry("pt2", tmp_path / "w.pt2", {"weight": Bomb(tmp_path / "ran")})
    assert convert_file("w.pt2", "w.safetensors", "--i-trust-this-file")[0] == 1
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


# A custom module that a file needs; it reports what it sees.
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


def test_a_broken_file_gives_one_line_and_leaves_no_files(tmp_path: Path, convert_file: Convert) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"a": "x" * 1000})[:500])
    code, out, err = convert_file("w.pkl", "w.safetensors", "--i-trust-this-file")
    assert (code, out) == (1, "")
    assert err.startswith("learnkit: w.pkl could not be opened (UnpicklingError: pickle data was truncated)")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == ["w.pkl"]


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, convert_file: Convert, state: dict[str, Tensor]) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(state))
    code, _, err = convert_file("w.pkl", "w.safetensors", "--i-trust-this-file", "--timeout", "0.05")
    assert code == 1
    assert "opening w.pkl took more than 0.05 seconds" in err
    assert os.listdir(tmp_path) == ["w.pkl"]


# Results of the other process, from a stand-in for it: (exit code, result, stderr) -> part of the error.
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
    assert exit_code == 1
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
    assert convert_file("bad.pth", "w.safetensors", "--force")[0] == 1
    assert (tmp_path / "w.safetensors").read_text() == "mine"
    torch.save(state, tmp_path / "w.pth")
    assert convert_file("w.pth", "w.safetensors", "--force")[0] == 0
    assert equal(read_weights("w.safetensors"), state)


# The other process, called in this one.


@pytest.mark.parametrize("kind", ["pickle", "old pickle", "torch zip", "torch legacy"])
@pytest.mark.parametrize("form", ["model", "learner", "state", "checkpoint"])
def test_every_form_and_format_gives_the_tensors(kind: str, form: str, tmp_path: Path) -> None:
    model, learner = Net(), ALearner()
    learner.model = model
    forms = {
        "model": model,
        "learner": learner,
        "state": model.state_dict(),
        "checkpoint": {"model": model.state_dict(), "opt": {"state": {}}},
    }
    carry(kind, tmp_path / "w.pkl", forms[form])
    assert unpickle.main(tmp_path / "w.pkl", tmp_path / "w.safetensors") == 0
    assert equal(safetensors.torch.load_file(tmp_path / "w.safetensors"), dict(model.state_dict()))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_gives_its_tensors(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    torch.jit.save(torch.jit.script(model), tmp_path / "w.pt")
    assert unpickle.main(tmp_path / "w.pt", tmp_path / "w.safetensors") == 0
    assert equal(read_weights(tmp_path / "w.safetensors"), dict(model.state_dict()))


class Fails:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return int, ("no\nnumber",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Fails(), "ValueError: invalid literal"),
        ([1, 2], "weights: got 'list', expected a model, a state dict"),
        (119547037146038801333355, "weights: got 'int'"),
    ],
)
def test_what_gives_no_weights_is_one_last_line(
    content: object, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    assert unpickle.main(tmp_path / "w.pkl", tmp_path / "w.safetensors") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(expected)
    assert os.listdir(tmp_path) == ["w.pkl"]


def holds_itself() -> dict[str, object]:
    content: dict[str, object] = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(
    "content",
    [
        {}, None, {"epoch": 3}, {"model": {"epoch": 3}}, {0: torch.zeros(1)}, holds_itself(),
        {"w": torch.zeros(2, dtype=torch.complex64)}, {"w": torch.zeros(2, 2).to_sparse()},
        {"w": torch.zeros(2, device="meta")},
    ],
)  # fmt: skip
def test_what_holds_no_writable_tensors_is_refused(content: object) -> None:
    with pytest.raises(DataError):
        weights_in(content)


def test_values_that_are_no_tensors_are_left_out(state: dict[str, Tensor]) -> None:
    assert equal(weights_in({**state, "epoch": 3}), state)
    assert equal(weights_in({"state_dict": {"model": state}, "epoch": 3}), state)
