"""Outputs, inputs and targets of any structure: everything a learner does gives the numbers of the plain model."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit import DataBunch, ImageDataBunch, Learner, load_learner
from learnkit.callbacks import CutMix, GradientAccumulation, MicroBatches, MixedPrecision, MixUp
from learnkit.errors import UsageError
from learnkit.losses import from_outputs
from tests.doubles import acting, refused


class Pair(NamedTuple):
    logits: Tensor
    hidden: Tensor


@dataclass
class Record:
    logits: Tensor
    hidden: Tensor | None = None


class ModelOutput(OrderedDict[str, Any]):
    """Like those of transformers: a dict whose entries are attributes too."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


Make = Callable[[Tensor], Any]
Key = str | int | Callable[[Any], Any]
OUTPUTS: dict[str, tuple[Make, Key]] = {
    "tuple": (lambda raw: (raw, raw.square()), 0),
    "list": (lambda raw: [raw.square(), raw], 1),
    "named tuple": (lambda raw: Pair(raw, raw), "logits"),
    "named tuple by index": (lambda raw: Pair(raw, raw), 0),
    "dict": (lambda raw: {"logits": raw, "hidden": None}, "logits"),
    "nested": (lambda raw: {"all": ({"logits": raw},)}, lambda outputs: outputs["all"][0]["logits"]),
    "dataclass": (lambda raw: Record(raw), "logits"),
    "model output": (lambda raw: ModelOutput(logits=raw, hidden=(raw, raw)), "logits"),
}
of_every_structure = pytest.mark.parametrize(("make", "key"), OUTPUTS.values(), ids=OUTPUTS)


class Net(nn.Module):
    """A linear layer over flattened inputs, whose outputs `make` puts into a structure."""

    def __init__(self, make: Make, n_in: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(n_in, 2)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.layer(x.flatten(1)))


def plain(raw: Tensor) -> Tensor:
    return raw


def learner(blobs: tuple[Tensor, ...], make: Make = plain, **options: Any) -> Learner:
    dls = DataBunch.from_tensors(*blobs, bs=14, classes=["a", "b"], device="cpu")
    return Learner(dls, Net(make), seed=0, metrics=["accuracy", "f1"], **options)


WAYS: dict[str, Any] = {
    "plainly": lambda: [],
    "accumulated": lambda: [GradientAccumulation(30)],
    "in parts": lambda: [MicroBatches(4)],
    "mixed": lambda: [MixUp()],
    "in half precision": lambda: [MixedPrecision("bf16")],
}


@of_every_structure
@pytest.mark.parametrize("callbacks", WAYS.values(), ids=WAYS)
def test_a_fit_is_that_of_the_plain_model(
    make: Make, key: Key, callbacks: Callable[[], Any], blobs: tuple[Tensor, ...]
) -> None:
    ours, theirs = learner(blobs, make, output=key), learner(blobs)
    types: set[Any] = set()
    watch = acting(after_pred=lambda state: types.add(state.preds.dtype))
    for learn in (ours, theirs):
        learn.fit(1, 1e-2, callbacks=[*callbacks(), watch])
    assert ours.recorder.losses == theirs.recorder.losses
    assert ours.history.drop(columns="time").equals(theirs.history.drop(columns="time"))
    assert types == {torch.float32}


@of_every_structure
def test_what_it_predicts_is_what_the_plain_model_does(make: Make, key: Key, blobs: tuple[Tensor, ...]) -> None:
    ours, theirs = learner(blobs, make, output=key), learner(blobs)
    for learn in (ours, theirs):
        learn.temperature = 2.0
    assert ours.validate() == theirs.validate()
    for part, other in zip(ours.get_preds(with_loss=True), theirs.get_preds(with_loss=True), strict=True):
        assert torch.equal(part, other)
    x = blobs[2][3]
    assert torch.equal(ours.predict(x).probs, theirs.predict(x).probs)
    assert torch.equal(ours.predictor().predict(x).probs, theirs.predict(x).probs)
    assert torch.equal(ours.get_preds(activ=nn.Identity())[0], theirs.get_preds(activ=nn.Identity())[0])
    interp = ours.interpret()
    assert torch.equal(interp.losses, theirs.interpret().losses)
    assert torch.equal(interp.confusion_matrix(), theirs.interpret().confusion_matrix())
    assert ours.calibrate() == theirs.calibrate()


@pytest.mark.parametrize("key", ["logits", 0])
def test_images_too(key: Key, class_folder: Path) -> None:
    def made(make: Make, output: Key | None) -> Learner:
        dls = ImageDataBunch.from_folder(class_folder, size=8, bs=6, device="cpu", num_workers=0)
        torch.manual_seed(0)
        net = Net(make, 3 * 8 * 8)
        net.layer = nn.Linear(3 * 8 * 8, 3)
        return Learner(dls, net, seed=0, output=output)

    ours, theirs = made(lambda raw: Pair(raw, raw), key), made(plain, None)
    theirs.model.load_state_dict(ours.model.state_dict())
    for learn in (ours, theirs):
        learn.fit(1, 1e-2, callbacks=CutMix())
    assert ours.recorder.losses == theirs.recorder.losses
    for part, other in zip(ours.tta(with_loss=True), theirs.tta(with_loss=True), strict=True):
        assert torch.equal(part, other)
    assert ours.interpret().top_losses(3)[0].tolist() == theirs.interpret().top_losses(3)[0].tolist()


@of_every_structure
def test_without_output_a_loss_of_one_tensor_is_refused(make: Make, key: Key, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, make)
    for call in (lambda: learn.fit(1), learn.validate):
        with pytest.raises(UsageError, match=r"the model returns a .*, and CrossEntropyLoss takes one tensor.*output="):
            call()
    with refused("the model's outputs, activated", expected="one tensor"):
        learn.get_preds()


@pytest.mark.parametrize("key", ["logit", 7, "hidden"])
def test_an_output_that_is_not_there_is_refused(key: Key, blobs: tuple[Tensor, ...]) -> None:
    learn = learner(blobs, lambda raw: {"logits": raw}, output=key)
    with refused("output", got=key, expected="one of those in a dict of logits"):
        learn.fit(1)
    with refused("output", got=key, expected="one of those in a dict of logits"):
        learn.get_preds()


class Images(nn.Module):
    """A small network of images, whose outputs `make` puts into a structure."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.head(self.body(x).relu().mean((2, 3))))


@of_every_structure
def test_heat_maps_and_loaded_learners_take_the_chosen_output(
    make: Make, key: Key, class_folder: Path, tmp_path: Path
) -> None:
    dls = ImageDataBunch.from_folder(class_folder, valid_pct=0.5, size=16, bs=4, num_workers=0, seed=0)
    n_out = len(dls.classes)
    ours, theirs = Images(make), Images(plain)
    for net in (ours, theirs):
        torch.manual_seed(1)
        net.head = nn.Linear(4, n_out)
    learners = [Learner(dls, ours, output=key), Learner(dls, theirs)]
    maps = [learn.interpret().grad_cam(0) for learn in learners]
    assert np.array_equal(*maps)
    image = dls.samples["input"][0]
    file = learners[0].export(tmp_path / "a.lk")
    loaded = load_learner(file, model=ours, output=key)
    assert torch.equal(loaded.predict(image).probs, learners[1].predict(image).probs)


@pytest.mark.parametrize("key", [1.5, True, ("a", "b")])
def test_an_output_that_cannot_be_one_is_refused(key: Any, blobs: tuple[Tensor, ...]) -> None:
    with refused("output", got=key):
        learner(blobs, output=key)


def test_a_loss_of_ones_own_sees_all_outputs_and_metrics_the_chosen_one(blobs: tuple[Tensor, ...]) -> None:
    def both(outputs: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs["logits"], targets) + 0.1 * outputs["penalty"].mean()

    def make(raw: Tensor) -> dict[str, Tensor]:
        return {"logits": raw, "penalty": raw.square()}

    learn = learner(blobs, make, loss_func=both, output="logits")
    learn.fit(1, 1e-2, callbacks=GradientAccumulation(30))
    raw, targets = learn.get_preds(activ=nn.Identity())
    expected = F.cross_entropy(raw, targets) + 0.1 * raw.square().mean()
    loss, accuracy, _ = learn.validate()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert accuracy == pytest.approx((raw.argmax(1) == targets).float().mean().item())
    assert torch.equal(learn.get_preds()[0], raw.softmax(1))  # by the task


# A model that returns its own loss


class Judges(nn.Module):
    """Takes the targets too, like models of transformers, and returns its loss beside the logits."""

    def __init__(self, make: Callable[..., Any] = ModelOutput) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 2)
        self.make = make

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.layer(x)
        loss = {} if labels is None else {"loss": F.cross_entropy(logits, labels)}
        return self.make(**loss, logits=logits)


class Judged(NamedTuple):
    loss: Tensor
    logits: Tensor


def judged(blobs: tuple[Tensor, ...], model: nn.Module, **options: Any) -> Learner:
    x, y, x_valid, y_valid = blobs

    def batches(x: Tensor, y: Tensor) -> list[Any]:
        return list(zip(x.split(14), y.split(14), y.split(14), strict=True))

    dls = DataBunch.from_loaders(batches(x, y), batches(x_valid, y_valid), classes=["a", "b"], device="cpu")
    return Learner(dls, model, loss_func=from_outputs, output="logits", metrics="accuracy", seed=0, **options)


@pytest.mark.parametrize("make", [ModelOutput, dict, Judged])
@pytest.mark.parametrize("callbacks", [[], [GradientAccumulation(30)], [MicroBatches(4)], [MixedPrecision("bf16")]])
def test_the_loss_of_the_model_trains_it(make: Any, callbacks: list[Any], blobs: tuple[Tensor, ...]) -> None:
    ours = judged(blobs, Judges(make))
    inner = nn.Linear(2, 2)
    inner.load_state_dict(ours.model.layer.state_dict())  # type: ignore[union-attr, arg-type]
    batches = [(batch[0], batch[2]) for batch in ours.dls.train_dl]
    valid = [(batch[0], batch[2]) for batch in ours.dls.valid_dl]
    theirs = Learner(
        DataBunch.from_loaders(batches, valid, classes=["a", "b"], device="cpu"), inner, metrics="accuracy", seed=0
    )
    for learn in (ours, theirs):
        learn.fit(2, 1e-2, callbacks=callbacks)
    assert ours.recorder.losses == pytest.approx(theirs.recorder.losses, abs=1e-3 if callbacks else 1e-6)
    assert ours.validate() == pytest.approx(theirs.validate(), abs=1e-3 if callbacks else 1e-6)
    torch.testing.assert_close(ours.get_preds()[0], theirs.get_preds()[0], atol=1e-3, rtol=0)


def test_predictions_need_no_targets(blobs: tuple[Tensor, ...]) -> None:
    learn = judged(blobs, Judges())
    preds, targets = learn.get_preds([(blobs[2],)])
    assert targets is None
    assert torch.equal(preds, learn.model.layer(blobs[2]).softmax(1).detach())  # type: ignore[operator, union-attr]


def test_outputs_without_a_loss_are_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), Judges(), loss_func=from_outputs, output="logits")
    with refused("loss_func=from_outputs: a ModelOutput of logits has no loss"):
        learn.fit(1)


def test_what_needs_a_loss_per_item_is_refused(blobs: tuple[Tensor, ...]) -> None:
    learn = judged(blobs, Judges())
    with refused("loss_func=from_outputs: the model returns one loss per batch, none per item"):
        learn.get_preds(with_loss=True)
    for kind in (MixUp, CutMix):
        with refused(f"{kind.__name__} with loss_func=from_outputs: the loss is computed inside the model"):
            learn.fit(1, callbacks=kind())


# Inputs and targets of several parts


class TwoTowers(nn.Module):
    """One linear layer over two inputs, given as one structure or as two arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 2)

    def forward(self, first: Any, second: Any = None) -> Tensor:
        parts = (first, second) if second is not None else first.values() if isinstance(first, dict) else first
        a, b = parts
        return self.layer(a) - self.layer(b).square()  # type: ignore[no-any-return]


INPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "arguments": lambda a, b: (a, b),
    "tuple": lambda a, b: ((a, b),),
    "list": lambda a, b: ([a, b],),
    "dict": lambda a, b: ({"a": a, "b": b},),
}
TARGETS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "one": (lambda y: y, lambda targets: targets),
    "tuple": (lambda y: (y, y.float()), lambda targets: targets[0]),
    "list": (lambda y: [y, y.float()], lambda targets: targets[0]),
    "dict": (lambda y: {"y": y, "share": y.float()}, lambda targets: targets["y"]),
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize(("targets", "chosen"), TARGETS.values(), ids=TARGETS)
def test_items_weigh_alike_in_batches_of_any_structure(
    inputs: Callable[..., Any], targets: Callable[[Tensor], Any], chosen: Callable[[Any], Tensor],
    blobs: tuple[Tensor, ...],
) -> None:  # fmt: skip
    x, y = blobs[0][:21], blobs[1][:21]

    def loss(preds: Tensor, given: Any) -> Tensor:
        return F.cross_entropy(preds, chosen(given))

    def batches(size: int) -> list[Any]:
        parts = [slice(start, start + size) for start in range(0, 21, size)]
        return [(*inputs(x[part], x.flip(0)[part]), targets(y[part])) for part in parts]

    def fitted(size: int, *callbacks: Any) -> Learner:
        dls = DataBunch.from_loaders(batches(size), batches(size), device="cpu")
        learn = Learner(dls, TwoTowers(), loss_func=loss, opt_func="sgd", wd=0, metrics=loss, seed=0)
        learn.fit(1, 0.1, callbacks=callbacks)
        return learn

    whole, accumulated, in_parts = fitted(21), fitted(8, GradientAccumulation(21)), fitted(21, MicroBatches(5))
    for learn in (accumulated, in_parts):
        for ours, theirs in zip(learn.model.parameters(), whole.model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert accumulated.validate()[0] == pytest.approx(whole.validate()[0], rel=1e-5)
    assert in_parts.recorder.losses == pytest.approx(whole.recorder.losses)
    preds, found = accumulated.get_preds()
    assert torch.equal(chosen(found), y)
    torch.testing.assert_close(preds, whole.get_preds()[0])


def test_a_temperature_divides_every_output_before_the_activation(blobs: tuple[Tensor, ...]) -> None:
    def activation(outputs: Any) -> Tensor:
        return outputs["logits"].softmax(1)  # type: ignore[no-any-return]

    learn = learner(blobs, lambda raw: {"logits": raw, "n": torch.tensor(3)}, activation=activation)
    learn.temperature = 2.0
    theirs = learner(blobs)
    theirs.temperature = 2.0
    assert torch.equal(learn.get_preds()[0], theirs.get_preds()[0])


class Static(nn.Module):
    """Returns the same memory at every call, as a network captured as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 2)
        self.buffers_of: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        raw: Tensor = self.layer(x)
        if torch.is_grad_enabled():
            return raw
        return self.buffers_of.setdefault((raw.device, len(x)), torch.empty_like(raw)).copy_(raw)


@pytest.mark.parametrize(
    "activation", [nn.Identity(), nn.Softmax(1), lambda raw: raw[:, 1:], lambda raw: raw.view(-1, 2)]
)
def test_outputs_that_the_next_call_overwrites_are_kept(activation: Any, blobs: tuple[Tensor, ...]) -> None:
    dls = DataBunch.from_tensors(*blobs, bs=8, classes=["a", "b"], device="cpu")
    learn = Learner(dls, Static(), activation=activation, seed=0)
    expected = activation(learn.model.layer(blobs[2]).detach())
    torch.testing.assert_close(learn.get_preds()[0], expected)
    torch.testing.assert_close(torch.cat([preds for preds, _ in list(learn.predict_iter())]), expected)
    out = torch.empty_like(expected)
    learn.get_preds(out=out)
    torch.testing.assert_close(out, expected)
    found = [learn.predict(x).probs for x in blobs[2]]
    torch.testing.assert_close(torch.stack(found), expected, atol=1e-5, rtol=1e-5)
    predictor = learn.predictor()
    found = [predictor.predict(x).probs for x in blobs[2]]
    torch.testing.assert_close(torch.stack(found), expected, atol=1e-5, rtol=1e-5)


class StaticLoss(Judges):
    """Its loss is in the same memory at every call, in training too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("static", torch.zeros(()))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        outputs = super().forward(x, labels)
        if labels is not None:
            with torch.no_grad():
                self.static.copy_(outputs["loss"])
            outputs["loss"].data = self.static
        return outputs


@pytest.mark.parametrize("callbacks", [[], [MicroBatches(4)]])
def test_losses_that_the_next_call_overwrites_are_kept(
    callbacks: list[Any], blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learnkit.device.Compute.sync_is_free", property(lambda self: False))
    static, plain = judged(blobs, StaticLoss()), judged(blobs, Judges())
    for learn in (static, plain):
        learn.fit(1, 1e-2, callbacks=callbacks)
    assert static.validate() == plain.validate()
    assert static.recorder.losses == plain.recorder.losses
    assert static.history["valid_loss"].tolist() == plain.history["valid_loss"].tolist()
