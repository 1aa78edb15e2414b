"""Folders as the Hugging Face hub has them, read with the checks of a file."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import CorruptFileError, DownloadError, MissingFileError, UsageError
from learnkit.persistence.lk.file import built_model
from learnkit.persistence.lk.hub import fetched, open_folder, upload, write_folder
from learnkit.persistence.lk.manifest import sealed
from learnkit.persistence.lk.schema import Inputs, written_inputs

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path: Path, net: nn.Module, manifest: dict[str, Any]) -> Path:
    write_folder(tmp_path / "repo", manifest, net)
    return tmp_path / "repo"


@contextmanager
def hub_that(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> Iterator[None]:
    """huggingface_hub with other functions: no test asks the network."""
    hub = pytest.importorskip("huggingface_hub")
    with monkeypatch.context() as patch:
        for name, function in functions.items():
            patch.setattr(hub, name, function)
        yield


def test_a_folder_comes_back(folder: Path, net: nn.Module) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    with open_folder(folder) as export:
        again = built_model(export, type(net)())
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), net.state_dict().values(), strict=True))
    assert safetensors.torch.load_file(folder / "model.safetensors").keys() == net.state_dict().keys()


def test_the_config_has_the_keys_that_timm_reads(tmp_path: Path, net: nn.Module, manifest: dict[str, Any]) -> None:
    preprocess = Preprocess(Resize((32, 48), "squish", "bicubic"), Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    write_folder(tmp_path, manifest | {"transforms": written_inputs(Inputs(preprocess, None))}, net)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["architecture"], config["num_classes"], config["label_names"]) == ("MyNet", 3, ["ant", "bee", "cat"])
    assert config["pretrained_cfg"] == {
        "num_classes": 3, "input_size": [3, 32, 48], "interpolation": "bicubic", "crop_mode": "squash", "crop_pct": 1.0,
        "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
    }  # fmt: skip


def test_class_names_cannot_write_into_the_card(tmp_path: Path, net: nn.Module, manifest: dict[str, Any]) -> None:
    evil = "---\ntags: [x]\n---\n<script>alert(1)</script> [a](javascript:b) `c`"
    training = {"epochs": 3, "metrics": {"accuracy": 0.98765, evil: 1.0}}
    write_folder(tmp_path, manifest | {"classes": [evil, "b", "c"], "training": training, "card": "# My words"}, net)
    text = (tmp_path / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "learnkit", "tags": ["learnkit", "classification"], "pipeline_tag": "image-classification",
    }  # fmt: skip
    assert "<script>" not in body
    assert "\n---" not in body
    assert "](" not in body
    assert "- accuracy: 0.9877" in body
    assert body.endswith("# My words\n")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_files_are_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingFileError, match=f"no file .*{name}"), open_folder(folder):
        pass


def test_changes_are_found(folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        path = folder / name
        content = path.read_bytes()
        for at in (len(content) // 3, len(content) - 2):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            if name == "model.safetensors" or json_changed(content, path.read_bytes()):
                with pytest.raises(CorruptFileError), open_folder(folder):
                    pass
        path.write_bytes(content[:-1])
        with pytest.raises(CorruptFileError), open_folder(folder):
            pass
        path.write_bytes(content)


def json_changed(old: bytes, new: bytes) -> bool:
    """Whether a change in a config is one of the manifest."""
    try:
        return bool(json.loads(old)["learnkit"] != json.loads(new)["learnkit"])
    except ValueError:
        return True


def test_weights_cannot_be_taken_from_elsewhere(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["learnkit"]["weights"]["file"] = "../../etc/passwd"
    config["learnkit"] = json.loads(sealed(config["learnkit"]))
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptFileError, match=r"weights file: got '\.\./\.\./etc/passwd', exp"), open_folder(folder):
        pass


@pytest.mark.parametrize("config", ["{}", "[]", '{"architecture": "resnet18"}', '{"learnkit": 3}'])
def test_configs_of_something_else_are_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(CorruptFileError), open_folder(folder):
        pass


def test_the_digest_is_that_of_the_config(folder: Path) -> None:
    right = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    with open_folder(folder, right):
        pass
    with (
        pytest.raises(CorruptFileError, match=r"config\.json is not the file that is wanted"),
        open_folder(folder, "0"),
    ):
        pass


def test_a_repository_is_fetched_without_its_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(folder)

    with hub_that(monkeypatch, snapshot_download=snapshot):
        assert fetched("ann/birds@v1.0") == folder
    assert asked == [("ann/birds", {"revision": "v1.0", "allow_patterns": ["config.json", "model.safetensors"]})]


def test_a_hub_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("no route to host\nsecond line")

    with hub_that(monkeypatch, snapshot_download=fail, HfApi=fail):
        with pytest.raises(DownloadError, match=r"hf-hub:ann/birds could not be fetched .*\(no route to host\)\. Look"):
            fetched("ann/birds")
        with pytest.raises(DownloadError, match=r"could not be uploaded to ann/birds \(no route to host\)\. Log in"):
            upload(folder, "ann/birds")


@pytest.mark.parametrize("name", ["birds", "../x/y", "a/b/c", "ann/birds?x", "", "https://evil/x", "a/b@../../x y"])
def test_names_that_no_repository_has_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"the re(pository|vision): got"):
        fetched(name)


def test_an_upload_sends_the_three_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Api:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            sent.append((name, exist_ok))

        def upload_folder(self, **options: Any) -> None:
            sent.append(options)

    with hub_that(monkeypatch, HfApi=Api):
        upload(folder, "ann/birds")
    assert sent[0] == ("ann/birds", True)
    assert sorted(sent[1]["allow_patterns"]) == FILES
    assert sent[1]["folder_path"] == str(folder)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r'pip install "learnkit\[hub\]"'):
        fetched("ann/birds")


def test_bytes_behind_the_weights_are_refused(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"PK")
    with pytest.raises(CorruptFileError, match=r"its config\.json says"), open_folder(folder):
        pass


def test_a_class_of_bytes_that_are_no_text_is_written_and_read(
    tmp_path: Path, net: nn.Module, manifest: dict[str, Any]
) -> None:
    classes = ["a\udcff", "\x1b[2J", "cat"]  # the first is how Python reads the name of a folder that is no UTF-8
    write_folder(tmp_path, manifest | {"classes": classes}, net)
    assert r"Classes: a\\udcff, \\x1b\[2J, cat" in (tmp_path / "README.md").read_text()
    with open_folder(tmp_path) as export:
        assert export.manifest["classes"] == classes
