"""Weights that are nan or infinite are told of wherever a learner gets them, by name, and once."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from learnkit import DataBunch, Learner, LearnkitWarning, TrainState, load_learner
from learnkit.callbacks import EMA, SWA, Callback, SaveModel
from learnkit.errors import ExportError
from tests.conftest import Blobs
from tests.doubles import slow


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.fixture
def dls(blobs: Blobs) -> DataBunch:
    return DataBunch.from_tensors(*blobs, bs=16, classes=["a", "b"], device="cpu")


def learner(dls: DataBunch, path: Path) -> Learner:
    return Learner(dls, network(), path=path, seed=0)


def spoil(model: nn.Module, name: str, value: float) -> None:
    with torch.no_grad():
        model.state_dict()[name].view(-1)[-1] = value


def saved(learn: Learner) -> None:
    learn.save("a")


def exported(learn: Learner) -> None:
    learn.export(learn.path / "a.lk")


def nothing(learn: Learner) -> None: ...


WAYS: dict[str, tuple[Callable[[Learner], None], Callable[[Learner], object]]] = {
    "load": (saved, lambda learn: learner(learn.dls, learn.path).load("a")),
    "load_learner": (exported, lambda learn: load_learner(learn.path / "a.lk", model=network())),
    "predictor": (nothing, lambda learn: learn.predictor()),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("name", "value"),
    [("0.weight", torch.nan), ("2.bias", torch.inf), ("2.weight", -torch.inf), ("1.running_var", torch.inf)],
)
def test_what_is_loaded_is_named(way: str, name: str, value: float, dls: DataBunch, tmp_path: Path) -> None:
    write, read = WAYS[way]
    learn = learner(dls, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(learn)
        read(learn)
    spoil(learn.model, name, value)
    write(learn)
    with pytest.warns(LearnkitWarning, match=f"are nan or infinite: {name}. Predictions with them") as told:
        read(learn)
    assert len(told) == 1


def test_what_is_not_loaded_is_not(dls: DataBunch, tmp_path: Path) -> None:
    other = Learner(dls, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Linear(2, 2)))
    spoil(other.model, "3.weight", torch.nan)
    other.path = tmp_path
    other.save("a", with_opt=False)
    with pytest.warns(LearnkitWarning) as told:
        learner(dls, tmp_path).load("a", strict=False)
    assert not any("infinite" in str(one.message) for one in told)


class Spoil(Callback):
    """Makes the statistics of batch norm infinite, which training does not see."""

    def after_step(self, state: TrainState) -> None:
        spoil(state.model, "1.running_mean", torch.inf)

    def after_epoch(self, state: TrainState) -> None:
        if state.epoch == 1 and not state.resumed:
            raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore:the validation loss")
def test_a_checkpoint_is_looked_at(dls: DataBunch, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        learner(dls, tmp_path).fit(3, callbacks=[Spoil()], checkpoint_every=1)
    with pytest.warns(LearnkitWarning, match=r"checkpoint of the fit are nan or infinite: 1.running_mean\. "):
        learner(dls, tmp_path).fit(3, callbacks=[Spoil()], checkpoint_every=1, resume="auto")


class Unused(nn.Sequential):
    """A network with a parameter that is in no output, and not trained."""

    def __init__(self, value: float) -> None:
        super().__init__(nn.Linear(2, 2))
        self.register_parameter("unused", nn.Parameter(torch.tensor([value]), requires_grad=False))


@pytest.mark.parametrize("average", [EMA, lambda: SWA(start=0)], ids=["EMA", "SWA"])
def test_an_average_is_looked_at(average: Callable[[], Callback], dls: DataBunch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Learner(dls, Unused(1.0)).fit(1, callbacks=[average()])
    with pytest.warns(LearnkitWarning, match=r"the averaged weights of (EMA|SWA) are nan or infinite: unused\. "):
        Learner(dls, Unused(torch.nan)).fit(1, callbacks=[average()])


def test_the_best_weights_are_looked_at(dls: DataBunch, tmp_path: Path) -> None:
    learn = Learner(dls, Unused(torch.nan), path=tmp_path)
    with pytest.warns(LearnkitWarning, match=r"weights in .*bestmodel.pth are nan or infinite: unused\. "):
        learn.fit(1, callbacks=[SaveModel("valid_loss")])


@pytest.mark.parametrize("to", [slow("onnx"), "pt2"])
def test_files_for_other_programs_are_refused_by_name(to: str, dls: DataBunch, tmp_path: Path) -> None:
    learn = learner(dls, tmp_path)
    spoil(learn.model, "0.bias", torch.nan)
    with pytest.raises(ExportError, match=r"outputs for 1 random inputs are nan\. Look for nan in its weights"):
        learn.export(tmp_path / "a", to=to)  # type: ignore[arg-type]
