"""`inputs=` and `target=` of named entries: the same before and after a file, for batches and for items."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from learnkit import DataBunch, Learner, load_learner
from learnkit.errors import DataError, UsageError, WrongTypeError

X, Y = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1] * 4)


class Fields(NamedTuple):
    id: int
    y: Any
    x: Any


@dataclass
class Parts:
    y: Any
    x: Any


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "dict": lambda x, y: {"id": 3, "y": y, "x": x},
    "named tuple": lambda x, y: Fields(3, y, x),
    "dataclass": lambda x, y: Parts(y, x),
}


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(torch.cat([a, b], 1))  # type: ignore[no-any-return]


def ways(learn: Learner, tmp_path: Path, model: nn.Module) -> list[Learner]:
    """The learner, one from its file, and one from the file of that."""
    loaded = load_learner(learn.export(tmp_path / "a.lk"), model=model, device="cpu")
    again = load_learner(loaded.export(tmp_path / "b.lk"), model=model, device="cpu")
    return [learn, loaded, again]


@pytest.mark.parametrize("form", FORMS)
def test_batches_and_items_are_read_alike(form: str, tmp_path: Path) -> None:
    make = FORMS[form]
    batches = [make(X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8)]
    dls = DataBunch.from_loaders(batches, batches, inputs="x", target="y", classes=["a", "b"], device="cpu")
    learn = Learner(dls, nn.Linear(2, 2), metrics="accuracy")
    learn.fit(1)
    expected = learn.model.eval()(X).softmax(1)
    items = [make(x, int(y)) for x, y in zip(X, Y, strict=True)]
    results = learn.validate()
    for one in ways(learn, tmp_path, nn.Linear(2, 2)):
        preds, targets = one.get_preds(batches)
        torch.testing.assert_close(preds, expected)
        assert torch.equal(targets, Y)
        assert one.validate(batches) == pytest.approx(results)
        for given in (items, list(X)):
            torch.testing.assert_close(one.predict(given[5]).probs, expected[5])
            for answers in (one.predict_many(given), one.predictor().predict_batch(given)):
                torch.testing.assert_close(torch.stack([answer.probs for answer in answers]), expected)
            torch.testing.assert_close(one.get_preds(one.dls.test_dl_from(given))[0], expected)
    if form == "dict":
        with pytest.raises(DataError, match="an item has no 'x': got \\['z'\\], expected the key x"):
            learn.predict({"z": X[0]})


@pytest.mark.slow
def test_items_of_torch_loaders_become_the_input_of_onnx(tmp_path: Path) -> None:
    items = [{"x": x, "y": int(y)} for x, y in zip(X, Y, strict=True)]
    dls = DataBunch.from_loaders(DataLoader(items, 4), inputs="x", target="y", classes=["a", "b"], device="cpu")  # type: ignore[arg-type]
    learn = Learner(dls, nn.Linear(2, 2))
    for one in ways(learn, tmp_path, nn.Linear(2, 2)):
        file = one.export(tmp_path / "a", to="onnx")
        found = onnxruntime.InferenceSession(str(file)).run(["output"], {"input": X.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), one.get_preds(DataLoader(items, 5))[0])  # type: ignore[arg-type]


def test_several_inputs_are_told_of_alike(tmp_path: Path) -> None:
    items = [{"p": x, "q": 2 * x, "y": int(y)} for x, y in zip(X, Y, strict=True)]
    loader: Any = DataLoader(items, 4)  # type: ignore[arg-type]
    dls = DataBunch.from_loaders(loader, inputs=["p", "q"], target="y", classes=["a", "b"], device="cpu")
    learn = Learner(dls, Joined())
    expected = learn.model.eval()(X, 2 * X).softmax(1)
    for one in ways(learn, tmp_path, Joined()):
        torch.testing.assert_close(one.get_preds(loader)[0], expected)
        for item in (items[0], X[0]):
            with pytest.raises(WrongTypeError, match=r"this data gives it 2 inputs \(p, q\)"):
                one.predict(item)
        with pytest.raises(UsageError, match=r"gives the model 2 inputs \(p, q\)"):
            one.export(tmp_path / "a", to="onnx")
