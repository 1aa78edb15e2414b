"""Tensors in memory: what their targets mean, which are refused, and one item more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from learnkit import DataBunch, Learner, LearnkitWarning, load_learner
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import DataError, LearnkitError, UsageError, WrongTypeError
from tests.doubles import refused

X, Y = torch.arange(24.0).view(12, 2), torch.tensor([0, 1, 2] * 4)


def test_passed_classes_name_the_indices() -> None:
    with pytest.warns(LearnkitWarning, match="no training item of class d: it cannot be learned"):
        dls = DataBunch.from_tensors(X, Y, X, Y, bs=4, classes=["a", "b", "c", "d"])
    assert dls.classes == ["a", "b", "c", "d"]
    with pytest.raises(
        DataError, match=r"train: 4 targets, first that of item 2: got \[2\], expected class indices .* 1"
    ):
        DataBunch.from_tensors(X, Y, X, Y, bs=4, classes=["a", "b"])
    with pytest.raises(DataError, match=r"train: 4 targets, first that of item 0: got \[-1\]"):
        DataBunch.from_tensors(X, Y - 1, X, Y, bs=4)


def test_a_class_only_in_validation_is_counted_and_reported() -> None:
    with pytest.warns(LearnkitWarning, match="no training item of class 2: it cannot be learned"):
        dls = DataBunch.from_tensors(X, Y.clamp(max=1), X, Y, bs=4)
    assert dls.classes == ["0", "1", "2"]


def test_a_class_without_validation_items_is_reported() -> None:
    with pytest.warns(LearnkitWarning, match="no validation item of class 2: it is not measured"):
        DataBunch.from_tensors(X, Y, X[:2], Y[:2], bs=4)


@pytest.mark.parametrize("classes", [None, ["only"]])
def test_one_class_alone_is_refused(classes: list[str] | None) -> None:
    with pytest.raises(DataError, match=r"only class '(0|only)': expected two or more"):
        DataBunch.from_tensors(X, Y * 0, X, Y * 0, bs=4, classes=classes)


NUMBERS = Regression(("v",))
NAN = torch.where(torch.arange(12) == 3, torch.nan, 1.0)


@pytest.mark.parametrize(
    ("task", "targets", "match"),
    [
        (NUMBERS, NAN, r"train: 1 target, first that of item 3: got \[nan\], expected 1 finite number"),
        (NUMBERS, torch.ones(12, 2), r"train: targets of shape \(12, 2\) .* expected 1 finite number"),
        (MultiLabel(("a", "b")), torch.ones(12, 3), r"shape \(12, 3\) .* expected 2 numbers of 0 or 1"),
        (MultiLabel(("a", "b")), torch.full((12, 2), 5), r"12 targets, first that of item 0: got \[5.0, 5.0\]"),
        (Classification(("a", "b")), Y, r"first that of item 2: got \[2\], expected class indices from 0 to 1"),
        (Classification(("a", "b")), Y.float(), r"shape \(12,\) and type torch.float32"),
        (Segmentation(["a", "b"]), torch.full((12, 2, 2), 7), r"item 0: got \[7, 7, 7\], expected class indices .* 1"),
        (Segmentation(["a", "b"], 255), torch.full((12, 2, 2), 254), "expected class indices"),
        (Segmentation(["a", "b"]), torch.ones(12, 2, 2), r"shape \(12, 2, 2\) and type torch.float32"),
        (Segmentation(["a", "b"]), torch.ones(12, 2).long(), r"shape \(12, 2\) and type torch.int64"),
        ("regression", Y.float(), "task: got 'regression', expected a task object"),
    ],
)
def test_targets_that_the_task_does_not_take_are_refused(task: Any, targets: torch.Tensor, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        DataBunch.from_tensors(X, targets, X, targets, bs=4, task=task)
    assert isinstance(caught.value, LearnkitError)


def test_targets_come_in_the_type_and_shape_of_the_loss() -> None:
    def targets(y: Any, task: Any = None) -> torch.Tensor:
        return DataBunch.from_tensors(X, y, X, y, bs=4, task=task).fix_dl.tensors[1]

    assert targets(Y.numpy().astype(np.int32)).dtype == torch.int64
    assert targets((Y > 0).numpy()).tolist() == [0, 1, 1] * 4
    assert targets(np.arange(12.0), NUMBERS).shape == (12,)
    assert targets(torch.arange(12), NUMBERS).dtype == torch.float32
    assert targets(torch.ones(12, 3).long(), MultiLabel(("a", "b", "c"))).dtype == torch.float32
    masks = torch.full((12, 2, 2), 255, dtype=torch.uint8)
    assert targets(masks, Segmentation(["a", "b"], 255)).dtype == torch.uint8
    shares = torch.full((12, 3), 1 / 3)
    assert torch.equal(targets(shares, Classification(("a", "b", "c"))), shares)


def test_arrays_of_float64_are_taken_in_the_default_type() -> None:
    x = X.double()
    assert DataBunch.from_tensors(x.numpy(), Y.numpy(), bs=4).one_batch()[0].dtype == torch.float32
    assert DataBunch.from_tensors(x, Y, bs=4).one_batch()[0].dtype == torch.float64


def test_other_objects_than_data_are_refused() -> None:
    for x, y, message in (
        ("x", Y, "train: got str"),
        (X, None, "train: got no targets"),
        (None, Y, "train: got no inputs"),
    ):
        with pytest.raises(LearnkitError, match=message):
            DataBunch.from_tensors(x, y, X, Y)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="test: got no inputs"):
        DataBunch.from_tensors(X, Y, X, Y, None, Y, bs=4)


@pytest.mark.parametrize("targets", [torch.rand(8, 3, 4, 4), torch.rand(8, 4, 4)], ids=lambda targets: targets.ndim)
def test_images_as_targets_train_with_a_loss_of_ones_own(targets: torch.Tensor) -> None:
    images = torch.rand(8, 3, 4, 4)
    for dls in (
        DataBunch.from_tensors(images, targets, bs=4),
        DataBunch.from_datasets(TensorDataset(images, targets), bs=4),
    ):
        model = nn.Conv2d(3, 3, 1) if targets.ndim == 4 else nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(1, 2))
        before = next(model.parameters()).detach().clone()
        Learner(dls, model, loss_func=nn.MSELoss()).fit(1)
        assert not torch.equal(before, next(model.parameters()))


def test_other_targets_train_by_the_way_that_the_error_names() -> None:
    images, boxes = torch.rand(8, 3, 4, 4), torch.zeros(8, 2, dtype=torch.long)
    with pytest.raises(UsageError, match="from_datasets of a TensorDataset, and a loss_func="):
        DataBunch.from_tensors(images, boxes, bs=4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    dls = DataBunch.from_datasets(TensorDataset(images, boxes), bs=4)
    Learner(dls, model, loss_func=lambda outputs, targets: nn.functional.mse_loss(outputs, targets.float())).fit(1)


def test_float_labels_need_a_task() -> None:
    with pytest.raises(UsageError, match=r"Pass task=Regression\(.* for float labels"):
        DataBunch.from_tensors(X, Y.float(), X, Y.float(), bs=4)
    dls = DataBunch.from_tensors(X, Y.float(), X, Y.float(), bs=4, task=Regression(("v",)))
    assert (dls.classes, dls.c) == ([], 1)
    multi = DataBunch.from_tensors(X, torch.eye(3)[Y], X, torch.eye(3)[Y], bs=4, task=MultiLabel(("a", "b", "c")))
    assert (multi.classes, multi.c) == (["a", "b", "c"], 3)


def test_inputs_and_targets_must_be_as_many() -> None:
    with pytest.raises(DataError, match="valid: got 12 inputs and 11 targets"):
        DataBunch.from_tensors(X, Y, X, Y[:11])
    with refused("the valid set is empty", DataError):
        DataBunch.from_tensors(X, Y, X[:0], Y[:0])
    with refused("the test set is empty", DataError):
        DataBunch.from_tensors(X, Y, X, Y, X[:0])


def test_one_item_becomes_a_batch_of_one() -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    assert torch.equal(dls.prepare(X[3]), X[3:4])
    assert torch.equal(dls.prepare(X[3].numpy()), X[3:4])
    with refused("item", got=(3,), expected="the shape of one input, (2,)"):
        dls.prepare(torch.zeros(3))


@pytest.mark.parametrize(
    "item", [X[3].double(), X[3].double().numpy(), X[3].long(), X[3].int().numpy(), [6.0, 7.0], (6, 7)]
)
def test_one_item_is_converted_to_the_type_of_the_data(item: Any) -> None:
    dls = DataBunch.from_tensors(X, Y, X, Y, bs=4)
    assert dls.prepare(item).dtype == torch.float32
    assert torch.equal(dls.prepare(item), X[3:4])
    learn = Learner(dls, nn.Linear(2, 3))
    assert torch.equal(learn.predict(item)[2], learn.predict(X[3])[2])


@pytest.mark.parametrize("item", ["text", ["a", "b"], None, [[1], [1, 2]]])
def test_an_item_that_is_not_numbers_is_refused(item: Any) -> None:
    learn = Learner(DataBunch.from_tensors(X, Y, X, Y, bs=4), nn.Linear(2, 3))
    with pytest.raises(WrongTypeError, match=rf"item: got {type(item).__name__} \(.*\): expected numbers"):
        learn.predict(item)


class Both(nn.Module):
    """Adds what it makes of two inputs, which may come as a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.of_x, self.of_more = nn.Linear(2, 3), nn.Linear(4, 3)

    def forward(self, *inputs: Any) -> Tensor:
        x, more = inputs if len(inputs) == 2 else inputs[0]
        return self.of_x(x) + self.of_more(more)  # type: ignore[no-any-return]


