"""Predictions gathered and streamed: order, memory given, temperature, sets without labels, and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import DataBunch, DatasetType, ImageDataBunch, Learner
from learnkit.errors import DataError, ImageError, UsageError
from learnkit.tree import cut, leaves
from tests.doubles import refused


def raw_of(learn: Learner, x: Tensor) -> Tensor:
    learn.model.eval()
    with torch.no_grad():
        raw: Tensor = learn.model(x)
    learn.model.train()
    return raw


def test_a_stream_yields_the_batches_of_get_preds(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    raw = raw_of(learn, blobs[2])
    parts = list(learn.predict_iter(with_loss=True))
    assert [len(preds) for preds, _, _ in parts] == [10, 10, 10, 2]
    preds, targets, losses = (torch.cat(column) for column in zip(*parts, strict=True))
    torch.testing.assert_close(preds, raw.softmax(1))
    assert torch.equal(targets, blobs[3])
    torch.testing.assert_close(losses, F.cross_entropy(raw, blobs[3], reduction="none"))
    ((raw_part, _),) = learn.predict_iter(activ=nn.Identity(), n_batch=1)
    torch.testing.assert_close(raw_part, raw[:10])


def test_a_dataset_of_bare_inputs_is_a_set_without_labels(blobs: tuple[Tensor, ...]) -> None:
    class Bare(Dataset[Tensor]):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> Tensor:
            return blobs[2][index]

    train, valid = TensorDataset(blobs[0], blobs[1]), TensorDataset(blobs[2], blobs[3])
    dls = DataBunch.from_datasets(train, valid, Bare(), bs=4, classes=["a", "b"])
    learn = Learner(dls, nn.Linear(2, 2), seed=0)
    preds, targets = learn.get_preds(DatasetType.Test)
    torch.testing.assert_close(preds, raw_of(learn, blobs[2][:7]).softmax(1))
    assert targets is None


# Memory of the caller


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_predictions_reach_a_file_in_any_float_type(learn: Learner, dtype: Any, tmp_path: Path) -> None:
    out = np.lib.format.open_memmap(tmp_path / "preds.npy", mode="w+", dtype=dtype, shape=(32, 2))
    preds, _ = learn.get_preds(out=out)
    assert preds.data_ptr() == out.ctypes.data
    expected = learn.get_preds()[0].numpy().astype(dtype)
    assert np.array_equal(np.load(tmp_path / "preds.npy"), expected)


def test_the_tensor_to_write_to_may_require_gradients(learn: Learner) -> None:
    out = torch.zeros(32, 2, requires_grad=True)
    learn.get_preds(out=out)
    assert torch.equal(out, learn.get_preds()[0])


def test_a_few_batches_fit_a_smaller_array(learn: Learner) -> None:
    out = torch.empty(20, 2)
    preds, targets = learn.get_preds(n_batch=2, out=out)
    assert preds is out
    assert len(targets) == 20
    assert torch.equal(out, learn.get_preds()[0][:20])
    with pytest.raises(UsageError, match="20 rows"):
        learn.get_preds(n_batch=2, out=torch.empty(32, 2))


def test_an_unsuitable_array_is_refused_before_anything_is_computed(learn: Learner) -> None:
    seen: list[Tensor] = []
    learn.model.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    read_only = np.zeros((32, 2), np.float32)
    read_only.flags.writeable = False
    for out in (read_only, np.zeros((32, 2), np.int32), np.zeros((31, 2), np.float32), torch.empty(33, 2)):
        with pytest.raises(UsageError, match="out"):
            learn.get_preds(out=out)
    assert not seen


def test_the_training_loader_means_the_training_set_in_order(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    preds, targets = learn.get_preds(learn.dls.train_dl)
    torch.testing.assert_close(preds, raw_of(learn, blobs[0]).softmax(1))
    assert torch.equal(targets, blobs[1])
    assert learn.validate(learn.dls.train_dl) == learn.validate(DatasetType.Fix)


def test_any_other_shuffled_loader_has_as_many_rows_as_it_yields(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    preds, targets = learn.get_preds(DataBunch.from_tensors(*blobs, bs=10).train_dl)
    assert len(preds) == len(targets) == 60  # 64 items in batches of 10, the short one left out


@pytest.mark.parametrize("source", ["vaild", None, 7, True, 3.5, TensorDataset(torch.zeros(4, 2))])
def test_neither_a_part_of_the_data_nor_a_loader_is_refused(learn: Learner, source: Any) -> None:
    asked = [learn.get_preds, learn.predict_iter, learn.pred_batch, learn.tta, learn.show_results, learn.mc_dropout]
    asked += [learn.interpret, learn.calibrate, learn.fit_thresholds]
    for ask in asked:
        with refused("ds_type", got=source):
            ask(source)  # type: ignore[operator]
    with refused("ds_type", got=source):
        learn.report("page.html", source)
    if source is not None:
        with refused("dl", got=source):
            learn.validate(source)


@pytest.mark.parametrize(
    ("name", "part"), [("train", DatasetType.Train), ("valid", DatasetType.Valid), ("test", DatasetType.Test)]
)
def test_a_part_of_the_data_may_be_named(learn: Learner, name: Any, part: DatasetType) -> None:
    expected = learn.get_preds(part)[0]
    assert torch.equal(learn.get_preds(name)[0], expected)
    assert torch.equal(learn.pred_batch(name), expected[:10])
    assert torch.equal(torch.cat([preds for preds, _ in learn.predict_iter(name)]), expected)
    assert torch.equal(learn.mc_dropout(name, n=2).mean, learn.mc_dropout(part, n=2).mean)
    if name != "test":  # which has no labels
        assert learn.validate(name) == learn.validate(part)
        assert torch.equal(learn.interpret(name).probs, expected)
        assert learn.calibrate(name) == learn.calibrate(part)


@pytest.mark.parametrize("targets", [("a.jpg", "b.jpg"), {"y": "a.jpg"}])
def test_targets_without_a_tensor_are_refused(learn: Learner, blobs: tuple[Tensor, ...], targets: Any) -> None:
    with refused("targets, the last element of a batch", DataError, got=type(targets).__name__):
        learn.get_preds([(blobs[2][:2], targets)])
    assert learn.get_preds([(blobs[2][:2], None)])[1] is None
    assert learn.get_preds([(blobs[2][:2], [0, 1])])[1].tolist() == [0, 1]


def test_several_targets_are_returned_as_the_batches_hold_them(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    x, y = blobs[2][:3], blobs[3][:3]
    for columns in ((y, -y), {"y": y, "other": -y}):
        batches = [(x[i : i + 2], cut(columns, i, i + 2, 3)) for i in (0, 2)]
        _, targets = learn.get_preds(batches)
        assert type(targets) is type(columns)
        assert [tensor.tolist() for tensor in leaves(targets)] == [y.tolist(), (-y).tolist()]
    boxes = [torch.zeros(3, 4), torch.ones(1, 4), torch.full((5, 4), 2.0)]  # of each item
    _, targets = learn.get_preds([(x[:2], boxes[:2]), (x[2:], boxes[2:])])
    assert [tuple(each.shape) for each in targets] == [(3, 4), (1, 4), (5, 4)]


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_a_model_of_several_outputs_needs_an_activation_that_makes_one_of_them(
    blobs: tuple[Tensor, ...], kind: Any
) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Any:
            return kind({0: self.layer(x), 1: x}.items()) if kind is dict else kind([self.layer(x), x])

    learn = Learner(DataBunch.from_tensors(*blobs, bs=10), Several(), loss_func=F.cross_entropy, seed=0)
    asked: list[Any] = [learn.get_preds, lambda: learn.predict(blobs[2][0])]
    asked += [lambda: learn.predictor().predict(blobs[2][0]), lambda: learn.get_preds(activ=nn.Identity())]
    for ask in asked:
        with pytest.raises(UsageError, match=f"the model's outputs, activated: got '{kind.__name__}'"):
            ask()
    learn.activation = lambda outputs: outputs[0].softmax(1)
    preds, _ = learn.get_preds()
    torch.testing.assert_close(learn.predict(blobs[2][0])[2], preds[0])
    torch.testing.assert_close(learn.predictor().predict(blobs[2][0])[2], preds[0])


def test_a_falsy_activation_is_still_used(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    preds, _ = learn.get_preds(activ=nn.Sequential())  # len() of it is 0
    torch.testing.assert_close(preds, raw_of(learn, blobs[2]))


@pytest.mark.parametrize("n_batch", [None, 1, 2, 9])
def test_loaders_of_any_kind(learn: Learner, blobs: tuple[Tensor, ...], n_batch: int | None) -> None:
    set_ = TensorDataset(blobs[2], blobs[3])
    batches = [(blobs[2][:12], blobs[3][:12]), (blobs[2][12:], blobs[3][12:])]

    class Lazy:
        def __iter__(self) -> Iterator[Any]:
            return iter(batches)

    short, whole = DataLoader(set_, 12), DataLoader(set_, 12, drop_last=True)
    expected = raw_of(learn, blobs[2]).softmax(1)
    for loader, sizes in ((short, [12, 12, 8]), (whole, [12, 12]), (batches, [12, 20]), (Lazy(), [12, 20])):
        preds, targets = learn.get_preds(loader, n_batch=n_batch)
        n = sum(sizes[:n_batch])
        assert len(preds) == n
        torch.testing.assert_close(preds, expected[:n])
        assert torch.equal(targets, blobs[3][:n])


def test_no_more_batches_are_read_than_requested(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    def batches() -> Iterator[Any]:
        yield blobs[2][:3], blobs[3][:3]
        raise AssertionError("a second batch was read")

    assert len(learn.get_preds(batches(), n_batch=1)[0]) == 3
    assert len(learn.pred_batch(batches())) == 3


@pytest.mark.parametrize("n_batch", [0, -1, True, 1.5])
def test_an_invalid_number_of_batches_is_refused(learn: Learner, n_batch: Any) -> None:
    with pytest.raises(UsageError, match="n_batch"):
        learn.get_preds(n_batch=n_batch)


def test_an_empty_loader_is_refused(learn: Learner) -> None:
    with pytest.raises(DataError, match="no items"):
        learn.get_preds([])
    assert list(learn.predict_iter([])) == []


# Temperature


def test_temperature_divides_raw_outputs_except_in_losses(learn: Learner, blobs: tuple[Tensor, ...]) -> None:
    raw, before = raw_of(learn, blobs[2]), learn.get_preds(with_loss=True)[2]
    learn.temperature = 3.0
    expected = (raw / 3).softmax(1)
    preds, _, losses = learn.get_preds(with_loss=True)
    torch.testing.assert_close(preds, expected)
    assert torch.equal(losses, before)
    torch.testing.assert_close(learn.predict(blobs[2][4])[2], expected[4])
    torch.testing.assert_close(next(learn.predict_iter())[0], expected[:10])
    torch.testing.assert_close(learn.pred_batch(), expected[:10])
    torch.testing.assert_close(learn.activate(raw), expected)
    torch.testing.assert_close(learn.get_preds(activ=nn.Identity())[0], raw)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), True, "2", None])
def test_an_invalid_temperature_is_refused(learn: Learner, value: Any) -> None:
    with pytest.raises(UsageError, match="temperature"):
        learn.temperature = value
    assert learn.temperature == 1.0


class Sizes(nn.Module):
    """Keeps the sizes of the batches it gets; flattens images of any size to their mean color."""

    def __init__(self, n_in: int = 3) -> None:
        super().__init__()
        self.net, self.sizes = nn.Linear(n_in, 3), []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        out: Tensor = self.net(x.flatten(2).mean(2) if x.ndim > 2 else x)
        return out


def test_many_items_are_predicted_as_each_alone_in_batches(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=4)
    learn = Learner(dls, Sizes(), seed=0)
    path = dls.samples["input"].tolist()
    image = Image.open(path[3])
    items = [
        *path[:4], Path(path[4]), image, np.asarray(image), Path(path[5]).read_bytes(), Image.new("L", (40, 9)),
        np.zeros((9, 50, 3), np.uint8), torch.zeros(3, 7, 7, dtype=torch.uint8),
    ]  # fmt: skip
    expected = [learn.predict(item) for item in items]
    for given in (items, iter(items)):
        learn.model.sizes.clear()  # type: ignore[operator, union-attr]
        found = learn.predict_many(given, bs=4)
        assert learn.model.sizes == [4, 4, 3]
        assert [(one.label, one.index) for one in found] == [(one.label, one.index) for one in expected]
        for one, alone in zip(found, expected, strict=True):
            torch.testing.assert_close(one.probs, alone.probs)
    assert learn.predict_many([]) == []
    assert len(learn.predict_many(dls.samples)) == len(path)
    with pytest.raises(ImageError, match="item 2: "):
        learn.predict_many([path[0], path[1], b"no image", path[2]])
    for one in (path[0], Path(path[0]), image, np.asarray(image), torch.zeros(3, 4, 4), class_folder):
        with pytest.raises(UsageError, match="items: got "):
            learn.predict_many(one)
    with pytest.raises(UsageError, match="bs: got 0"):
        learn.predict_many(items, bs=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: DataBunch.from_tensors(x, y, x, y, bs=4, classes=["a", "b", "c"]),
        lambda x, y: DataBunch.from_datasets(TensorDataset(x, y), bs=4, classes=["a", "b", "c"]),
    ],
)
def test_many_tensors_are_predicted_alike(make: Any) -> None:
    x, y = torch.randn(9, 5), torch.tensor([0, 1, 2] * 3)
    learn = Learner(make(x, y), Sizes(5), seed=0)
    expected = torch.stack([learn.predict(row).probs for row in x])
    for items in (x, list(x), x.numpy(), iter(x), x.tolist()):
        torch.testing.assert_close(torch.stack([one.probs for one in learn.predict_many(items, bs=4)]), expected)


def test_items_of_other_shapes_are_predicted_in_batches_of_their_own() -> None:
    dls = DataBunch.from_loaders([(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))], classes=["a", "b", "c"])
    learn = Learner(dls, Sizes(), seed=0)
    items = [torch.rand(3, 4, 4), torch.rand(3, 4, 4), torch.rand(3, 5, 4), torch.rand(3, 4, 4)]
    learn.model.sizes.clear()  # type: ignore[operator, union-attr]
    found = learn.predict_many(items)
    assert learn.model.sizes == [2, 1, 1]
    for one, item in zip(found, items, strict=True):
        torch.testing.assert_close(one.probs, learn.predict(item).probs)
