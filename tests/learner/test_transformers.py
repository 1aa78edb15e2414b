"""Image models of transformers, of random weights and tiny: everything a learner does, and batches that are dicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from learnkit import DataBunch, ImageDataBunch, Learner, cnn_learner, load_learner
from learnkit.callbacks import MixUp
from learnkit.errors import MissingModelError, UsageError
from learnkit.losses import from_outputs
from tests.doubles import refused

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
CLASSES = ["blue", "green", "red"]


def config(kind: str, n: int = 3) -> Any:
    if kind == "ViT":
        return transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
            patch_size=8, num_labels=n,
        )  # fmt: skip
    return transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=n)


def model(kind: str, n: int = 3) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForImageClassification.from_config(config(kind, n))


class Logits(nn.Module):
    """The same model, returning the logits alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(x).logits


BODIES = {"ViT": "vit", "ResNet": "resnet"}
of_every_kind = pytest.mark.parametrize("kind", BODIES)


@pytest.fixture
def dls(class_folder: Path) -> ImageDataBunch:
    return ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0)


def learner(dls: DataBunch, kind: str, **options: Any) -> Learner:
    return Learner(dls, model(kind), output="logits", metrics="accuracy", seed=0, **options)


@of_every_kind
def test_a_learner_does_what_it_does_with_logits_alone(kind: str, dls: ImageDataBunch, tmp_path: Path) -> None:
    ours, theirs = learner(dls, kind, path=tmp_path), Learner(dls, Logits(model(kind)), metrics="accuracy", seed=0)
    for learn in (ours, theirs):
        learn.fit_one_cycle(1, 1e-2, callbacks=MixUp())
    assert ours.recorder.losses == theirs.recorder.losses
    assert ours.validate() == theirs.validate()
    file = dls.samples["input"].iloc[-1]
    assert torch.equal(ours.predict(file).probs, theirs.predict(file).probs)
    for name in ("get_preds", "tta"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(ours, name)(), getattr(theirs, name)(), strict=True))
    assert [one.label for one in ours.predict_many([file] * 2)] == [theirs.predict(file).label] * 2
    interp = ours.interpret()
    assert torch.equal(interp.losses, theirs.interpret().losses)
    assert np.array_equal(interp.grad_cam(0), theirs.interpret().grad_cam(0))
    assert interp.plot_top_losses(4).axes
    assert "<img" in ours.report(tmp_path / "report.html").read_text(encoding="utf-8")


@of_every_kind
def test_the_classifier_is_a_layer_group(kind: str, dls: ImageDataBunch) -> None:
    network = model(kind)
    body, head = getattr(network, BODIES[kind]), network.classifier
    learn = Learner(dls, network, output="logits", metrics="accuracy", seed=0, groups=[body, head], train_bn=False)
    before = {name: value.clone() for name, value in network.named_parameters()}

    def changed() -> set[str]:
        return {name.partition(".")[0] for name, value in network.named_parameters() if not value.equal(before[name])}

    learn.freeze()
    learn.fit(1, 1e-2)
    assert changed() == {"classifier"}
    (loss, _) = learn.validate()
    learn.fit_head(5, 1e-2)
    assert changed() == {"classifier"}
    assert learn.validate()[0] < loss
    learn.unfreeze()
    learn.fit(1, slice(1e-4, 1e-2))
    assert learn.opt is not None
    assert sorted({group["lr"] for group in learn.opt.param_groups}) == [1e-4, 1e-2]
    assert changed() == {"classifier", BODIES[kind]}
    learn.fine_tune(1, 1e-3)
    one = Learner(dls, model(kind), output="logits")
    with pytest.raises(UsageError, match=r"freeze: this model has 1 layer group.*groups="):
        one.freeze()
    assert len(one.split([getattr(one.model, BODIES[kind]), one.model.classifier]).groups) == 2  # type: ignore[list-item]


@of_every_kind
def test_exports_need_the_class(kind: str, dls: ImageDataBunch, tmp_path: Path) -> None:
    learn = learner(dls, kind, path=tmp_path)
    learn.fit(1, 1e-3)
    file = learn.export(tmp_path / "model.lk")
    with pytest.raises(MissingModelError, match=r"pass load_learner\('model.lk', model=\w+ForImageClassification"):
        load_learner(file)
    image = dls.samples["input"].iloc[-1]
    expected = learn.predict(image).probs
    assert torch.equal(load_learner(file, model=model(kind), output="logits").predict(image).probs, expected)


