"""Loaders of a user's datasets: checked before anything is trained."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from learnkit import DataBunch, Learner
from learnkit.data.loading.loaders import DatasetLoader
from learnkit.data.loading.stream_loader import StreamLoader
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import DataError, UsageError, WrongTypeError

X, Y = torch.arange(24.0).view(12, 2), torch.tensor([0, 1, 2] * 4)
SET = TensorDataset(X, Y)


class Silent(Dataset[Any]):
    """Items of which nothing is known before they are read."""

    def __init__(self, targets: Any) -> None:
        self.y = targets

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Any]:
        return X[i], self.y[i]


class Stream(IterableDataset[Any]):
    def __init__(self, targets: Any = Y) -> None:
        self.y = targets

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        return zip(X, self.y, strict=False)


FORMS: dict[str, Any] = {"map-style": Silent, "stream": Stream, "pairs": lambda y: list(zip(X, y, strict=False))}
WRONG: dict[str, tuple[Any, Any]] = {
    "a class too many": (Classification(("a", "b")), Y),
    "nan": (Regression(), torch.where(Y == 1, torch.nan, 1.0)),
    "text": (Classification(("a", "b", "c")), ["a", "b", "c"] * 4),
    "a column": (Classification(("a", "b", "c")), Y[:, None]),
    "three for two": (MultiLabel(("a", "b")), torch.ones(12, 3)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("task", "y"), WRONG.values(), ids=WRONG)
def test_targets_that_do_not_fit_are_refused_before_a_step(form: Any, task: Any, y: Any) -> None:
    fine = {Regression: torch.ones(12), MultiLabel: torch.ones(12, 2)}.get(type(task), torch.zeros(12).long())
    for name, sets in {"train": (form(y), form(fine)), "valid": (form(fine), form(y))}.items():
        model = nn.Linear(2, task.n_out)
        weights = model.weight.clone()

        def use(sets: Any = sets, model: Any = model, name: str = name) -> None:
            learn = Learner(DataBunch.from_datasets(*sets, bs=12, task=task), model)  # the first batch holds all
            learn.validate() if name == "valid" else learn.fit(1)

        with pytest.raises(DataError, match=f"{name}: .*targets"):
            use()
        assert torch.equal(model.weight, weights)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    ("task", "y", "dtype"),
    [
        (Regression(), [float(i) for i in range(12)], torch.float32),
        (Regression(), list(range(12)), torch.float32),
        (Classification(("a", "b", "c")), Y.to(torch.int16), torch.int64),
        (MultiLabel(("a", "b")), torch.ones(12, 2, dtype=torch.bool), torch.float32),
    ],
)
def test_targets_have_the_type_that_the_loss_takes(form: Any, task: Any, y: Any, dtype: torch.dtype) -> None:
    dls = DataBunch.from_datasets(form(y), form(y), bs=6, task=task)
    assert {targets.dtype for loader in (dls.train_dl, dls.valid_dl) for _, targets in loader} == {dtype}
    Learner(dls, nn.Linear(2, task.n_out)).fit(1)


def test_a_stream_keeps_its_order_and_a_short_last_batch_where_it_is_measured() -> None:
    dls = DataBunch.from_datasets(Stream(), Stream(), Stream(), bs=5, classes=["a", "b", "c"])
    assert isinstance(dls.train_dl, StreamLoader)
    for part, sizes in (("train_dl", [5, 5]), ("fix_dl", [5, 5, 2]), ("valid_dl", [5, 5, 2]), ("test_dl", [5, 5, 2])):
        assert [len(x) for x, _ in getattr(dls, part)] == sizes
    assert torch.equal(torch.cat([x for x, _ in dls.valid_dl]), X)
    with pytest.raises(TypeError):
        len(dls.train_dl)
    with pytest.raises(UsageError, match="num_workers: got 2, expected 0 or 1 for an IterableDataset"):
        DataBunch.from_datasets(Stream(), num_workers=2)
    with pytest.raises(DataError, match="train_dl yielded no batches"):
        Learner(DataBunch.from_datasets(Stream([]), classes=["a", "b"]), nn.Linear(2, 2)).fit(1)


def test_own_collation(blobs: tuple[Tensor, ...]) -> None:
    def collate(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        return torch.stack([x for x, _ in items]) * 2, torch.tensor([y for _, y in items])

    pairs = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
    for dataset in (pairs, Stream([int(y) for y in Y])):
        dls = DataBunch.from_datasets(dataset, dataset, bs=4, classes=["a", "b", "c"], collate_fn=collate)
        assert torch.equal(torch.cat([x for x, _ in dls.valid_dl]), X * 2)
        assert torch.equal(dls.one_input("valid", 5), X[5:6] * 2)


def test_own_collation_may_make_anything_of_the_items() -> None:
    items = [(Image.new("RGB", (2, 2), (i, i, i)), name) for i, name in enumerate(["a", "b", "c"] * 2)]

    def collate(batch: list[Any]) -> tuple[Tensor, Tensor]:
        pixels = torch.tensor([image.getpixel((0, 0)) for image, _ in batch])
        return pixels, torch.tensor([ord(name) - ord("a") for _, name in batch])

    dls = DataBunch.from_datasets(items, items, bs=3, classes=["a", "b", "c"], collate_fn=collate)
    x, y = dls.one_batch("valid")
    assert (x[:, 0].tolist(), y.tolist()) == ([0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match="items are PIL images"):
        DataBunch.from_datasets([(image, 0) for image, _ in items], bs=3)
    with pytest.raises(DataError, match=r"train: targets: got \['a', 'b', 'c'\], expected numbers"):
        DataBunch.from_datasets([(torch.ones(2), name) for _, name in items], bs=3, classes=["a", "b", "c"])


def test_ragged_items_need_it() -> None:
    ragged = [(torch.ones(1 + i % 3), i % 2) for i in range(6)]
    dls = DataBunch.from_datasets(ragged, ragged, bs=3, classes=["a", "b"])
    with pytest.raises(DataError, match=r"items cannot be made a batch \(.*pass collate_fn="):
        dls.one_batch()
    padded = DataBunch.from_datasets(
        ragged, ragged, bs=3, classes=["a", "b"],
        collate_fn=lambda items: (nn.utils.rnn.pad_sequence([x for x, _ in items], True), torch.tensor([0] * 3)),
    )  # fmt: skip
    assert padded.one_batch("valid")[0].shape == (3, 3)


@pytest.mark.parametrize("dataset", [None, 3, "folder", {"a": 1}, iter([]), DataLoader(SET)])
def test_what_is_no_dataset_is_refused(dataset: Any) -> None:
    with pytest.raises(WrongTypeError, match=r"train: got .*from_loaders"):
        DataBunch.from_datasets(dataset)


@pytest.mark.parametrize("name", ["training", "valid", "test"])
def test_an_empty_set_is_refused(name: str) -> None:
    sets = {"training": SET, "valid": SET, "test": SET} | {name: Subset(SET, [])}
    which = "validation" if name == "valid" else name
    with pytest.raises(DataError, match=f"the {which} set is empty"):
        DataBunch.from_datasets(*sets.values(), bs=4)


@pytest.mark.parametrize("loader", [None, 3, iter([(X, Y)]), (batch for batch in [(X, Y)])])
def test_loaders_yield_batches_again_and_again(loader: Any) -> None:
    with pytest.raises(UsageError, match="train_dl"):
        DataBunch.from_loaders(loader)


def test_loaders_of_sets_with_other_classes_are_refused() -> None:
    def loader(*classes: str) -> DataLoader[Any]:
        dataset = TensorDataset(X, Y)
        dataset.classes = classes  # type: ignore[attr-defined]
        return DataLoader(dataset, 4)

    assert DataBunch.from_loaders(loader("a", "b", "c"), loader("a", "b", "c")).classes == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"validation set are others: a, c; those of the training set are a, b, c"):
        DataBunch.from_loaders(loader("a", "b", "c"), loader("a", "c"))
    with pytest.raises(DataError, match="in another order"):
        DataBunch.from_loaders(loader("a", "b", "c"), None, loader("b", "a", "c"))


def test_without_classes_the_error_says_how_to_give_them() -> None:
    dls = DataBunch.from_datasets(Subset(SET, range(6)), bs=3)
    assert isinstance(dls.train_dl, DatasetLoader)
    with pytest.raises(UsageError, match="classes="):
        Learner(dls, nn.Linear(2, 3))
    Learner(DataBunch.from_datasets(Subset(SET, range(6)), bs=3, classes=["a", "b", "c"]), nn.Linear(2, 3)).fit(1)
