"""Loaders of a user's own in everything a learner does: a batch is read as the bunch's own, or refused by name."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from learnkit import DataBunch, ImageDataBunch, Learner
from learnkit.errors import DataError, LearnkitError, UsageError
from tests.doubles import refused

X, Y = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1] * 4)
ITEMS: list[Any] = [{"id": f"n{i}", "x": x, "y": int(y)} for i, (x, y) in enumerate(zip(X, Y, strict=True))]
NAMES: dict[str, Any] = {"inputs": "x", "target": "y", "classes": ["a", "b"], "device": "cpu"}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(ITEMS)


class Own:
    """Neither a list nor torch's, and without a length."""

    def __iter__(self) -> Iterator[Any]:
        return ({"id": 0, "y": Y[i : i + 5], "x": X[i : i + 5]} for i in range(0, 12, 5))


class Fields(NamedTuple):
    id: int
    y: Tensor
    x: Tensor


@dataclass
class Columns:
    x: Tensor
    y: Tensor
    id: int = 0


LOADERS: dict[str, Callable[[], Any]] = {
    "a DataLoader": lambda: DataLoader(ITEMS, 5),
    "of a stream": lambda: DataLoader(Stream(), 5),
    "a list": lambda: list(DataLoader(ITEMS, 5)),
    "an own one": Own,
    "of named tuples": lambda: [Fields(0, Y[i : i + 5], X[i : i + 5]) for i in range(0, 12, 5)],
    "of dataclasses": lambda: [Columns(X[i : i + 5], Y[i : i + 5]) for i in range(0, 12, 5)],
    "of tuples": lambda: [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 12, 5)],
}
BUNCHES: dict[str, Callable[[], DataBunch]] = {
    "from_loaders": lambda: DataBunch.from_loaders(DataLoader(ITEMS, 4), DataLoader(ITEMS, 4), **NAMES),
    "from_datasets": lambda: DataBunch.from_datasets(ITEMS, ITEMS, bs=4, **NAMES),
}
PLAIN = {"classes": ["a", "b"], "device": "cpu"}


def learner(dls: DataBunch) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Linear(3, 2))
    return Learner(dls, model, metrics="accuracy", groups=list(model))


@pytest.mark.parametrize("bunch", BUNCHES.values(), ids=BUNCHES)
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_loader_is_read_as_the_bunch_reads_its_own(make: Any, bunch: Any, tmp_path: Path) -> None:
    learn, loader = learner(bunch()), make()
    raw = learn.model.eval()(X).detach()
    losses = F.cross_entropy(raw, Y, reduction="none")
    preds, targets, of_items = learn.get_preds(loader, with_loss=True)
    torch.testing.assert_close(preds, raw.softmax(1))
    torch.testing.assert_close(of_items, losses)
    assert torch.equal(targets, Y)
    accuracy = (raw.argmax(1) == Y).double().mean().item()
    assert learn.validate(loader) == pytest.approx([losses.mean().item(), accuracy])
    batches = list(learn.predict_iter(loader))
    torch.testing.assert_close(torch.cat([preds for preds, _ in batches]), raw.softmax(1))
    assert torch.equal(torch.cat([y for _, y in batches]), Y)
    assert len(learn.pred_batch(loader)) == 5
    assert torch.equal(learn.mc_dropout(loader, 2).targets, Y)
    table = pd.read_csv(learn.write_preds(tmp_path / "preds.csv", loader))
    assert table["target"].tolist() == [NAMES["classes"][y] for y in Y.tolist()]


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_loader_that_becomes_a_part_is_trained_on_and_interpreted(make: Any) -> None:
    learn = learner(BUNCHES["from_datasets"]())
    learn.dls.train_dl = learn.dls.valid_dl = make()
    learn.fit(1)
    assert torch.equal(learn.interpret().targets, Y)
    assert torch.equal(learn.interpret("train").targets, Y)


