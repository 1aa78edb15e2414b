"""Reading a file of weights without running code from it."""

import bz2
import io
import lzma
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Container
from pathlib import Path

import torch
from torch import Tensor

from learnkit.checks import nearest_folder
from learnkit.errors import CorruptFileError, MissingFileError, UnsafeFileError, UsageError
from learnkit.types import PathLike

__all__ = ["MAX_TENSORS", "code_kind", "plain_name", "read_file", "read_weights", "tensors_only"]

_SUFFIXES = {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}
_SAVE_AGAIN = "Save its tensors with torch.save(model.state_dict(), file)."
_CONVERT = "Convert it, only if you trust its source: `learnkit convert FILE OUT.safetensors --i-trust-this-file`."

_PROGRAM = "a torch.export archive, which runs code when it is loaded"
_MAX_INSPECTED = 1 << 20  # bytes
_MAX_OPCODES = 10_000

# A bytearray of any size, which a few letters request, is all that torch's reader would allocate unchecked.
_BYTEARRAY = b"\nbytearray\n"
MAX_TENSORS = 20_000  # in a safetensors file

_PREFIXES = ("module.", "_orig_mod.")  # left in the names by DataParallel and by torch.compile


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a torch file of the zip format (.pth, .pt) or a .safetensors file, by name, on the CPU.

    Raises:
        UsageError: it holds something other than tensors by name.
        MissingFileError, UnsafeFileError, CorruptFileError: as `read_file`.
    """
    return tensors_only(read_file(path), str(path))


def plain_name(name: str, known: Container[str]) -> str:
    """The name without the prefixes of wrappers, unless the full name is known.

    >>> plain_name("module._orig_mod.fc.bias", {"fc.bias"})
    'fc.bias'
    """
    while name not in known and name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def read_file(path: PathLike) -> object:
    """What a torch file of the zip format or a .safetensors file holds: tensors (on the CPU) and plain values only.

    The kind of file is determined from its first bytes, not from its name.

    Raises:
        MissingFileError: no such file; the message lists the files of weights that are there.
        UnsafeFileError: a Python pickle, a file of torch before 1.6, a TorchScript program.
        CorruptFileError: damaged, truncated, or not a file of weights at all.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False for a name too long, too
        raise _missing(path)
    with path.open("rb") as file:
        start = file.read(512)
    if _is_safetensors(start, path.stat().st_size):
        return _read_safetensors(path)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if kind := code_kind(path):
        raise UnsafeFileError(f"{path} is {kind}; learnkit does not run code from files", fix=_CONVERT)
    raise CorruptFileError(
        f"{path}: neither a torch file of the zip format nor a safetensors file, or damaged ({len(start)} bytes read)"
        if start
        else f"{path} is empty",
        fix="Fetch or copy the file again.",
    )


def tensors_only(content: object, where: str) -> dict[str, Tensor]:
    """`content` as a state dict: tensors by name, with their numbers in memory."""
    if isinstance(content, dict) and all(isinstance(name, str) for name in content):
        others = [name for name, value in content.items() if not isinstance(value, Tensor)]
        if strange := [name for name, value in content.items() if name not in others and not _is_plain(value)]:
            raise UsageError(
                f"{where}: {strange[:5]} are sparse, quantized, complex or without numbers (on the meta device)",
                expected="plain tensors",
                fix="Save the state dict of the trained float model.",
            )
        if not others and content:
            return dict(content)
        if others:
            kept = [name for name in others if isinstance(content[name], dict)]
            fix = f"Pass the part that holds them, for example weights=checkpoint[{kept[0]!r}]." if kept else ""
            raise UsageError(f"{where}: expected tensors by name, but {others[:5]} are not tensors", fix=fix)
    raise UsageError(
        where, got=type(content).__name__, expected="a dict of tensors by name", fix="Pass model.state_dict()."
    )


def _is_plain(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and not tensor.is_nested
    return is_dense and not (tensor.is_quantized or tensor.is_complex() or tensor.is_meta)


def _missing(path: Path) -> MissingFileError:
    if os.path.isdir(path):
        return MissingFileError(f"{path} is a folder; {_listing(path)}", fix="Pass the path of one file.")
    is_here = os.path.isfile(path.name)
    fix = f"For the file in the working directory pass Path({path.name!r})." if is_here else "Check the path."
    return MissingFileError(f"no file {path}; {_listing(nearest_folder(path))}", fix=fix)


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _SUFFIXES)
    there = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{folder} holds {there or 'no files of weights'}"