MORE = torch.ones(12, 4)


def learner_of_keys() -> Learner:
    batches = [{"x": X, "more": MORE, "y": Y}]
    return Learner(
        DataBunch.from_loaders(batches, batches, inputs=["x", "more"], target="y", classes=["a", "b", "c"]), Both()
    )


def learner_of_pairs() -> Learner:
    batches = [((X, MORE), Y)]
    return Learner(DataBunch.from_loaders(batches, batches, classes=["a", "b", "c"]), Both())


class Inputs(NamedTuple):
    x: Tensor
    more: Tensor


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"x": X[0], "more": MORE[0]}, "a dict of x, more"),
        ((X[0], MORE[0]), "a tuple of 2"),
        ([X[0].numpy(), MORE[0].numpy()], "a list of 2"),
        (({"x": X[0]}, 1), "a tuple of 2"),
        (Inputs(X[0], MORE[0]), "an Inputs of x, more"),
    ],
)
@pytest.mark.parametrize("make", [learner_of_keys, learner_of_pairs])
def test_an_item_of_several_inputs_is_refused_with_what_predicts_it(
    make: Callable[[], Learner], item: Any, kind: str
) -> None:
    learn = make()
    fix = (
        "A model of several inputs predicts batches of a loader: learn.get_preds(loader). The last part of a batch is "
        "its targets, (inputs..., targets), or None without labels."
    )
    predictor = learn.predictor()
    for predict in (learn.predict, predictor.predict):
        with refused(f"item: got {kind}", WrongTypeError, fix=fix):
            predict(item)
    for predict_all in (learn.predict_many, predictor.predict_batch, learn.dls.test_dl_from):
        with pytest.raises(WrongTypeError, match=rf"item: got {kind}: expected numbers, .*learn.get_preds"):
            predict_all([item])
    batch = (X, MORE, Y) if make is learner_of_keys else ((X, MORE), Y)
    assert torch.equal(learn.get_preds([batch])[0], learn.get_preds()[0])