@pytest.mark.parametrize("bunch", BUNCHES.values(), ids=BUNCHES)
def test_a_loader_without_labels_is_predicted_and_not_measured(bunch: Any) -> None:
    learn, loader = learner(bunch()), DataLoader([{"x": x} for x in X], 5)  # type: ignore[arg-type]
    preds, targets = learn.get_preds(loader)
    torch.testing.assert_close(preds, learn.model.eval()(X).softmax(1).detach())
    assert targets is None
    with pytest.raises(DataError, match=r"a batch has no 'y': got \['x'\], expected the keys x, y"):
        learn.validate(loader)
    with pytest.raises(DataError, match="this set has no labels"):
        learn.get_preds(loader, with_loss=True)


ASKED: dict[str, Callable[[Learner, Any], object]] = {
    "get_preds": lambda learn, loader: learn.get_preds(loader),
    "validate": lambda learn, loader: learn.validate(loader),
    "predict_iter": lambda learn, loader: list(learn.predict_iter(loader)),
    "pred_batch": lambda learn, loader: learn.pred_batch(loader),
    "mc_dropout": lambda learn, loader: learn.mc_dropout(loader, 2),
    "embed": lambda learn, loader: learn.embed(loader if isinstance(loader, DataLoader) else DataLoader(ITEMS, 4)),
}
NAMELESS = [name for name in LOADERS if name not in ("of named tuples", "of tuples")]


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("name", NAMELESS)
def test_names_that_the_bunch_says_nothing_of_are_refused(name: str, ask: Any) -> None:
    learn = learner(DataBunch.from_tensors(X, Y, X, Y, bs=4))
    with pytest.raises(DataError, match=r"a batch.* is a \w+: expected a tuple .* Name its entries: .*x, y|y, x"):
        ask(learn, LOADERS[name]())


BAD_PARTS: dict[str, Callable[[DataBunch], object]] = {
    "fit": lambda dls: learner(dls).fit(1),
    "lr_find": lambda dls: learner(dls).lr_find(),
    "validate": lambda dls: learner(dls).validate(),
    "get_preds": lambda dls: learner(dls).get_preds(),
    "interpret": lambda dls: learner(dls).interpret(),
    "one_batch": lambda dls: dls.one_batch(),
    "one_input": lambda dls: dls.one_input("valid", 0),
}


@pytest.mark.parametrize("ask", BAD_PARTS.values(), ids=BAD_PARTS)
@pytest.mark.parametrize("name", NAMELESS)
def test_a_bunch_of_names_without_keys_is_refused(name: str, ask: Any) -> None:
    dls = DataBunch.from_loaders(LOADERS[name](), LOADERS[name](), classes=["a", "b"], device="cpu")
    with pytest.raises(LearnkitError, match=r"Name its entries: .*inputs=, target="):
        ask(dls)


@pytest.mark.parametrize("ask", BAD_PARTS.values(), ids=BAD_PARTS)
@pytest.mark.parametrize("dataset", [ITEMS, Stream()], ids=["map-style", "stream"])
def test_datasets_of_names_without_keys_are_refused(dataset: Any, ask: Any) -> None:
    dls = DataBunch.from_datasets(dataset, dataset, bs=4, classes=["a", "b"], device="cpu")
    with pytest.raises(LearnkitError, match=r"Name its entries: .*inputs=, target="):
        ask(dls)


def batches(x: Any = X, y: Any = Y) -> list[Any]:
    return [(x[i : i + 5], y[i : i + 5]) for i in range(0, 12, 5)]


REFUSED: dict[str, tuple[Any, str]] = {
    "a dict as a loader": ({"x": X, "y": Y}, "got a dict: expected a loader"),
    "a tensor as a loader": (X, "got a Tensor: expected a loader"),
    "an array as a loader": (X.numpy(), "got a ndarray: expected a loader"),
    "arrays": ([(X.numpy(), Y)], "an input in a batch.* is a NumPy array"),
    "nothing": ([None], "a batch.* is a NoneType"),
    "text": (["ab"], "a batch.* is a str"),
    "an empty tuple": ([()], "a batch.* is a tuple of 0"),
    "items": (list(X), r"got items of the shape \(2,\), one by one"),
    "a dataset": (list(zip(X, Y, strict=True)), r"got items of the shape \(2,\), one by one"),
}


