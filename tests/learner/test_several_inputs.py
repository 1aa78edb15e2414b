"""Models of several inputs: each way to predict or export works, or says in a sentence which one does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnkit import DataBunch, Learner, load_learner
from learnkit.errors import LearnkitError, UsageError

P, Q = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 2


class Apart(nn.Module):
    """Of two arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.p, self.q = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        out: Tensor = self.p(p) + self.q(q)
        return out


class Optional(Apart):
    """The second may be left out, so only the data tells that it matters."""

    def forward(self, p: Tensor, q: Tensor | None = None) -> Tensor:
        return self.p(p) if q is None else super().forward(p, q)


class Together(Apart):
    """Of one argument, a tuple or a dict."""

    def forward(self, both: Any) -> Tensor:  # type: ignore[override]
        p, q = both.values() if isinstance(both, dict) else both
        return super().forward(p, q)


class Items(Dataset[Any]):
    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return len(Y)

    def __getitem__(self, i: int) -> Any:
        return self.item(i)


class Unlabeled:
    """Batches (p, q, None)."""

    def __iter__(self) -> Iterator[Any]:
        yield from ((p, q, None) for p, q in zip(P.split(5), Q.split(5), strict=True))


def loader(dataset: Any) -> DataLoader[Any]:
    return DataLoader(dataset, 5)


def by_key(i: int) -> Any:
    return {"p": P[i], "q": Q[i], "y": Y[i]}


AS = {"classes": ["a", "b"], "device": "cpu"}
TENSORS, PAIRS = TensorDataset(P, Q, Y), Items(lambda i: ((P[i], Q[i]), Y[i]))
DICTS, KEYED = Items(lambda i: ({"p": P[i], "q": Q[i]}, Y[i])), Items(by_key)
BATCHES = [(p, q, y) for p, q, y in zip(P.split(5), Q.split(5), Y.split(5), strict=True)]
# The data, the network, an item, and a loader of unlabeled items.
CASES: dict[str, Callable[[], tuple[DataBunch, nn.Module, Any, Any]]] = {
    "a loader": lambda: (
        DataBunch.from_loaders(loader(TENSORS), loader(TENSORS), **AS), Apart(), (P[0], Q[0]), Unlabeled(),
    ),
    "batches": lambda: (DataBunch.from_loaders(BATCHES, BATCHES, **AS), Apart(), (P[0], Q[0]), Unlabeled()),
    "an optional one": lambda: (
        DataBunch.from_datasets(TENSORS, TENSORS, bs=5, **AS), Optional(), (P[0], Q[0]), Unlabeled(),
    ),
    "a tuple": lambda: (
        DataBunch.from_datasets(PAIRS, PAIRS, bs=5, **AS), Together(), (P[0], Q[0]),
        loader(Items(lambda i: ((P[i], Q[i]),))),
    ),
    "a dict": lambda: (
        DataBunch.from_datasets(DICTS, DICTS, bs=5, **AS), Together(), {"p": P[0], "q": Q[0]},
        loader(Items(lambda i: ({"p": P[i], "q": Q[i]},))),
    ),
    "keys": lambda: (
        DataBunch.from_loaders(loader(KEYED), loader(KEYED), inputs=["p", "q"], target="y", **AS), Apart(),
        (P[0], Q[0]), Unlabeled(),
    ),
    "keys of datasets": lambda: (
        DataBunch.from_datasets(KEYED, KEYED, bs=5, inputs=["p", "q"], target="y", **AS), Apart(), (P[0], Q[0]),
        Unlabeled(),
    ),
}  # fmt: skip
WAYS: dict[str, Callable[[Learner, Any], Any]] = {
    "predict": lambda learn, item: learn.predict(item),
    "predict_many": lambda learn, item: learn.predict_many([item]),
    "predictor": lambda learn, item: learn.predictor().predict(item),
    "predict_batch": lambda learn, item: learn.predictor().predict_batch([item]),
    "predict_each": lambda learn, item: list(learn.predictor().predict_each([item])),
    "test_dl_from": lambda learn, item: learn.dls.test_dl_from([item]),
}


