"""The file: safetensors opens it, and learnkit refuses files that are damaged, too large, or of any other kind."""

import copy
import hashlib
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from learnkit.errors import CorruptFileError, LearnkitError, MissingFileError, UnsafeFileError, UsageError
from learnkit.persistence.lk import file as file_module
from learnkit.persistence.lk.file import open_export, write_export
from learnkit.persistence.spec import ExportSpec
from tests.doubles import Bomb, refused

Header = dict[str, Any]


def read(path: Path) -> dict[str, Tensor]:
    with open_export(path) as export:
        return export.tensors()


def split(content: bytes) -> tuple[Header, bytes]:
    """The header and the data of a safetensors file."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: Header | str, data: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_any_reader_of_safetensors_opens_it(lk: Path, net: nn.Module) -> None:
    state = net.state_dict()
    with safe_open(lk, "pt") as file:
        manifest = json.loads(file.metadata()["learnkit"])
        assert set(file.keys()) == state.keys()
        assert all(torch.equal(file.get_tensor(name), state[name]) for name in state)
    assert manifest["format"] == "learnkit"
    assert manifest["classes"] == ["ant", "bee", "cat"]


def test_the_checksum_of_the_weights_can_be_computed_without_learnkit(lk: Path) -> None:
    header, _ = split(lk.read_bytes())
    names = {"F32": "float32", "I64": "int64"}
    digest = hashlib.sha256()
    for name, tensor in sorted(safetensors.torch.load_file(lk).items()):
        row = header[name]
        digest.update(f"{name} {names[row['dtype']]} {tuple(row['shape'])}\n".encode() + tensor.numpy().tobytes())
    assert json.loads(header["__metadata__"]["learnkit"])["weights"] == {"sha256": digest.hexdigest()}


def test_what_was_written_is_read(lk: Path, net: nn.Module) -> None:
    found, state = read(lk), net.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_the_same_content_is_written_as_the_same_bytes(tmp_path: Path, spec: ExportSpec, lk: Path) -> None:
    manifest = write_export(tmp_path / "again.lk", spec)
    assert (tmp_path / "again.lk").read_bytes() == lk.read_bytes()
    assert manifest["classes"] == ["ant", "bee", "cat"]


def test_tensors_of_any_layout_and_type_are_kept(tmp_path: Path, spec: ExportSpec) -> None:
    model, shared = nn.Module(), torch.arange(6.0)
    tensors = {
        "scalar": torch.tensor(3), "empty": torch.zeros(0, 4), "flags": torch.tensor([True, False]),
        "across": torch.arange(6.0).view(2, 3).t(),
        "last": torch.arange(12.0).view(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "wide": torch.tensor([1e-300]).double(), "octets": torch.arange(5, dtype=torch.uint8),
        "narrow": torch.tensor([1.5]).half(), "brain": torch.tensor([1.5, 2]).bfloat16(),
        "ünï": torch.tensor([2], dtype=torch.int16), "bytes": torch.tensor([-2], dtype=torch.int8),
        "ints": torch.tensor([-2], dtype=torch.int32), "shared": shared, "view": shared[2:], "same": shared,
    }  # fmt: skip
    for name, tensor in tensors.items():
        model.register_buffer(name, tensor)
    write_export(tmp_path / "m.lk", replace(spec, model=model))
    for found in (read(tmp_path / "m.lk"), safetensors.torch.load_file(tmp_path / "m.lk")):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        assert all(found[name].dtype == tensor.dtype for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("value", "kind"), [(torch.zeros(2, dtype=torch.complex64), "complex64"), (torch.eye(2).to_sparse(), "float32")]
)
def test_tensors_that_no_reader_knows_are_not_written(
    tmp_path: Path, spec: ExportSpec, value: Tensor, kind: str
) -> None:
    model = nn.Module()
    model.register_buffer("odd", value)
    with refused("odd of the model's state dict", got=kind):
        write_export(tmp_path / "m.lk", replace(spec, model=model))
    assert list(tmp_path.iterdir()) == []


def test_state_that_is_not_a_tensor_is_not_written(tmp_path: Path, spec: ExportSpec) -> None:
    class Odd(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": 1}

    with refused("_extra_state of the model's state dict", got="dict"):
        write_export(tmp_path / "m.lk", replace(spec, model=Odd(2, 2)))


@pytest.mark.parametrize("name", ["x" * 501, "a\nb"])
def test_names_that_would_be_refused_are_not_written(tmp_path: Path, spec: ExportSpec, name: str) -> None:
    model = nn.Module()
    model.register_buffer(name, torch.zeros(1))
    with pytest.raises(UsageError, match=r"beyond what an export can hold: .*name of a tensor"):
        write_export(tmp_path / "m.lk", replace(spec, model=model))
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_would_be_refused_is_not_written(
    tmp_path: Path, spec: ExportSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "MAX_HEADER", 100)
    with refused("header of the export", expected="at most 100"):
        write_export(tmp_path / "m.lk", spec)


def test_every_truncated_file_is_reported_as_truncated(lk: Path) -> None:
    content = lk.read_bytes()
    for size in [*range(0, 16), *range(16, len(content), 7), len(content) - 1]:
        lk.write_bytes(content[:size])
        with pytest.raises(CorruptFileError, match="is empty" if size == 0 else rf"\({size:,} bytes; ") as caught:
            read(lk)
        assert str(lk) in caught.value.what
        assert caught.value.fix == "Export again or copy it again."


@pytest.mark.parametrize(
    "change", [lambda c: b"MZ" + c, lambda c: c + b"\0", lambda c: c + c, lambda c: c[:-1] + bytes([c[-1] ^ 1])]
)
def test_bytes_before_after_or_changed_are_refused(lk: Path, change: Callable[[bytes], bytes]) -> None:
    lk.write_bytes(change(lk.read_bytes()))
    with pytest.raises(CorruptFileError, match=str(lk)):
        read(lk)


def test_every_bit_of_the_header_counts(lk: Path) -> None:
    content = lk.read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    for at in [*range(64), *range(64, size, 5), *range(size - 16, size)]:
        lk.write_bytes(content[:at] + bytes([content[at] ^ 1 << random.Random(at).randrange(8)]) + content[at + 1 :])
        with pytest.raises(LearnkitError):
            read(lk)


def test_every_flipped_byte_of_the_data_is_found(lk: Path) -> None:
    content = lk.read_bytes()
    for at in range(8 + int.from_bytes(content[:8], "little"), len(content), 3):
        lk.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        with pytest.raises(CorruptFileError, match="the checksum of its weights is wrong"):
            read(lk)


def test_bits_flipped_anywhere_are_found(lk: Path) -> None:
    content, random_ = lk.read_bytes(), random.Random(0)
    for _ in range(400):
        bit = random_.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        lk.write_bytes(changed)
        with pytest.raises(LearnkitError):
            read(lk)


def test_cuts_and_repeats_at_random_are_found(lk: Path) -> None:
    content, random_ = lk.read_bytes(), random.Random(1)
    for _ in range(200):
        first, second = sorted(random_.sample(range(len(content)), 2))
        lk.write_bytes(content[:first] + random_.choice([b"", content[first:second] * 2]) + content[second:])
        with pytest.raises(LearnkitError):
            read(lk)


def test_the_tensors_of_two_exports_cannot_be_exchanged(lk: Path, tmp_path: Path) -> None:
    """Two tensors of one shape and type under each other's names: the same bytes, a different network."""
    header, data = split(lk.read_bytes())
    header["1.weight"], header["1.bias"] = header["1.bias"], header["1.weight"]
    lk.write_bytes(joined(header, data))
    with pytest.raises(CorruptFileError, match="the checksum of its weights is wrong"):
        read(lk)