def _is_safetensors(start: bytes, size: int) -> bool:
    # Eight bytes of header length, then the header, which is JSON.
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(path, "pt") as file:
            n_tensors = len(file.keys())
        if n_tensors <= MAX_TENSORS:
            return load_file(path)
    except SafetensorError as error:
        raise CorruptFileError(f"{path}: damaged ({error})", fix="Fetch or copy the file again.") from error
    raise CorruptFileError(
        f"{path}: {n_tensors:,} tensors, at most {MAX_TENSORS:,} are read", fix="Fetch or copy the file again."
    )


def _read_zip(path: Path) -> object:
    damaged = CorruptFileError(f"{path}: damaged or truncated", fix="Fetch or copy the file again.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            once = len(set(names)) == len(names)
            intact = stored and once and archive.testzip() is None  # torch.load does not compare the checksums
            pickles = [archive.read(name) for name in names if intact and name.endswith("/data.pkl")]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise damaged from error
    if any(name.endswith("/constants.pkl") for name in names):
        raise UnsafeFileError(f"{path} is a TorchScript program; learnkit does not run code from files", fix=_CONVERT)
    if any(name.endswith("/archive_format") or "sample_inputs/" in name for name in names):
        raise UnsafeFileError(f"{path} is {_PROGRAM}; learnkit does not open it", fix=_SAVE_AGAIN)
    if not any(name.endswith("/data.pkl") for name in names):
        raise CorruptFileError(f"{path}: a zip file, but not one written by torch.save", fix=_SAVE_AGAIN)
    if not intact:
        raise damaged
    unsafe = UnsafeFileError(
        f"{path} holds objects other than tensors; learnkit does not run code from files", fix=_CONVERT
    )
    if any(_BYTEARRAY in content for content in pickles):
        raise unsafe
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise unsafe from error
    except Exception as error:  # the reader fails in many ways on a damaged file
        raise damaged from error


def code_kind(path: Path) -> str:
    """The kind of a file that runs code when it is opened, "" for any other; nothing is run.

    The first and the last megabyte are inspected: in a zip file, they hold the names of its members.
    """
    with path.open("rb") as file:
        start = file.read(_MAX_INSPECTED)
        size = file.seek(0, 2)
        file.seek(max(0, size - _MAX_INSPECTED))
        end = file.read()
    if start.startswith(b"PK"):
        names = start + end
        if b"/constants.pkl" in names:
            return "a TorchScript program"
        if b"/archive_format" in names or b"sample_inputs/" in names:
            return _PROGRAM
        return "a Python pickle in a zip file" if b".pkl" in names or b".joblib" in names else ""
    if start[257:262] == b"ustar" or any(_is_pickle(head) for head in (start, *_unpacked(start))):
        return "a Python pickle"
    return ""


def _unpacked(start: bytes) -> list[bytes]:
    """The beginning of a file compressed as joblib does, at most a megabyte; [] for any other file."""
    readers: tuple[Callable[[], bytes], ...] = (
        lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(start, _MAX_INSPECTED),  # zlib and gzip
        lambda: bz2.BZ2Decompressor().decompress(start, _MAX_INSPECTED),
        lambda: lzma.LZMADecompressor(memlimit=1 << 28).decompress(start, _MAX_INSPECTED),  # xz and the older lzma
    )
    found = []
    for read in readers:
        try:
            found.append(read())
        except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError):
            continue
    return found


def _is_pickle(start: bytes) -> bool:
    """Whether a file with this beginning is a pickle: its opcodes are read, none is run."""
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    stream = io.BytesIO(start)
    try:
        for number, _ in enumerate(pickletools.genops(stream)):  # protocols 0 and 1 have no magic number
            if number == _MAX_OPCODES:
                return True
    except (ValueError, OverflowError, IndexError, KeyError):
        return len(start) == _MAX_INSPECTED and stream.tell() == len(start)  # it continues beyond what was inspected
    return True