def test_one_item_with_fractions_is_not_rounded() -> None:
    x = X.long()
    dls = DataBunch.from_tensors(x, Y, x, Y, bs=4)
    assert torch.equal(dls.prepare(x[3].to(torch.uint8)), x[3:4])
    with refused("item", WrongTypeError, got=torch.float32):
        dls.prepare(X[3] + 0.5)


def test_an_autoencoder_has_no_task_and_asks_for_a_loss() -> None:
    x = torch.rand(12, 1, 4, 4)
    dls = DataBunch.from_tensors(x, x, x[:4], x[:4], bs=4)
    assert dls.task is None
    with pytest.raises(UsageError, match=r"no default loss.*loss_func="):
        Learner(dls, nn.Identity())
    learn = Learner(dls, nn.Conv2d(1, 1, 1), loss_func=nn.MSELoss(), seed=0)
    before = learn.validate()[0]
    learn.fit(3, 1e-1)
    assert learn.validate()[0] < before
    assert learn.get_preds()[0].shape == (4, 1, 4, 4)


THIRDS = np.array([[1 / 3, 2 / 3], [1e-17, 1 + 1e-12]])  # none of them is a float32
FORMS: dict[str, Any] = {
    "an array": lambda item: item,
    "a list": lambda item: item.tolist(),
    "a list of NumPy numbers": list,
    "a tensor": torch.from_numpy,
    "float16": lambda item: item.astype(np.float16),
    "float32": lambda item: item.astype(np.float32),
}


def pairs(dtype: torch.dtype) -> list[Any]:
    return [(torch.tensor(row).to(dtype), 0) for row in THIRDS]


def of_arrays(dtype: torch.dtype) -> list[Any]:
    return [(row.numpy(), y) for row, y in pairs(dtype)]