@pytest.mark.slow
@of_every_kind
def test_onnx_files_need_neither(kind: str, dls: ImageDataBunch, tmp_path: Path) -> None:
    learn, image = learner(dls, kind), dls.samples["input"].iloc[-1]
    session = onnxruntime.InferenceSession(learn.export(tmp_path / "model.onnx", to="onnx"))
    (found,) = session.run(None, {session.get_inputs()[0].name: dls.prepare(image).numpy()})
    np.testing.assert_allclose(found[0], learn.predict(image).probs, atol=1e-5)


@of_every_kind
def test_what_is_missing_is_said_in_one_sentence(kind: str, dls: ImageDataBunch) -> None:
    learn = Learner(dls, model(kind))
    with pytest.raises(UsageError, match=r"the model returns an ImageClassifierOutput\w* of logits.*output=\"logits\""):
        learn.fit(1)
    with pytest.raises(UsageError, match=r'expected one tensor\. Pass the learner output="logits"'):
        learn.predict(dls.samples["input"][0])
    with refused("the model returns 2 outputs per item, the data has 3 classes (blue, green, red)"):
        Learner(dls, model(kind, 2), output="logits")
    with pytest.raises(UsageError, match="the whole network to Learner"):
        cnn_learner(dls, model(kind), pretrained=False)


# Batches that are dicts


class Items:
    """A dataset of dicts, as those of Hugging Face are."""

    def __init__(self, dls: ImageDataBunch, split: str) -> None:
        rows = dls.samples[dls.samples["split"] == split]
        self.files, self.labels = rows["input"].tolist(), [CLASSES.index(name) for name in rows["target"]]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"image": Image.open(self.files[i]).convert("RGB"), "label": self.labels[i]}


def collated(items: list[dict[str, Any]]) -> Any:
    """A batch of a processor of transformers: dict-like, not a dict."""
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    batch = processor([item["image"] for item in items], return_tensors="pt")
    batch["labels"] = torch.tensor([item["label"] for item in items])
    return batch


def loaders(dls: ImageDataBunch) -> tuple[Any, Any]:
    train, valid = (
        DataLoader(Items(dls, split), 8, shuffle=split == "train", collate_fn=collated)  # type: ignore[arg-type]
        for split in ("train", "valid")
    )
    return train, valid


def test_batches_of_an_image_processor_train_predict_and_are_reported(dls: ImageDataBunch, tmp_path: Path) -> None:
    bunch = DataBunch.from_loaders(*loaders(dls), inputs="pixel_values", target="labels", classes=CLASSES)
    learn = learner(bunch, "ViT", path=tmp_path)
    learn.fit(4, 1e-2)
    loss, accuracy = learn.validate()
    assert accuracy > 0.6
    preds, targets = learn.get_preds()
    assert targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    x, _ = bunch.one_batch("valid")
    torch.testing.assert_close(learn.predict(x[0]).probs, preds[0])
    assert learn.interpret().confusion_matrix().sum() == 12
    assert learn.report(tmp_path / "report.html").stat().st_size > 0
    with pytest.raises(UsageError, match=r"this bunch holds no images to draw\. Use an ImageDataBunch: .*from_hf"):
        bunch.show_batch()
    assert loss == pytest.approx(nn.functional.nll_loss(preds.log(), targets).item(), rel=1e-4)


def test_the_loss_of_the_model_is_that_of_the_learner(dls: ImageDataBunch) -> None:
    keys: list[Any] = ["pixel_values", ["pixel_values", "labels"]]
    losses: list[Callable[..., Any] | None] = [None, from_outputs]
    learners = []
    for inputs, loss_func in zip(keys, losses, strict=True):
        torch.manual_seed(1)
        bunch = DataBunch.from_loaders(*loaders(dls), inputs=inputs, target="labels", classes=CLASSES)
        learners.append(learner(bunch, "ViT", loss_func=loss_func))
        learners[-1].fit(1, 1e-3)
    assert learners[1].recorder.losses == pytest.approx(learners[0].recorder.losses, rel=1e-5)
    assert learners[1].validate() == pytest.approx(learners[0].validate(), rel=1e-5)
    x, _ = learners[0].dls.one_batch("valid")
    torch.testing.assert_close(learners[1].predict(x[3]).probs, learners[0].predict(x[3]).probs)
