"""Serving: predictions for single items, equal to those of the model, from any number of threads."""

import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.errors import ImageError, UsageError
from learnkit.inference.predictor import Prediction, Predictor
from tests.doubles import refused


class Counting(nn.Module):
    """Keeps the sizes of the batches it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        out: Tensor = self.net(x)
        return out


@pytest.fixture
def learn(blobs: tuple[Tensor, ...]) -> Learner:
    torch.manual_seed(0)
    learn = Learner(DataBunch.from_tensors(*blobs, bs=10, classes=["low", "high"]), Counting(), seed=0)
    learn.fit(3, 1e-1)
    return learn


def test_a_prediction_is_the_output_of_the_model(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    learn.temperature = 2.0
    predictor = learn.predictor()
    learn.temperature = 1.0  # too late for the predictor
    learn.model.eval()
    with torch.no_grad():
        expected = (learn.model(blobs[2]) / 2).softmax(1)
    for x, probs in zip(blobs[2], expected, strict=True):
        label, index, outputs = predictor.predict(x)
        assert label == ["low", "high"][int(probs.argmax())]
        assert index.item() == probs.argmax()
        torch.testing.assert_close(outputs, probs)
        outputs[0] = 1  # an ordinary tensor


def test_further_training_does_not_change_it(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    predictor = learn.predictor()
    before = predictor.predict(blobs[2][0])[2]
    learn.fit(1, 1.0)
    assert torch.equal(predictor.predict(blobs[2][0])[2], before)
    assert not torch.equal(learn.predict(blobs[2][0])[2], before)
    assert not any(module.training for module in predictor.model.modules())
    assert all(p.requires_grad for p in learn.model.parameters())


def test_a_batch_goes_through_the_model_in_chunks(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    predictor = learn.predictor(bs=5)
    predictor.model.sizes.clear()  # type: ignore[operator, union-attr]
    predictions = predictor.predict_batch(list(blobs[2][:12]))
    assert predictor.model.sizes == [5, 5, 2]
    for (label, index, probs), x in zip(predictions, blobs[2], strict=False):
        alone = predictor.predict(x)
        assert (label, index) == alone[:2]
        torch.testing.assert_close(probs, alone[2])
    assert predictor.predict_batch([]) == []


def test_items_may_come_one_by_one(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    predictor = learn.predictor(bs=5)
    expected = [predictor.predict(x)[2] for x in blobs[2][:12]]
    for items in (iter(blobs[2][:12]), blobs[2][:12], blobs[2][:12].numpy(), tuple(blobs[2][:12])):
        predictions = predictor.predict_batch(items)
        torch.testing.assert_close(torch.stack([probs for _, _, probs in predictions]), torch.stack(expected))


def test_it_goes_to_another_process_with_its_temperature(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    learn.temperature = 2.0
    predictor = learn.predictor()
    again = pickle.loads(pickle.dumps(predictor))
    assert torch.equal(again.predict(blobs[2][0])[2], predictor.predict(blobs[2][0])[2])


def test_threads_get_the_predictions_of_a_single_one(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    predictor = learn.predictor()
    items = list(blobs[0]) * 8
    expected = [predictor.predict(item) for item in items]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predictor.predict, items))
    assert [(label, int(index)) for label, index, _ in found] == [(label, int(index)) for label, index, _ in expected]
    assert all(torch.equal(a[2], b[2]) for a, b in zip(found, expected, strict=True))


def test_images_in_every_form_from_several_threads(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4, num_workers=0)
    torch.manual_seed(0)
    learn = Learner(dls, nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)), seed=0)
    expected, _ = learn.get_preds()
    paths = dls.samples.query("split == 'valid'")["input"].tolist()
    items = [
        [path, Path(path), Image.open(path), np.asarray(Image.open(path)), Path(path).read_bytes()] for path in paths
    ]
    predictor = learn.predictor(bs=4)
    with ThreadPoolExecutor(8) as pool:
        for predictions, probs in zip(pool.map(predictor.predict_batch, items), expected, strict=True):
            assert len(predictions) == 5
            for prediction in predictions:
                torch.testing.assert_close(prediction.probs, probs, rtol=0, atol=1e-5)
    with pytest.raises(ImageError):
        predictor.predict(b"not an image")


@pytest.mark.parametrize("num_workers", [1, 3])
def test_an_image_that_cannot_be_read_is_an_error_in_its_place(class_folder: Path, num_workers: int) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=24, bs=8)
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), seed=0)
    (class_folder / "bad.png").write_text("no image")
    files = [class_folder / name for name in ("valid/red/0.png", "bad.png", "valid/blue/0.png", "none.png")]
    files += sorted(class_folder.glob("valid/green/*.png"))
    predictor = learn.predictor(bs=2)
    found = list(predictor.predict_each(files, num_workers=num_workers))
    assert len(found) == len(files)
    for file, one in zip(files, found, strict=True):
        if file.name in ("bad.png", "none.png"):
            assert isinstance(one, ImageError)
            assert file.name in str(one)
        else:
            assert isinstance(one, Prediction)
            expected = predictor.predict(file)
            assert one.label == expected.label
            assert torch.allclose(one.probs, expected.probs, atol=1e-6)


def test_items_are_taken_a_batch_ahead(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    taken = 0

    def items() -> Iterator[Tensor]:
        nonlocal taken
        for x in blobs[2]:
            taken += 1
            yield x

    predictions = learn.predictor(bs=4).predict_each(items())
    assert taken == 0
    next(predictions)
    assert taken == 4
    with refused("num_workers", got=0):
        next(learn.predictor().predict_each(blobs[2], num_workers=0))


def test_invalid_arguments_are_refused(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    for bs in (0, True, 2.0):
        with refused("bs", got=bs):
            learn.predictor(bs=bs)  # type: ignore[arg-type]
    assert learn.dls.task is not None
    predictor = Predictor(nn.Identity(), lambda item: torch.zeros(1, item), torch.sigmoid, learn.dls.task)
    for one in ("cat.jpg", b"bytes", Path("cat.jpg"), Image.new("RGB", (4, 4)), 3):
        with pytest.raises(UsageError, match=r"items: got one .*: expected several items.* use predict"):
            predictor.predict_batch(one)  # type: ignore[arg-type]
    learn.dls.task = None
    with pytest.raises(UsageError, match="predictor"):
        learn.predictor()


def test_a_scripted_model_is_served_too(blobs: tuple[Tensor, ...]) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        learn = Learner(DataBunch.from_tensors(*blobs), torch.jit.script(plain), seed=0)
        predicted = learn.predictor().predict(blobs[2][0])
    assert torch.equal(predicted.probs, plain(blobs[2][:1]).softmax(1)[0])


class Gated(nn.Module):
    """Holds a tensor that is not a parameter and requires a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)
        self.gate = torch.ones(2, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x) * self.gate
        return out


