"""Folders as the Hugging Face hub has them: the export, and what the hub and timm read."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from learnkit import Classification
from learnkit.data.image.preprocess import Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.errors import DownloadError, UsageError
from learnkit.persistence.lk.file import open_export
from learnkit.persistence.lk.hub import download, upload, write_folder
from learnkit.persistence.spec import ExportSpec
from tests.doubles import refused

FILES = ["README.md", "config.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path: Path, spec: ExportSpec) -> Path:
    write_folder(tmp_path / "repo", spec)
    return tmp_path / "repo"


@contextmanager
def hub_that(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> Iterator[None]:
    """huggingface_hub with fake functions: no test uses the network."""
    hub = pytest.importorskip("huggingface_hub")
    with monkeypatch.context() as patch:
        for name, function in functions.items():
            patch.setattr(hub, name, function)
        yield


def test_a_folder_holds_the_export_and_two_files_for_others(folder: Path, lk: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert (folder / "model.safetensors").read_bytes() == lk.read_bytes()


def test_the_config_has_the_keys_that_timm_reads(tmp_path: Path, spec: ExportSpec) -> None:
    preprocess = Preprocess(Resize((32, 48), "squish", "bicubic"), Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    write_folder(tmp_path, replace(spec, preprocess=preprocess))
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "architecture": "MyNet", "num_classes": 3, "label_names": ["ant", "bee", "cat"],
        "pretrained_cfg": {
            "num_classes": 3, "input_size": [3, 32, 48], "interpolation": "bicubic", "crop_mode": "squash",
            "crop_pct": 1.0, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
        },
    }  # fmt: skip


def test_images_that_are_not_normalized_have_mean_0_and_std_1(tmp_path: Path, spec: ExportSpec) -> None:
    write_folder(tmp_path, replace(spec, preprocess=Preprocess(Resize((8, 8), "pad"), None, channels=1)))
    config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert (config["mean"], config["std"], config["crop_mode"], config["input_size"]) == ([0], [1], "border", [1, 8, 8])


def test_data_without_images_has_no_size(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"] == {"num_classes": 3}


def test_class_names_cannot_write_into_the_card(tmp_path: Path, spec: ExportSpec) -> None:
    evil = "---\ntags: [x]\n---\n<script>alert(1)</script> [a](javascript:b) `c`"
    training = {"epochs": 3, "metrics": {"accuracy": 0.98765, evil: 1.0}}
    task = Classification((evil, "b", "c"))
    write_folder(tmp_path, replace(spec, task=task, training=training, card="# My words"))
    text = (tmp_path / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "learnkit", "tags": ["learnkit", "classification"], "pipeline_tag": "image-classification",
    }  # fmt: skip
    assert "<script>" not in body
    assert "\n---" not in body
    assert "](" not in body
    assert "- accuracy: 0.9877" in body
    assert "trained for 3 epochs" in body
    assert body.endswith("# My words\n")


def test_a_repository_is_downloaded_without_its_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(folder)

    with hub_that(monkeypatch, snapshot_download=snapshot):
        assert download("ann/birds@v1.0") == folder
    assert asked == [("ann/birds", {"revision": "v1.0", "allow_patterns": ["config.json", "model.safetensors"]})]


def test_a_hub_out_of_reach_is_reported(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("no route to host\nsecond line")

    with hub_that(monkeypatch, snapshot_download=fail, HfApi=fail):
        with pytest.raises(DownloadError, match=r"hf-hub:ann/birds could not .* \(no route to host\)\. Check the"):
            download("ann/birds")
        with pytest.raises(DownloadError, match=r"could not be uploaded to ann/birds \(no route to host\)\. Log in"):
            upload(folder, "ann/birds")


@pytest.mark.parametrize("name", ["birds", "../x/y", "a/b/c", "ann/birds?x", "", "https://evil/x"])
def test_names_that_no_repository_has_are_refused(name: str) -> None:
    with refused("repository", got=name):
        download(name)
    with refused("revision", got="../../x y"):
        download("ann/birds@../../x y")


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
        download("ann/birds")


def test_a_class_that_is_not_utf_8_is_written_and_read(tmp_path: Path, spec: ExportSpec) -> None:
    classes = ("a\udcff", "\x1b[2J", "cat")  # the first is how Python reads the name of a folder that is not UTF-8
    write_folder(tmp_path, replace(spec, task=Classification(classes)))
    assert r"Classes: a\\udcff, \\x1b\[2J, cat" in (tmp_path / "README.md").read_text()
    with open_export(tmp_path / "model.safetensors") as export:
        assert tuple(export.manifest["classes"]) == classes