def shifted(header: Header) -> None:
    for row in header.values():
        if "data_offsets" in row:
            row["data_offsets"] = [at + 4 for at in row["data_offsets"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["0.weight"].update(data_offsets=[0, 1 << 62]),
        lambda h: h["0.weight"].update(data_offsets=[-4, 124]),
        lambda h: h["0.weight"].update(data_offsets=h["3.weight"]["data_offsets"]),  # of one over another
        lambda h: h["0.weight"].update(data_offsets=[128, 0]),
        lambda h: h["0.weight"].update(shape=[1 << 30, 1 << 30]),
        lambda h: h["0.weight"].update(shape=[1 << 62, 8]),
        lambda h: h["0.weight"].update(shape=[-8, -4]),
        lambda h: h["0.weight"].update(shape=[8.0, 4.0]),
        lambda h: h["0.weight"].update(shape="8"),
        lambda h: h["0.weight"].update(shape=[1] * 100 + [8, 4]),
        lambda h: h["0.weight"].update(shape=[4, 8]),
        lambda h: h["0.weight"].update(dtype="I32"),
        lambda h: h["0.weight"].update(dtype="C64", shape=[4, 4]),
        lambda h: h["0.weight"].update(dtype="F4", shape=[16, 16]),
        lambda h: h["0.weight"].update(dtype="object"),
        lambda h: h["0.weight"].update(dtype=3),
        lambda h: h["0.weight"].pop("dtype"),
        lambda h: h.update({"0.weight": None}),
        lambda h: h.update({"a\nb": h.pop("0.weight")}),
        lambda h: h.update({"x" * 1000: h.pop("0.weight")}),
        lambda h: h.pop("0.weight"),
        lambda h: h.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
        shifted,
    ],
)  # fmt: skip
def test_forged_headers_are_refused(lk: Path, change: Callable[[Header], object]) -> None:
    header, data = split(lk.read_bytes())
    change(header)
    lk.write_bytes(joined(header, data))
    with pytest.raises(CorruptFileError, match=str(lk)):
        read(lk)