def expected(learn: Learner) -> Tensor:
    with torch.no_grad():
        out: Tensor = (learn.model.p(P) + learn.model.q(Q)).softmax(1)
    return out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_items_are_refused_with_the_way_that_works(case: str, way: str) -> None:
    dls, model, item, new = CASES[case]()
    learn = Learner(dls, model)
    for one in (item, P[0]):  # one of the inputs alone, too
        with pytest.raises(LearnkitError, match=r"item: got .* learn\.get_preds\(loader\)"):
            WAYS[way](learn, one)
    torch.testing.assert_close(learn.get_preds(new)[0], expected(learn))  # the advice
    assert learn.get_preds(new)[1] is None


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("to", ["lk", "onnx", "pt2"])
def test_only_learnkits_own_file_has_several_inputs(case: str, to: Any, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    dls, model, _, new = CASES[case]()
    learn = Learner(dls, model)
    if to != "lk":
        with pytest.raises(UsageError, match=r'gives the model .* takes one.* Export with to="lk"'):
            learn.export(tmp_path / "m", to)
        assert list(tmp_path.iterdir()) == []
        return
    loaded = load_learner(learn.export(tmp_path / "m"), model=type(model)(), device="cpu")
    torch.testing.assert_close(loaded.get_preds(new)[0], expected(learn))


def test_the_network_alone_is_exported_by_torch() -> None:
    dls, model, _, _ = CASES["a loader"]()
    learn = Learner(dls, model)
    program = torch.export.export(learn.model.eval(), (P, Q)).module()  # the advice
    torch.testing.assert_close(program(P, Q).softmax(1), learn.get_preds()[0])


# A loader without targets, whose last input would be taken for them; too many; and items where a loader is taken.
WRONG = {
    "no targets": loader(TensorDataset(P, Q)),
    "too many": loader(TensorDataset(P, Q, Q, Y)),
    "items": [(P[0], Q[0])],
}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("batches", WRONG)
@pytest.mark.parametrize("case", ["a loader", "keys", "batches"])
def test_batches_of_another_number_of_inputs_are_refused(case: str, batches: str, loaded: bool, tmp_path: Path) -> None:
    dls, model, _, _ = CASES[case]()
    learn = Learner(dls, model)
    if loaded:
        learn = load_learner(learn.export(tmp_path / "m"), model=Apart(), device="cpu")
    given = "3 inputs" if batches == "too many" else "1 input"
    with pytest.raises(
        UsageError, match=rf"Apart takes the inputs p, q, and got {given}\. .*\(inputs\.\.\., targets\)"
    ):
        learn.get_preds(WRONG[batches])
    with pytest.raises(UsageError, match="takes the inputs p, q"):
        next(iter(learn.predict_iter(WRONG[batches])))


@pytest.mark.parametrize("call", [lambda learn: learn.predict(P[0]), lambda learn: learn.predictor().predict(P[0])])
def test_a_learner_from_a_file_knows_its_model(call: Callable[[Learner], Any], tmp_path: Path) -> None:
    dls, model, _, _ = CASES["a loader"]()
    loaded = load_learner(Learner(dls, model).export(tmp_path / "m"), model=Apart(), device="cpu")
    with pytest.raises(UsageError, match="Apart takes the inputs p, q, and got 1 input"):
        call(loaded)


def test_a_test_set_by_keys_without_labels_keeps_its_last_input() -> None:
    unlabeled = Items(lambda i: {"p": P[i], "q": Q[i]})
    for make in (loader, lambda items: [{"p": P, "q": Q}]):
        dls = DataBunch.from_loaders(loader(KEYED), loader(KEYED), make(unlabeled), inputs=["p", "q"], target="y", **AS)
        learn = Learner(dls, Optional())
        preds, targets = learn.get_preds("test")
        torch.testing.assert_close(preds, expected(learn))
        assert targets is None
