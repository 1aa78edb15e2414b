"""Files that run code when they are opened, in every format that torch or pickle has."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["CARRIERS", "carry", "equal"]

CARRIERS = ["pickle", "old pickle", "torch zip", "torch legacy", "torch tar", "pt2"]


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


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether names, types and values are the same."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )
