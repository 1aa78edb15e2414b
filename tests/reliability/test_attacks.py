"""Attacks: files that run code, names that point elsewhere, bogus images. Nothing runs, nothing is written.

Where each attack is tested:

==  ==================================================  ===============================================================
 1  a pickle where weights or an export are expected    here, six carriers, every entry point; tests/test_safe_load
 2  a pickle as a checkpoint                            here; tests/reliability/test_resume*, tests/persistence
 3  torch's old formats                                 here; tests/test_safe_load
 4  .pt2                                                here; tests/persistence (export)
 5  a folder of distributed checkpoints                 here: a folder is not a file, its .metadata is not read
 6  names of classes and modules in a manifest          tests/persistence/lk (manifest), tests/models/test_spec
 7  references to other files in an export              tests/persistence/lk (file, manifest)
 8  paths out of names                                  here; tests/persistence/test_weights, tests/callbacks
 9  sizes that are a bomb                               tests/persistence/lk (file, manifest)
10  archives that write elsewhere                       tests/data/test_unpack (tar and zip files)
11  archives that grow                                  tests/data/test_unpack
12  downloads swapped, cut or redirected                tests/data/test_download
13  image bombs, formats that run programs              here; tests/data/image/test_read
14  names in tables                                     tests/data/table/test_from_csv
15  markup in names                                     tests/test_text, tests/interpretation (report)
16  control characters in names, formulas in tables     here; tests/callbacks/test_csv_logger, tests/inference (tables)
17  the name of a TensorBoard run                       tests/callbacks/test_tensorboard
18  YAML                                                learnkit reads no YAML: tests/test_architecture
19  pretrained weights, damaged or missing              tests/models/test_pretrained
20  object collectives                                  tests/test_architecture
21  names of temporary files                            here; tests/persistence/test_weights
22  deleting what a table names                         learnkit deletes nothing that a table names
==  ==================================================  ===============================================================
"""

import contextlib
import importlib.util
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import ImageDataBunch, Learner, LearnkitWarning, cnn_learner
from learnkit.callbacks import CSVLogger, SaveModel
from learnkit.errors import CorruptFileError, ImageError, LearnkitError, UnsafeFileError, UsageError
from learnkit.models.build import build_cnn
from tests.doubles import Bomb

Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]
CARRIERS = ["pickle", "old pickle", "torch zip", "torch legacy", "torch tar", "pt2"]

# Opens each carrier as a careless user would.
VICTIM = """
import pickle, sys, warnings, logging
import torch, torch.export
warnings.simplefilter("ignore")
logging.disable()
for file in sys.argv[1:]:
    try:
        if file.endswith(".pt2"):
            torch.export.load(file)
        elif "torch" in file:
            torch.load(file, weights_only=False)
        else:
            pickle.load(open(file, "rb"))
    except Exception:
        pass  # some fail after the harm is done
"""


def carrier(kind: str, folder: Path) -> tuple[Path, Path]:
    """A file of this kind that makes a folder when it is opened: the file, and that folder."""
    marker = folder / f"ran {kind}"
    bomb, file = Bomb(marker), folder / f"{kind}.pth"
    if kind == "pickle":
        file.write_bytes(pickle.dumps({"weight": bomb}))
    elif kind == "old pickle":
        file.write_bytes(pickle.dumps({"weight": bomb}, 0))
    elif kind == "torch zip":
        torch.save({"weight": bomb}, file)
    elif kind == "torch legacy":
        torch.save({"weight": bomb}, file, _use_new_zipfile_serialization=False)
    elif kind == "torch tar":
        with tarfile.open(file, "w") as archive:  # torch before 0.4 read the members in this order
            for name in ("sys_info", "pickle", "storages", "tensors"):
                content = pickle.dumps(bomb if name in ("sys_info", "storages") else 0, 2)
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        file = folder / "program.pt2"
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in exported_program().items():
                archive.writestr(name, torch_zip(bomb) if "sample_inputs" in name else content)
    return file, marker