def test_no_prediction_holds_a_graph(blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, classes=["low", "high"])
    item = blobs[2][0].clone().requires_grad_()
    for network in (nn.Linear(2, 2), Gated()):
        predictor = Learner(dls, network, seed=0).predictor()
        with torch.no_grad():
            expected = network(blobs[2][:1]).softmax(1)[0]
        for prediction in (predictor.predict(item), predictor.predict(blobs[2][0]), predictor.predict_batch([item])[0]):
            assert not prediction.probs.requires_grad
            assert torch.equal(prediction.probs, expected)
        assert torch.is_grad_enabled()
        predictor.model.requires_grad_(True)  # by the user, later
        assert not predictor.predict(blobs[2][0]).probs.requires_grad


def test_a_model_that_returns_two_rows_for_one_item_is_an_error(blobs: tuple[Tensor, ...]) -> None:
    twice = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1))
    learn = Learner(DataBunch.from_tensors(*blobs), twice, seed=0)
    for predict in (learn.predict, learn.predictor().predict):
        with pytest.raises(ValueError, match="unpack"):
            predict(blobs[2][0])


def test_items_of_another_type_or_library_are_those_of_the_data(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    predictor, x = learn.predictor(), blobs[2][0]
    expected = predictor.predict(x).probs
    for same in (x.double(), x.numpy(), x.tolist(), nn.Parameter(x.clone())):
        assert torch.equal(predictor.predict(same).probs, expected)
    for wrong in (x[None], x[:1]):
        with refused("item", got=tuple(wrong.shape)):
            predictor.predict(wrong)
