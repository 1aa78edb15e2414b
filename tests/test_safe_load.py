"""Reading files of weights: complete, damaged, missing, and dangerous."""

import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, MissingFileError, UnsafeFileError, UsageError
from learnkit.safe_load import read_file, read_weights
from tests.doubles import Bomb


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"conv.weight": torch.arange(600.0).view(6, 100), "n": torch.tensor(3)}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
def test_a_torch_file_returns_its_tensors(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    torch.save(state, tmp_path / name)
    assert equal(read_weights(tmp_path / name), state)
    assert equal(read_weights(str(tmp_path / name)), state)


def test_a_safetensors_file_returns_its_tensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert equal(read_weights(tmp_path / "w.safetensors"), state)


def test_a_missing_file_lists_the_existing_ones(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "body.pth")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MissingFileError, match=r"no file .*bdy\.pth; .* holds body\.pth\. Check the path") as error:
        read_weights(tmp_path / "bdy.pth")
    assert "notes.txt" not in str(error.value)


def test_a_file_of_the_working_directory_that_was_looked_for_elsewhere_is_named(
    tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(state, "body.pth")
    (tmp_path / "models").mkdir()
    with pytest.raises(MissingFileError, match=r"For the file in the working directory pass Path\('body\.pth'\)\."):
        read_weights(tmp_path / "models" / "body.pth")


def test_a_missing_folder_lists_the_nearest_one_above(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=f"{tmp_path} holds no files of weights"):
        read_weights(tmp_path / "no" / "such" / "w.pth")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"is a folder; .* holds no files of weights. Pass the path of one file"):
        read_weights(tmp_path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"w": Bomb()}, protocol))
    with pytest.raises(UnsafeFileError, match=r"w\.pth is a Python pickle; learnkit does not run code from files"):
        read_weights(path)
    assert not Path("ran").exists()


def test_torchs_format_before_1_6_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(UnsafeFileError, match="is a Python pickle") as error:
        read_weights(tmp_path / "w.pth")
    convert = "`learnkit convert FILE OUT.safetensors --i-trust-this-file`."
    assert str(error.value).endswith(f"Convert it, only if you trust its source: {convert}")


def test_torchs_oldest_format_a_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb()))
    with tarfile.open(tmp_path / "w.pth", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    with pytest.raises(UnsafeFileError, match="learnkit does not run code from files"):
        read_weights(tmp_path / "w.pth")
    assert not Path("ran").exists()


def test_a_torch_file_with_an_object_inside_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"w": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(UnsafeFileError, match="holds objects other than tensors"):
        read_weights(tmp_path / "w.pth")
    assert not Path("ran").exists()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(UnsafeFileError, match="is a TorchScript program"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_cut_short_is_damaged(tmp_path: Path, state: dict[str, Tensor], name: str, share: float) -> None:
    path = tmp_path / name
    if name == "w.pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CorruptFileError, match=rf"{name}.* Fetch or copy the file again"):
        read_weights(path)


def test_one_wrong_byte_among_the_numbers_is_found(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "w.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    at = content.find(state["conv.weight"][0].numpy().tobytes())
    assert at > 0
    content[at + 40] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="damaged or truncated"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "is empty"), (b"<html>404</html>", "neither a torch file .* nor"), (b"\x00" * 50, "neither")],
)
def test_a_file_of_something_else_is_not_a_file_of_weights(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(CorruptFileError, match=text):
        read_weights(tmp_path / "w.pth")


def test_another_zip_is_not_a_file_of_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(CorruptFileError, match=r"a zip file, but not one written by torch\.save"):
        read_weights(tmp_path / "w.pth")


def test_the_error_for_a_checkpoint_names_the_part_to_pass(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"epoch": 3, "model": state}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"\['epoch', 'model'\] are not tensors\. .*weights=checkpoint\['model'\]"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {}, {0: torch.zeros(3)}])
def test_a_file_without_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="expected a dict of tensors by name"):
        read_weights(tmp_path / "w.pth")


def test_an_exported_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    with pytest.raises(UnsafeFileError, match=r"program\.pt2 is a torch\.export archive, which runs code"):
        read_file(path)