@pytest.mark.parametrize("ask", [ask for name, ask in ASKED.items() if name != "embed"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_yields_no_batches_is_refused(name: str, ask: Any) -> None:
    loader, message = REFUSED[name]
    with pytest.raises(LearnkitError, match=message):
        ask(learner(DataBunch.from_tensors(X, Y, X, Y, bs=4)), loader)


@pytest.mark.parametrize("ask", [ask for name, ask in ASKED.items() if name != "embed"])
def test_targets_are_one_per_item(ask: Any) -> None:
    with pytest.raises(DataError, match=r"targets.*: got 'a single number', expected one per item"):
        ask(learner(DataBunch.from_tensors(X, Y, X, Y, bs=4)), [(X, Y[0])])


@pytest.mark.parametrize("metrics", [(), "accuracy"])
@pytest.mark.parametrize("ask", ["fit", "lr_find", "validate", "get_preds", "interpret"])
def test_items_are_not_trained_on_as_batches(ask: str, metrics: Any) -> None:
    items = list(zip(X, Y, strict=True))
    dls = DataBunch.from_loaders(items, items, classes=["a", "b"], device="cpu")
    learn = Learner(dls, nn.Linear(2, 2), metrics=metrics)
    with pytest.raises(DataError, match=r"got 'a single number', .* DataLoader\(dataset, 64\)"):
        getattr(learn, ask)(*([1] if ask == "fit" else []))


@pytest.mark.parametrize(
    "y", [Y.int(), Y.float(), Y[:, None], Y + 1], ids=["int32", "float", "a column", "a class more"]
)
def test_targets_that_the_loss_refuses_are_named_wherever_it_is_asked(y: Tensor) -> None:
    loader = batches(y=y)
    dls = DataBunch.from_loaders(loader, loader, classes=["a", "b"], device="cpu")
    for ask in (
        lambda learn: learn.fit(1),
        lambda learn: learn.validate(),
        lambda learn: learn.get_preds(with_loss=True),
        lambda learn: learn.interpret(),
    ):
        with pytest.raises(UsageError, match=r"CrossEntropyLoss: .*Make the targets as CrossEntropyLoss takes them"):
            ask(learner(dls))


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_batch_without_items_changes_nothing(at: int, tmp_path: Path) -> None:
    learn, plain = learner(BUNCHES["from_datasets"]()), batches()
    loader = [*plain[:at], (X[:0], Y[:0]), *plain[at:]]
    for found, expected in zip(
        learn.get_preds(loader, with_loss=True), learn.get_preds(plain, with_loss=True), strict=True
    ):
        assert torch.equal(found, expected)
    assert learn.validate(loader) == learn.validate(plain)
    tables = [learn.write_preds(tmp_path / f"{n}.csv", one).read_text() for n, one in enumerate((loader, plain))]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y + 1, "the target of item 1: got 2, expected a class index from 0 to 1"),
        (Y - 100, "the target of item 0: got -100, expected a class index from 0 to 1"),
        (Y - 1, "the target of item 0: got -1"),
        (F.one_hot(Y).float(), "targets: got .*float32.*expected a class index per item"),
        (Y[:7], "the targets of a batch: got 2, expected one per output, 5"),
    ],
    ids=["a class more", "ignored", "from the end", "shares", "too few"],
)
def test_a_table_has_the_class_of_every_target_or_is_refused(y: Tensor, message: str, tmp_path: Path) -> None:
    learn = learner(BUNCHES["from_datasets"]())
    with pytest.raises(LearnkitError, match=f"write_preds: {message}"):
        learn.write_preds(tmp_path / "p.csv", batches(y=y))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["tensors", "datasets", "loaders", "images"])