def exported_program() -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def torch_zip(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def carriers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("carriers")
    return {kind: carrier(kind, folder) for kind in CARRIERS}


@pytest.mark.slow
def test_every_carrier_is_live(carriers: dict[str, tuple[Path, Path]]) -> None:
    files = [str(file) for file, _ in carriers.values()]
    subprocess.run([sys.executable, "-c", VICTIM, *files], check=True, timeout=120, capture_output=True)
    dead = [kind for kind, (_, marker) in carriers.items() if not marker.exists()]
    assert dead == []
    for _, marker in carriers.values():
        marker.rmdir()


def load(learn: Learner, file: Path) -> None:
    learn.load(file)


def give_weights(learn: Learner, file: Path) -> None:
    build_cnn("resnet18", 2, weights=file)


def resume(learn: Learner, file: Path) -> None:
    learn.fit(1, resume=file)


def resume_folder(learn: Learner, file: Path) -> None:
    """The carrier instead of the checkpoint that the fit would write."""
    learn.fit(1, checkpoint_every=1)
    written = [path for path in (learn.path / learn.model_dir).rglob("*") if path.is_file()]
    assert written
    for path in written:
        path.write_bytes(file.read_bytes())
    learn.counter.n_fits = 0
    learn.fit(1, resume="auto", checkpoint_every=1)


def load_learner(learn: Learner, file: Path) -> None:
    from learnkit.learner.load import load_learner

    load_learner(file)


def load_learner_folder(learn: Learner, file: Path) -> None:
    from learnkit.learner.load import load_learner

    folder = learn.path / "folder"
    folder.mkdir()
    for name in ("config.json", "manifest.json", "model.safetensors", "weights.safetensors", ".metadata"):
        (folder / name).write_bytes(file.read_bytes())
    load_learner(folder)


def exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


WAYS = [load, give_weights]
WAYS += [load_learner, load_learner_folder] if exists("learnkit.learner.load") else []
WAYS += [resume, resume_folder] if exists("learnkit.learner.resume") else []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", CARRIERS)
def test_no_entry_point_runs_a_file(
    kind: str,
    way: Callable[[Learner, Path], None],
    carriers: dict[str, tuple[Path, Path]],
    learner: Callable[..., Learner],
) -> None:
    file, marker = carriers[kind]
    with pytest.raises(LearnkitError):
        way(learner(), file)
    assert not marker.exists()


def test_a_distributed_checkpoint_folder_is_not_loaded(learner: Callable[..., Learner], tmp_path: Path) -> None:
    folder, marker = tmp_path / "checkpoint", tmp_path / "ran"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(LearnkitError, match="checkpoint"):
        learner().load(folder)
    assert not marker.exists()


# Names that are paths.

NAMES = ["../../x", "a/b", "a\\b", "..", ".", "", "a\0b", "x" * 300, "a\nb", "\x1b[2J", " ", "con:", "~", "$HOME"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_are_not_paths(name: str, learner: Callable[..., Learner], tmp_path: Path, refused: Refusal) -> None:
    learn = learner()
    before = set(tmp_path.parent.iterdir())
    for use in (learn.save, learn.load, lambda name: SaveModel(name=name)):
        with refused(ValueError, "file name: got", repr(name)[1:20]):
            use(name)
    assert not list(tmp_path.iterdir())
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["../../x.csv", "a\0b.csv", "x" * 300 + ".csv", "../x.csv", ""])
def test_a_log_file_stays_in_the_model_folder(name: str, refused: Refusal) -> None:
    with refused(ValueError, "filename: got"):
        CSVLogger(name)


# Names that steer a terminal, or look like log lines.

EVIL = ["\x1b[2J", "a\nERROR learnkit", "\r", "\x07", "a\u202egnp", "\x9b31m"]


def is_plain(text: str) -> bool:
    return all(character.isprintable() for character in text)


@pytest.mark.parametrize("name", EVIL, ids=repr)
def test_errors_and_warnings_escape_hostile_names(name: str, tree: Tree, tmp_path: Path) -> None:
    root = tree(["ant", name])
    bad = root / "train" / name / f"{name}.png"
    bad.write_bytes(b"none")
    dls = ImageDataBunch.from_folder(root, size=16, bs=2)
    with pytest.raises(ImageError) as image:
        list(dls.fix_dl)
    assert is_plain(str(image.value))
    with pytest.raises(LearnkitError) as folder:
        ImageDataBunch.from_folder(root / name)
    assert is_plain(str(folder.value))
    with pytest.warns(LearnkitWarning) as warned:
        ImageDataBunch.from_folder(root, size=16, bs=2, on_error="skip")
    assert all(is_plain(line) for warning in warned for line in str(warning.message).split("\n"))
    assert all(line.startswith(("1 of", "  ")) for line in str(warned[0].message).split("\n"))
    for file in (root / "valid" / name).iterdir():
        file.unlink()
    with pytest.warns(LearnkitWarning, match="no validation item") as warned:
        dls = ImageDataBunch.from_folder(root, size=16, bs=2)
    assert all(is_plain(str(warning.message)) for warning in warned)
    assert all(is_plain(line) for line in str(dls.summary()).split("\n"))
    assert "ERROR" not in str(dls.summary()) or "\\nERROR" in str(dls.summary())


def test_an_error_with_a_non_utf8_name_can_be_logged(tree: Tree) -> None:
    root = tree()
    bad = os.path.join(os.fsencode(root / "train" / "ant"), b"\xff\xfe.png")
    with open(bad, "wb") as file:
        file.write(b"none")
    with pytest.raises(ImageError) as caught:
        list(ImageDataBunch.from_folder(root, size=16, bs=2).fix_dl)
    assert "\\udcff" in str(caught.value)
    str(caught.value).encode("utf-8")


# Images.


def png_of(side: int, file: Path) -> None:
    """A valid PNG of side x side black pixels, a thousandth of that in bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer, row = zlib.compressobj(9), bytes(1 + side // 8)
    lines = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))


def test_a_900_megapixel_image_is_refused_before_decoding(tree: Tree) -> None:
    root = tree()
    bomb = root / "train" / "ant" / "0.png"
    png_of(30_000, bomb)
    assert bomb.stat().st_size < 300_000
    before = resident()
    with pytest.raises(ImageError, match=r"0\.png .*is too large .*900000000|0\.png .*is too large .*30000 x 30000"):
        list(ImageDataBunch.from_folder(root, size=16, bs=2).fix_dl)
    assert resident() - before < 50_000_000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(ran) (w) file closefile\nshowpage\n%%EOF\n"
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(12) + bytes(2 + 3 * 64)


@pytest.mark.parametrize(
    "content", [EPS, PSD, b"%PDF-1.4\n", b"SIMPLE  =                    T"], ids=["eps", "psd", "pdf", "fits"]
)
def test_an_unsupported_format_is_refused_under_another_extension(content: bytes, tree: Tree) -> None:
    root = tree()
    (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / "0.jpg")
    (root / "train" / "ant" / "0.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"0\.jpg .*cannot be read as an image"):
        list(ImageDataBunch.from_folder(root, size=16, bs=2).fix_dl)
    with contextlib.suppress(OSError):  # what Pillow itself does with it
        Image.open(root / "train" / "ant" / "0.jpg").close()
    assert not Path("ran").exists()


def test_a_planted_symlink_is_not_followed(learner: Callable[..., Learner], tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    models = tmp_path / "models"
    models.mkdir()
    for name in ("a.pth", "a.pth.tmp", "a.pth.part", ".a.pth.partial", ".a.pth", "a.tmp", "tmp"):
        (models / name).symlink_to(precious)
    path = learner().save("a")
    assert precious.read_bytes() == b"precious"
    assert not path.is_symlink()
    assert torch.load(path, weights_only=True).keys() == {"model", "opt"}


def test_weights_by_name_cannot_escape(tree: Tree) -> None:
    dls = ImageDataBunch.from_folder(tree(), size=32, bs=2)
    for name in ("../../../etc/passwd", "/etc/passwd", "http://127.0.0.1/w.pth"):
        with pytest.raises(LearnkitError):
            cnn_learner(dls, "resnet18", weights=name)
    with pytest.raises(UsageError):
        cnn_learner(dls, "os.system", pretrained=False)


def test_a_small_file_that_allocates_much_memory_is_refused(tmp_path: Path, learner: Callable[..., Learner]) -> None:
    file = tmp_path / "a.pth"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}X\x01\x00\x00\x00wcbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85Rs.")
        archive.writestr("a/byteorder", "little")
    with pytest.raises(UnsafeFileError, match="objects other than tensors"):
        learner().load(file)


def test_a_torch_file_with_duplicate_members_is_refused(tmp_path: Path, learner: Callable[..., Learner]) -> None:
    file = learner().save(tmp_path / "a.pth")
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name, pickle.dumps({"weight": Bomb(tmp_path / "ran")}, 2))
    with pytest.raises(CorruptFileError, match="damaged"):
        learner().load(file)
    assert not (tmp_path / "ran").exists()


def test_a_header_with_100_000_tensors_is_refused(tmp_path: Path, learner: Callable[..., Learner]) -> None:
    row = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"t{number}": row for number in range(100_000)}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CorruptFileError, match="100,000 tensors, at most 20,000"):
        learner().load(tmp_path / "a.safetensors")