@pytest.mark.slow
def test_more_tensors_than_are_read_are_refused(lk: Path) -> None:
    row = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header, data = split(lk.read_bytes())
    lk.write_bytes(joined({**header, **{f"t{number}": row for number in range(20_001)}}, data))
    with refused(f"{lk}: tensors", CorruptFileError, got=len(header) + 20_000):
        read(lk)


def test_a_row_with_further_fields_is_refused(lk: Path) -> None:
    header, data = split(lk.read_bytes())
    header["0.weight"]["device"] = "cuda"
    lk.write_bytes(joined(header, data))
    with pytest.raises(LearnkitError, match="fields that this learnkit does not know: device"):
        read(lk)


def test_a_duplicate_name_is_refused(lk: Path) -> None:
    header, data = split(lk.read_bytes())
    row = f'"0.bias": {json.dumps(header["0.bias"])}'
    manifest = f'"learnkit": {json.dumps(header["__metadata__"]["learnkit"])}'
    text = json.dumps(header)
    for once in (row, manifest, f'"__metadata__": {{{manifest}}}'):
        assert text.count(once) == 1
        lk.write_bytes(joined(text.replace(once, f"{once}, {once}"), data))
        with pytest.raises(CorruptFileError, match="an object has a name twice"):
            read(lk)


@pytest.mark.parametrize("text", ["[]", "{", '{"a": NaN}', "{" + '"a":{' * 50_000, "\ud800"])
def test_a_header_that_is_not_an_object_is_refused(lk: Path, text: str) -> None:
    content = text.encode(errors="surrogatepass")
    lk.write_bytes(struct.pack("<Q", len(content)) + content)
    with pytest.raises(CorruptFileError, match=str(lk)):
        read(lk)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, "learnkit"])
def test_weights_alone_are_not_an_export(lk: Path, metadata: object) -> None:
    header, data = split(lk.read_bytes())
    header["__metadata__"] = metadata
    lk.write_bytes(joined(header if metadata else {**header, "__metadata__": {}}, data))
    with pytest.raises(CorruptFileError, match=r"has weights, but no learnkit manifest\. .*learn\.load"):
        read(lk)


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
    found["long.pkl"] = b"(" + b"I1\n" * 700_000  # of protocol 0, and longer than the part inspected
    found["short.pkl"] = pickle.dumps(None, 0)
    return found


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_files_that_would_run_code_are_refused_under_any_name_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    found = carriers(tmp_path / "made")
    assert len(found) == 19
    for name, content in found.items():
        (tmp_path / "model.lk").write_bytes(content)
        with pytest.raises(UnsafeFileError, match="learnkit does not run code from files") as error:
            read(tmp_path / "model.lk")
        kind = {"graph.pt2": "a torch.export archive", "script.pt": "a TorchScript program"}
        assert f"model.lk is {kind.get(name, 'a Python pickle')}" in str(error.value), name
        assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"hello", b"PK\3\4" + b"\0" * 50, b"\x89PNG\r\n\x1a\n", b"\0" * 5000, b"<html>"])
def test_files_of_something_else_are_not_exports(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.lk").write_bytes(content)
    with pytest.raises(CorruptFileError, match="is not a learnkit export"):
        read(tmp_path / "model.lk")


def test_a_missing_file_lists_the_exports_that_are_there(lk: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*modle\.lk; .* holds 'model\.lk'\. Check the path"):
        read(lk.with_name("modle.lk"))
    with pytest.raises(MissingFileError, match=r"holds 'model\.lk'"):
        read(lk.parent)


def test_a_file_whose_name_is_not_utf_8_is_read(lk: Path, net: nn.Module) -> None:
    path = lk.rename(os.fsdecode(os.fsencode(lk.parent) + b"/\xff.lk"))
    assert torch.equal(read(path)["0.weight"], net.state_dict()["0.weight"])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.lk")
    with pytest.raises(MissingFileError):
        read(tmp_path / "model.lk")


def test_the_digest_of_the_whole_file_is_compared_first(lk: Path) -> None:
    right = hashlib.sha256(lk.read_bytes()).hexdigest()
    with open_export(lk, right.upper()):
        pass
    lk.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    for wanted in (right, "", "x"):
        with (
            refused(f"{lk} is not the expected file: its SHA-256", CorruptFileError, got=found),
            open_export(lk, wanted),
        ):
            pass


def test_a_file_that_changes_after_it_was_opened_changes_nothing(lk: Path, net: nn.Module) -> None:
    with open_export(lk) as export:
        tensors = export.tensors()
    size = lk.stat().st_size
    with lk.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\0" * (size - size // 2))
        file.truncate(size // 2)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in net.state_dict().items())


def test_weights_exchanged_after_it_was_opened_are_found(lk: Path, tmp_path: Path, spec: ExportSpec) -> None:
    other = copy.deepcopy(spec.model)
    with torch.no_grad():
        other[0].weight.add_(1)  # type: ignore[index, union-attr, operator]
    write_export(tmp_path / "other.lk", replace(spec, model=other))
    content = (tmp_path / "other.lk").read_bytes()
    with open_export(lk) as export:
        lk.write_bytes(content)
        with pytest.raises(CorruptFileError, match="the checksum of its weights is wrong"):
            export.tensors()


PEAK = """
import resource, sys
from pathlib import Path
import torch
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.lk.load import read_export
read_export(Path(sys.argv[1]))  # so that no import is counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spec = read_export(Path(sys.argv[2]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024, sum(tensor.nbytes for tensor in spec.model.state_dict().values()))
"""


@pytest.mark.slow
def test_reading_takes_the_memory_of_one_copy(tmp_path: Path, spec: ExportSpec, squeeze: Any) -> None:
    wide = replace(squeeze, lin_ftrs=(15_000,))
    for name, backbone in (("small", squeeze), ("wide", wide)):
        write_export(tmp_path / name, replace(spec, model=backbone.build().model, backbone=backbone))
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "wide")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **HERE})
    taken, size = map(int, run.stdout.split())
    assert size > 50_000_000
    assert taken < 1.25 * size


HERE = {"PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