@pytest.mark.parametrize("with_targets", [False, True])
def test_items_in_place_of_batches_are_refused(kind: str, with_targets: bool, class_folder: Path) -> None:
    x = torch.randn(6, 3, 8, 8)
    items = TensorDataset(x, x)
    dls: DataBunch = {
        "tensors": lambda: DataBunch.from_tensors(x, x, x, x, bs=2),
        "datasets": lambda: DataBunch.from_datasets(items, items, bs=2),
        "loaders": lambda: DataBunch.from_loaders(DataLoader(items, 2), DataLoader(items, 2)),
        "images": lambda: ImageDataBunch.from_folder(class_folder, size=8, bs=2),
    }[kind]()
    convolution = nn.Conv2d(3, 3, 1)  # which takes an image without a batch, too
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    learn = Learner(dls, classifier) if kind == "images" else Learner(dls, convolution, loss_func=nn.L1Loss())
    given = [(x[0], x[0]), (x[1], x[1])] if with_targets else [x[0], x[1]]
    with refused("ds_type: got items of the shape (3, 8, 8), one by one"):
        learn.get_preds(given)
    if with_targets:
        with refused("dl: got items of the shape (3, 8, 8), one by one"):
            learn.validate(given)
    batch = [(x[:2], x[:2])] if with_targets else [x[:2]]
    assert len(learn.get_preds(batch)[0]) == 2


def test_batches_of_a_collate_function_may_have_any_shape() -> None:
    """Points (n, 3) of one item or of several, one below the other."""
    items = [(torch.randn(4, 3), torch.randn(4, 1))] * 4
    joined = lambda batch: tuple(torch.cat(parts) for parts in zip(*batch, strict=True))  # noqa: E731
    dls = DataBunch.from_datasets(items, items, bs=2, collate_fn=joined)
    learn = Learner(dls, nn.Linear(3, 1), loss_func=nn.MSELoss())
    assert learn.get_preds([items[0]])[0].shape == (4, 1)


@pytest.mark.parametrize(
    ("bad", "taken"), [(X[:4].double(), "takes float32"), (torch.ones(4, 3), "takes 2 numbers")], ids=["type", "width"]
)
def test_a_batch_that_a_layer_does_not_take_is_named(bad: Tensor, taken: str) -> None:
    good, one_bad = [(X[:4], Y[:4])] * 3, [(X[:4], Y[:4]), (X[:4], Y[:4]), (bad, Y[:4])]

    def learner(train: list[Any], valid: list[Any]) -> Learner:
        return Learner(DataBunch.from_loaders(train, valid, classes=["a", "b"], device="cpu"), nn.Linear(2, 2))

    in_train, in_valid = learner(one_bad, good), learner(good, one_bad)
    asked: dict[Callable[[], object], str] = {
        lambda: in_train.fit(1): "batch 2 of the training loader: ",
        lambda: in_train.lr_find(num_it=3): "batch 2 of the training loader: ",
        lambda: in_valid.fit(1): "batch 2 of the validation loader: ",
        in_valid.validate: "batch 2 of the validation loader: ",
        lambda: in_train.validate("train"): "batch 2 of the training loader: ",
        lambda: in_train.validate(one_bad): "batch 2 of the given loader: ",
        in_valid.get_preds: "batch 2: ",
        lambda: [*in_valid.predict_iter()]: "batch 2: ",
        lambda: in_train.get_preds(one_bad): "batch 2: ",
    }
    for ask, where in asked.items():
        with pytest.raises(UsageError, match=f"^{where}the model does not fit its input, .* Linear {taken}") as raised:
            ask()
        assert isinstance(raised.value.__cause__, RuntimeError)


def test_an_item_that_a_layer_does_not_take_is_refused() -> None:
    dls = DataBunch.from_loaders([(X[:4].half(), Y[:4])], classes=["a", "b"], device="cpu")
    learn = Learner(dls, nn.Linear(2, 2))
    for predict in (learn.predict, learn.predictor().predict):
        with pytest.raises(UsageError, match=r"its input, float16 \(1, 2\): Linear takes float32"):
            predict(X[0].half())