MAKERS: dict[str, Callable[[torch.dtype], DataBunch]] = {
    "tensors": lambda dtype: DataBunch.from_tensors(torch.tensor(THIRDS).to(dtype), torch.arange(2), bs=2),
    "datasets": lambda dtype: DataBunch.from_datasets(pairs(dtype), bs=2),
    "datasets of arrays": lambda dtype: DataBunch.from_datasets(of_arrays(dtype), bs=2),
    "a DataLoader": lambda dtype: DataBunch.from_loaders(DataLoader(pairs(dtype), 2)),  # type: ignore[arg-type]
    "batches": lambda dtype: DataBunch.from_loaders([(torch.tensor(THIRDS).to(dtype), torch.arange(2))]),
    "dicts": lambda dtype: DataBunch.from_datasets(
        [{"x": x, "y": y} for x, y in pairs(dtype)], bs=2, inputs="x", target="y"
    ),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_float_item_is_rounded_once_to_the_type_of_the_data(maker: str, form: str, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and maker == "datasets of arrays":
        return  # NumPy has none
    dls = MAKERS[maker](dtype)
    items = [FORMS[form](row) for row in THIRDS]
    rounded = {"float16": torch.float16, "float32": torch.float32}.get(form, torch.float64)
    expected = torch.tensor(THIRDS, dtype=torch.float64).to(rounded).to(dtype)
    assert torch.equal(dls.prepare(items[0]), expected[:1])
    (x,) = next(iter(dls.test_dl_from(items)))
    assert x.dtype == dtype
    assert torch.equal(x, expected)


@pytest.mark.parametrize("maker", MAKERS)
def test_whole_numbers_become_floats_like_the_data(maker: str) -> None:
    item = [2**53 - 1, 3]  # float32 has no such number
    assert MAKERS[maker](torch.float64).prepare(item).tolist() == [item]


@pytest.mark.parametrize("item", [[256, 0], [0, -1], torch.tensor([70_000, 1])])
@pytest.mark.parametrize("maker", ["tensors", "datasets"])
def test_whole_numbers_that_the_type_of_the_data_lacks_are_refused(maker: str, item: Any) -> None:
    dls, expected = MAKERS[maker](torch.uint8), "numbers of the data's type, torch.uint8"
    assert dls.prepare([255, 0]).tolist() == [[255, 0]]
    with refused("item", got=(min(map(int, item)), max(map(int, item))), expected=expected):
        dls.prepare(item)


@pytest.mark.parametrize("make", [np.asarray, torch.tensor], ids=["array", "tensor"])
@pytest.mark.parametrize("part", ["valid", "test"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_floats_of_another_set_are_of_the_type_of_the_training_set(dtype: torch.dtype, part: str, make: Any) -> None:
    x, y = torch.tensor(THIRDS).to(dtype), torch.tensor(THIRDS[:, :1]).to(dtype)
    others: dict[str, Any] = {f"x_{part}": make(THIRDS), f"y_{part}": make(THIRDS[:, :1])}
    dls = DataBunch.from_tensors(x, y, task=Regression(("n",)), bs=2, **others)
    for found, expected in zip(dls.one_batch(part), (x, y), strict=True):
        assert found.dtype == dtype
        assert torch.equal(found, expected)


def test_a_learner_of_doubles_predicts_what_its_model_computes(tmp_path: Path) -> None:
    x, y = torch.tensor(THIRDS), torch.tensor(THIRDS[:, :1])
    model = nn.Linear(2, 1).double()
    learn = Learner(DataBunch.from_tensors(x, y, task=Regression(("n",)), bs=2, device="cpu"), model)
    expected = model(x)[0].item()
    loaded = load_learner(learn.export(tmp_path / "m.lk"), model=nn.Linear(2, 1).double(), device="cpu")
    for one in (learn, loaded):
        for item in (THIRDS[0], THIRDS[0].tolist(), x[0]):
            assert one.predict(item).probs.item() == expected
            assert one.predict_many([item])[0].probs.item() == expected
            assert one.predictor().predict(item).probs.item() == expected
        assert one.get_preds(one.dls.test_dl_from(THIRDS))[0][0].item() == expected
    table = pd.read_csv(learn.write_preds(tmp_path / "p.csv", "train"), dtype=str)
    assert float(table["label_n"][0]) == expected
    assert [float(text) for text in table["target_n"]] == THIRDS[:, 0].tolist()


class Negating(nn.Module):
    """Writes into its input, as nn.ReLU(inplace=True) does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.neg_())  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["tensor", "view", "array", "double array", "list"])
def test_a_model_that_writes_into_its_input_does_not_change_the_item(kind: str) -> None:
    numbers = torch.arange(12.0).view(4, 3)
    item: Any = {"tensor": numbers[1].clone(), "view": numbers[1], "array": numbers[1].numpy(),
                 "double array": numbers[1].double().numpy(), "list": numbers[1].tolist()}[kind]  # fmt: skip
    learn = Learner(DataBunch.from_tensors(numbers, torch.tensor([0, 1, 0, 1]), bs=2), Negating(), seed=0)
    first, second = learn.predict(item), learn.predictor().predict(item)
    assert torch.as_tensor(item).tolist() == [3.0, 4.0, 5.0]
    assert torch.equal(first.probs, second.probs)
    assert numbers.flatten().tolist() == list(range(12))
