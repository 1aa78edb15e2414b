"""The container: any zip reader opens it, and learnkit opens nothing but what is laid out as it writes, to the byte."""

import hashlib
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest
import safetensors.torch
import torch
from torch import nn

from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UnsafeFileError, UsageError
from learnkit.persistence.lk import archive
from learnkit.persistence.lk.archive import read_members, write_members
from learnkit.persistence.lk.file import built_model, open_export, write_export
from learnkit.persistence.lk.tensors import table_of

MEMBERS = ["manifest.json", "weights.safetensors"]
DAY_ONE = (1980, 1, 1, 0, 0, 0)


class Bomb:
    """Makes a folder `ran` when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def opened(path: Path) -> None:
    with open_export(path):
        pass


def rezipped(lk: Path, write: Callable[[zipfile.ZipFile, dict[str, bytes]], object]) -> Path:
    """The same members in a zip file of Python's own."""
    with zipfile.ZipFile(lk) as old:
        members = {name: old.read(name) for name in old.namelist()}
    path = lk.with_name("other.lk")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        write(new, members)
    return path


def test_any_zip_reader_finds_two_stored_members(lk: Path) -> None:
    with zipfile.ZipFile(lk) as opened:
        assert opened.testzip() is None
        members = opened.infolist()
    assert [member.filename for member in members] == MEMBERS
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    assert {member.date_time for member in members} == {DAY_ONE}


def test_the_weights_are_a_safetensors_file(lk: Path, net: nn.Module) -> None:
    with zipfile.ZipFile(lk) as opened:
        tensors = safetensors.torch.load(opened.read("weights.safetensors"))
    state = net.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_the_same_content_gives_the_same_bytes(net: nn.Module, manifest: dict[str, Any]) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        write_export(file, manifest, net)
    assert files[0].getvalue() == files[1].getvalue()


def test_every_file_cut_short_says_so(lk: Path) -> None:
    content = lk.read_bytes()
    for size in [*range(0, len(content), 7), len(content) - 1]:
        lk.write_bytes(content[:size])
        with pytest.raises(
            CorruptFileError, match="is empty" if size == 0 else rf"\({size:,} bytes; the file seems tr"
        ):
            opened(lk)


@pytest.mark.parametrize(
    "change", [lambda c: b"MZ" + c, lambda c: c + b"\0", lambda c: c + c, lambda c: c[:-1] + b"\1"]
)
def test_anything_before_or_behind_is_refused(lk: Path, change: Callable[[bytes], bytes]) -> None:
    lk.write_bytes(change(lk.read_bytes()))
    with pytest.raises(CorruptFileError, match=r"not laid out as learnkit writes it|is no learnkit export"):
        opened(lk)


def test_bytes_in_the_headers_cannot_be_changed(lk: Path) -> None:
    content = lk.read_bytes()
    middle, end = content.index(b"PK\3\4", 4), content.index(b"PK\1\2")
    headers = [*range(43), *range(middle, middle + 49), *range(end, len(content))]
    for at in headers:
        lk.write_bytes(content[:at] + bytes([content[at] ^ 1 << random.Random(at).randrange(8)]) + content[at + 1 :])
        with pytest.raises(CorruptFileError):
            opened(lk)


