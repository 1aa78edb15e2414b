"""The code of docs/data.md and docs/models.md about Hugging Face runs as it stands, on small data."""

import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from learnkit import DataBunch, ImageDataBunch, Learner

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
DOCS = Path(__file__).parents[2] / "docs"
CLASSES = ["blue", "green", "red"]


def code(page: str, name: str) -> str:
    (found,) = re.findall(rf"<!-- tested: {name} -->\n```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S)
    return str(found)


@pytest.fixture
def tables(class_folder: Path) -> datasets.DatasetDict:
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=CLASSES))
    found = datasets.DatasetDict()
    for key, split in (("train", "train"), ("test", "valid")):
        files = sorted(map(str, (class_folder / split).rglob("*.png")))
        rows = {"image": files, "label": [Path(file).parent.name for file in files]}
        found[key] = datasets.Dataset.from_dict(rows, features=features)
    return found


def vit() -> Any:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, num_labels=3
    )
    return transformers.AutoModelForImageClassification.from_config(config)


@pytest.mark.slow
def test_a_dataset_is_drawn_trained_and_reported(
    tables: datasets.DatasetDict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda name: tables)
    names: dict[str, Any] = {}
    exec(code("data.md", "hugging face"), names)
    dls = names["dls"]
    assert isinstance(dls, ImageDataBunch)
    assert [len(one) for one in (dls.train_ds, dls.valid_ds, dls.test_ds)] == [20, 4, 12]
    assert dls.classes == CLASSES
    assert "<img" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_model_of_transformers_is_trained(tables: datasets.DatasetDict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        transformers.AutoModelForImageClassification, "from_pretrained", lambda name, **options: vit(), raising=True
    )
    names: dict[str, Any] = {"dls": ImageDataBunch.from_hf(tables, size=32, bs=5)}
    exec(code("models.md", "transformers"), names)
    assert [len(list(group.parameters())) > 0 for group in names["learn"].groups] == [True, True]


def test_dict_batches_are_trained_on(tables: datasets.DatasetDict) -> None:
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})

    def collated(items: list[dict[str, Any]]) -> Any:
        batch = processor([item["image"] for item in items], return_tensors="pt")
        batch["labels"] = torch.tensor([item["label"] for item in items])
        return batch

    train, valid = (DataLoader(tables[key], 4, collate_fn=collated) for key in ("train", "test"))  # type: ignore[arg-type, var-annotated]
    image = Image.new("RGB", (40, 32))
    names: dict[str, Any] = {
        "train_dl": train, "valid_dl": valid, "classes": CLASSES, "model": vit(), "processor": processor,
        "image": image, "Learner": Learner,
    }  # fmt: skip
    exec(code("models.md", "dict batches"), names)
    assert isinstance(names["dls"], DataBunch)
    names["learn"].fit(1, 1e-4)
    assert names["learn"].validate()[0] > 0
