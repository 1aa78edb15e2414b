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

__all__ = ["MAX_TENSORS", "code_in", "plain_name", "read_file", "read_weights", "tensors_only"]

_SUFFIXES = {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}
_SAVE_AGAIN = "Save its tensors with torch.save(model.state_dict(), file)."
_CONVERT = (
    "Convert it, only if you trust where it is from: `learnkit convert FILE OUT.safetensors --i-trust-this-file`."
)

_PROGRAM = "a torch.export archive, which runs code when it is loaded"
_LOOKED_AT = 1 << 20  # bytes
_OPCODES = 10_000

# A bytearray of any size, which a few letters ask for, is all that torch's reader would take memory for unseen.
_BYTEARRAY = b"\nbytearray\n"
MAX_TENSORS = 20_000  # in a safetensors file

_PREFIXES = ("module.", "_orig_mod.")  # left in the names by DataParallel and by torch.compile


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """The tensors of a torch file of the zip format (.pth, .pt) or a .safetensors file, by name, on the CPU.

    Raises:
        UsageError: it holds something else than tensors by name.
        MissingFileError, UnsafeFileError, CorruptFileError: as `read_file`.
    """
    return tensors_only(read_file(path), str(path))


def plain_name(name: str, known: Container[str]) -> str:
    """The name without the prefixes that wrappers put before it, unless it is known as it is.

    >>> plain_name("module._orig_mod.fc.bias", {"fc.bias"})
    'fc.bias'
    """
    while name not in known and name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def read_file(path: PathLike) -> object:
    """What a torch file of the zip format or a .safetensors file holds: tensors (on the CPU) and plain values only.

    What the file is, is read off its first bytes, not off its name.

    Raises:
        MissingFileError: no file there; the message lists the files of weights that are.
        UnsafeFileError: a Python pickle, a file of torch before 1.6, a TorchScript program.
        CorruptFileError: damaged, cut short, or no file of weights at all.
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
    if kind := code_in(path):
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
                fix="Save the state dict of the model as it is trained.",
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
    return MissingFileError(f"no file {path}; {_listing(nearest_folder(path))}", fix="Check the path.")


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
    damaged = CorruptFileError(f"{path}: damaged or cut short", fix="Fetch or copy the file again.")
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
    except Exception as error:  # the reader fails in many ways on a broken file
        raise damaged from error


def code_in(path: Path) -> str:
    """What kind of file that runs code when it is opened this is, "" if it is none that is known; nothing is run.

    The first and the last megabyte are looked at: of a zip file the names of its members stand there.
    """
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
        size = file.seek(0, 2)
        file.seek(max(0, size - _LOOKED_AT))
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
    """The beginning of a file compressed in a way that joblib does, at most a megabyte; [] of another file."""
    readers: tuple[Callable[[], bytes], ...] = (
        lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(start, _LOOKED_AT),  # zlib and gzip
        lambda: bz2.BZ2Decompressor().decompress(start, _LOOKED_AT),
        lambda: lzma.LZMADecompressor(memlimit=1 << 28).decompress(start, _LOOKED_AT),  # xz and the older lzma
    )
    found = []
    for read in readers:
        try:
            found.append(read())
        except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError):
            continue
    return found


def _is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is a pickle, found by reading its opcodes, which runs none of them."""
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    stream = io.BytesIO(start)
    try:
        for number, _ in enumerate(pickletools.genops(stream)):  # protocols 0 and 1 have no mark of their own
            if number == _OPCODES:
                return True
    except (ValueError, OverflowError, IndexError, KeyError):
        return len(start) == _LOOKED_AT and stream.tell() == len(start)  # it goes on where nobody looked
    return True