def extra(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    for name, content in {**members, "../evil.py": b"import os"}.items():
        new.writestr(zipfile.ZipInfo(name), content)


def twice(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    for name in (*members, "manifest.json"):
        with pytest.warns(UserWarning, match="Duplicate") if name in new.namelist() else open(os.devnull):
            new.writestr(zipfile.ZipInfo(name), members[name])


def deflated(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def linked(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    link = zipfile.ZipInfo("weights.safetensors")
    link.external_attr = 0o120777 << 16
    new.writestr(zipfile.ZipInfo("manifest.json"), members["manifest.json"])
    new.writestr(link, b"/etc/passwd")


def one_only(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    new.writestr(zipfile.ZipInfo("manifest.json"), members["manifest.json"])


def commented(new: zipfile.ZipFile, members: dict[str, bytes]) -> None:
    for name, content in members.items():
        new.writestr(zipfile.ZipInfo(name), content)
    new.comment = b"hello"


@pytest.mark.parametrize("write", [extra, twice, deflated, linked, one_only, commented])
def test_zip_files_of_other_contents_are_refused(lk: Path, write: Any) -> None:
    with pytest.raises(CorruptFileError, match="is not a complete learnkit export"):
        opened(rezipped(lk, write))


def test_a_directory_that_says_something_else_than_the_headers_is_refused(lk: Path) -> None:
    content = bytearray(lk.read_bytes())
    at = content.index(b"PK\1\2") + 24  # the size of the manifest, in the directory alone
    content[at : at + 4] = struct.pack("<I", 5)
    lk.write_bytes(content)
    with pytest.raises(CorruptFileError, match="not laid out"):
        opened(lk)


def carriers(folder: Path) -> dict[str, bytes]:
    """Files that run code when they are opened the way they are meant to be."""
    found: dict[str, bytes] = {f"pickle{n}.pkl": pickle.dumps(Bomb(), n) for n in range(6)}
    torch.save({"w": Bomb()}, folder / "zip.pth")
    torch.save({"w": Bomb()}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "pickle").write_bytes(pickle.dumps(Bomb()))
    with tarfile.open(folder / "tar.pth", "w") as tar:
        tar.add(folder / "pickle", "pickle")
    for way in ("zlib", "gzip", "bz2", "xz", "lzma"):
        joblib.dump(Bomb(), folder / f"{way}.joblib", compress=(way, 3))
    joblib.dump(Bomb(), folder / "plain.joblib")
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), folder / "graph.pt2")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), folder / "script.pt")  # type: ignore[no-untyped-call]
    (folder / "pickle").unlink()
    found |= {path.name: path.read_bytes() for path in folder.iterdir()}
    found["long.pkl"] = b"(" + b"I1\n" * 700_000  # of protocol 0, and longer than is looked at
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_files_that_would_run_code_are_refused_by_any_name_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    found = carriers(tmp_path / "made")
    assert len(found) == 18
    for name, content in found.items():
        (tmp_path / "model.lk").write_bytes(content)
        with pytest.raises(UnsafeFileError, match="learnkit does not run code from files") as error:
            opened(tmp_path / "model.lk")
        kind = {"graph.pt2": "a torch.export archive", "script.pt": "a TorchScript program"}
        assert f"model.lk is {kind.get(name, 'a Python pickle')}" in str(error.value), name
        assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"hello", b"{}", b"\x89PNG\r\n\x1a\n", b"\0" * 5000, b"<html>" * 100])
def test_files_of_something_else_are_no_exports(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.lk").write_bytes(content)
    with pytest.raises(CorruptFileError, match="is no learnkit export"):
        opened(tmp_path / "model.lk")


def test_a_missing_file_lists_the_exports_that_are_there(lk: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*modle\.lk; .* holds 'model\.lk'\. Check the path"):
        opened(lk.with_name("modle.lk"))
    with pytest.raises(MissingFileError, match=r"holds 'model\.lk'"):
        opened(lk.parent)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.lk")
    with pytest.raises(MissingFileError):
        opened(tmp_path / "model.lk")


def test_the_digest_of_the_whole_file_is_compared_first(lk: Path) -> None:
    right = hashlib.sha256(lk.read_bytes()).hexdigest()
    with open_export(lk, right.upper()):
        pass
    lk.write_bytes(b"something else")
    for wanted in (right, "", "x"):
        with (
            pytest.raises(CorruptFileError, match="is not the file that is wanted: its SHA-256 is"),
            open_export(lk, wanted),
        ):
            pass


def test_what_the_format_does_not_hold_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="4 GiB that one file holds"):
        write_members(io.BytesIO(), b"{}", [], 0xFFFF_FFFF, 0)
    monkeypatch.setattr(archive, "MAX_MANIFEST", 10)
    with pytest.raises(UsageError, match="a manifest of 11 bytes"):
        write_members(io.BytesIO(), b"{" + b" " * 10, [], 0, 0)


def test_bits_flipped_anywhere_are_found(lk: Path, net: nn.Module) -> None:
    content, random_ = lk.read_bytes(), random.Random(0)
    for _ in range(400):
        bit = random_.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        lk.write_bytes(changed)
        with pytest.raises(LearnkitError):
            opened(lk)


def test_cuts_and_repeats_at_random_are_found(lk: Path) -> None:
    content, random_ = lk.read_bytes(), random.Random(1)
    for _ in range(200):
        first, second = sorted(random_.sample(range(len(content)), 2))
        lk.write_bytes(content[:first] + random_.choice([b"", content[first:second] * 2]) + content[second:])
        with pytest.raises(LearnkitError):
            opened(lk)


def test_the_file_as_written_opens(lk: Path, net: nn.Module) -> None:
    with open_export(lk) as export, lk.open("rb") as file:
        members = read_members(file, lk)
        again = built_model(export, type(net)())
    assert (export.start, export.table) == (members.start, table_of(net.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), net.state_dict().values(), strict=True))
