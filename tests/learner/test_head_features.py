"""fit_head: the head alone, on features that are computed once."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from learnkit import DataBunch, ImageDataBunch, Learner, MultiLabel, Regression, Segmentation, cnn_learner, unet_learner
from learnkit.callbacks import EMA, SWA, BnFreeze, EarlyStopping, GradientAccumulation, MixUp, OneCycle, SaveModel
from learnkit.errors import UsageError
from learnkit.learner import head_features as module
from tests.doubles import Blobs, acting, raising, refused
from tests.test_every_callback import EVERY_CALLBACK


class Body(nn.Module):
    """Counts the items it gets; a convolution, batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.n_items = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_items += len(x)
        out: Tensor = self.net(x)
        return out


def network(p: float = 0.5) -> nn.Sequential:
    torch.manual_seed(0)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(p), nn.Linear(4, 8), nn.ReLU(inplace=True),
        nn.Dropout(p), nn.Linear(8, 3),
    )  # fmt: skip
    model = nn.Sequential(Body(), head).double()
    model[0].net[1].running_mean += 0.25  # statistics that a pass in training mode would change
    return model


def images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=random)
    return torch.rand(n, 1, 6, 6, generator=random, dtype=torch.float64) + y[:, None, None, None] / 2, y


def learner(model: nn.Module | None = None, **options: Any) -> Learner:
    """50 and 21 images in batches of 8, a body and a head; float64, frozen."""
    dls = DataBunch.from_tensors(*images(50, 0), *images(21, 1), bs=8, classes=["a", "b", "c"])
    model = network() if model is None else model
    groups = options.pop("groups", lambda m: [m[0], m[1]])
    options = {"seed": 0, "train_bn": False, "metrics": ["accuracy"], **options}
    learn = Learner(dls, model, groups=groups, **options)
    learn.freeze()
    return learn


def tensors(learn: Learner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}


def no_trace_of_features(learn: Learner) -> bool:
    """Neither a hook, nor another forward pass, nor another layer than before."""
    kept = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    parts = [vars(part) for part in learn.model.modules()]
    return not any({"forward", "train"} & part.keys() or any(part[name] for name in kept) for part in parts)


@pytest.mark.parametrize(
    ("options", "lr"),
    [
        ({}, 1e-2),
        ({"wd": 0.1}, [1e-3, 1e-2]),
        ({"callbacks": OneCycle}, slice(None, 1e-2)),
        ({"callbacks": EMA}, 1e-2),
        ({"callbacks": lambda: SWA(0.3)}, 1e-2),
        ({"callbacks": lambda: GradientAccumulation(24)}, 1e-2),
    ],
)
def test_it_is_the_fit_of_a_frozen_learner(options: dict[str, Any], lr: Any) -> None:
    made = options.get("callbacks")
    plain, head = learner(), learner()
    plain.fit(3, lr, **{**options, "callbacks": [BnFreeze(), *([made()] if made else [])]})
    head.fit_head(3, lr, **{**options, "callbacks": [made()] if made else []})
    for name, tensor in tensors(plain).items():
        torch.testing.assert_close(tensors(head)[name], tensor, rtol=0, atol=1e-9)
    names = ["epoch", "train_loss", "valid_loss", "accuracy"]
    torch.testing.assert_close(
        torch.tensor(head.history[names].to_numpy()), torch.tensor(plain.history[names].to_numpy()), rtol=0, atol=1e-7
    )
    assert head.epoch == plain.epoch == 3
    assert [module.training for module in head.model.modules()] == [m.training for m in plain.model.modules()]


def test_validate_is_the_recorded_loss_and_the_body_is_as_before() -> None:
    learn = learner()
    before = tensors(learn)
    random = torch.get_rng_state()
    learn.fit_head(2, 1e-2)
    assert torch.equal(torch.get_rng_state(), random)
    loss, accuracy = learn.validate()
    assert loss == pytest.approx(learn.history["valid_loss"].iloc[-1], abs=1e-6)
    assert accuracy == pytest.approx(learn.history["accuracy"].iloc[-1], abs=1e-6)
    after = tensors(learn)
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("0."))
    assert not torch.equal(after["1.7.weight"], before["1.7.weight"])
    assert no_trace_of_features(learn)


def test_in_channels_last_memory_format_the_results_are_the_same() -> None:
    plain, turned = learner(network_with_1x1()), learner(network_with_1x1()).to_channels_last()
    for learn in (plain, turned):
        learn.fit_head(2, 1e-2)
    for name, tensor in tensors(plain).items():
        torch.testing.assert_close(tensors(turned)[name], tensor, rtol=0, atol=1e-9)


def network_with_1x1() -> nn.Sequential:
    """With a convolution whose weights are stored the same in both formats, and with other strides."""
    model = network(0.0)
    model[0].net.append(nn.Conv2d(4, 4, 1).double())
    return model


@pytest.mark.parametrize("epochs", [1, 5])
def test_the_body_computes_each_item_once(epochs: int) -> None:
    learn = learner()
    learn.model[0].n_items = 0
    learn.fit_head(epochs, 1e-2)
    assert learn.model[0].n_items == 50 + 21
    assert len(learn.history) == epochs


def test_features_are_kept_after_the_pooling(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    learn = learner()
    sees = acting(before_batch=lambda state: shapes.append(tuple(state.inputs[0].shape)))
    learn.fit_head(1, 1e-2, callbacks=sees)
    assert set(shapes) == {(8, 4)}


def test_what_was_trainable_is_so_again_and_only_the_head_is_trained() -> None:
    learn = learner()
    learn.unfreeze()
    learn.model[0].net[0].bias.requires_grad_(False)  # by the user
    before, flags = tensors(learn), [p.requires_grad for p in learn.model.parameters()]
    learn.fit_head(1, 1e-2)
    assert [p.requires_grad for p in learn.model.parameters()] == flags
    assert all(torch.equal(tensors(learn)[name], before[name]) for name in before if name.startswith("0."))
    learn.fit(1, 1e-2)
    assert not torch.equal(learn.model[0].net[0].weight, before["0.net.0.weight"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("in a callback")])
@pytest.mark.parametrize("where", ["the body", "a batch"])
def test_nothing_stays_behind_after_an_error(error: BaseException, where: str) -> None:
    learn = learner()
    learn.unfreeze()
    learn.model.train()
    flags = [p.requires_grad for p in learn.model.parameters()]
    callbacks = [acting(before_batch=raising(error, epoch=1))]
    if where == "the body":
        before = [m.training for m in learn.model.modules()]

        def fails(layer: nn.Module, inputs: Any) -> None:
            raise error

        handle = learn.model[0].net[2].register_forward_pre_hook(fails)
    with pytest.raises(type(error)):
        learn.fit_head(2, 1e-2, callbacks=callbacks)
    if where == "the body":
        handle.remove()
        assert [m.training for m in learn.model.modules()] == before
    assert [p.requires_grad for p in learn.model.parameters()] == flags
    assert no_trace_of_features(learn)
    assert len(learn.history) == (1 if where == "a batch" else 0)
    learn.fit(1, 1e-2)


def test_callbacks_see_the_whole_model(tmp_path: Path) -> None:
    learn = learner(path=tmp_path)
    predicted = []
    asks = acting(after_epoch=lambda state: predicted.append(learn.get_preds()[0]))
    learn.fit_head(4, 1e-2, callbacks=[SaveModel(name="best"), EarlyStopping(min_delta=10.0, patience=2), asks])
    assert len(learn.history) == 3  # the losses never improve by 10
    assert [tuple(preds.shape) for preds in predicted] == [(21, 3)] * 3
    assert not torch.equal(predicted[0], predicted[1])
    other = learner(path=tmp_path)
    other.load("best")
    assert other.validate()[0] == pytest.approx(learn.history["valid_loss"].min(), abs=1e-6)


class Killed(BaseException):
    pass


def test_a_fit_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = learner(path=tmp_path / "whole")
    whole.fit_head(3, 1e-2, callbacks=OneCycle())
    killed = learner(path=tmp_path / "killed")
    stops = acting(order=99, after_batch=raising(Killed(), epoch=1, batch=3))
    with pytest.raises(Killed):
        killed.fit_head(3, 1e-2, callbacks=[OneCycle(), stops], checkpoint_every=2)
    again = learner(path=tmp_path / "killed")
    again.fit_head(3, 1e-2, callbacks=OneCycle(), checkpoint_every=2, resume="auto")
    assert all(torch.equal(tensor, tensors(whole)[name]) for name, tensor in tensors(again).items())
    drop = ["time"]
    assert again.history.drop(columns=drop).equals(whole.history.drop(columns=drop))


def test_a_checkpoint_of_another_body_or_of_a_whole_fit_is_refused(tmp_path: Path) -> None:
    def stopped(fit: str) -> None:
        learn = learner(path=tmp_path)
        stops = acting(order=99, after_epoch=raising(Killed(), epoch=1, batch=5))
        with pytest.raises(Killed):
            getattr(learn, fit)(3, 1e-2, callbacks=stops, checkpoint_every=2)

    stopped("fit_head")
    other = learner(path=tmp_path)
    with torch.no_grad():
        other.model[0].net[0].weight += 1
    with pytest.raises(UsageError, match="belongs to another fit: fit_head: weights of the body"):
        other.fit_head(3, 1e-2, resume="auto")
    stopped("fit")
    with pytest.raises(UsageError, match="belongs to another fit: fit_head: weights of the body"):
        learner(path=tmp_path).fit_head(3, 1e-2, resume="auto")


IMPOSSIBLE = {"CutMix", "MixUp", "Recorder", "RNNRegularizer"}  # change inputs, are there already, need hidden states


def probe(model: nn.Sequential) -> nn.Sequential:
    """A head without batch norm and dropout, in float32."""
    model[1] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return model.float()


@pytest.mark.parametrize("name", sorted(EVERY_CALLBACK.keys() - IMPOSSIBLE))
def test_every_other_callback_runs_with_it(name: str, tmp_path: Path) -> None:
    (x_train, y_train), (x_valid, y_valid) = images(50, 0), images(21, 1)
    dls = DataBunch.from_tensors(x_train.float(), y_train, x_valid.float(), y_valid, bs=8, classes=["a", "b", "c"])
    learn = Learner(dls, probe(network()), groups=lambda m: [m[0], m[1]], metrics="accuracy", seed=0, path=tmp_path)
    before = tensors(learn)
    learn.fit_head(2, 1e-2, callbacks=EVERY_CALLBACK[name]())
    learn.fit_head(1, 1e-2)
    assert len(learn.history) == 3
    assert all(torch.equal(tensors(learn)[key], before[key]) for key in before if key.startswith("0."))
    assert no_trace_of_features(learn)


def test_the_body_is_in_eval_mode() -> None:
    learn = learner()
    learn.model.train()
    modes = []
    sees = acting(before_batch=lambda state: modes.append([part.training for part in state.model.modules()]))
    learn.fit_head(1, 1e-2, callbacks=sees)
    names = [name for name, _ in learn.model.named_modules()]
    is_head = [name in ("", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7") for name in names]  # from batch norm on
    assert modes == [is_head] * 6


# Models


class Net(nn.Module):
    """No Sequential: its last layer is called by its forward pass."""

    def __init__(self, after: Callable[[Tensor], Tensor] = lambda out: out) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 3)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.fc(self.conv(x).relu().mean((2, 3))))


def of_net(model: nn.Module) -> list[nn.Module]:
    return [model.conv, model.fc]  # type: ignore[list-item]


def test_the_head_may_be_any_layer_at_the_end_of_a_module() -> None:
    torch.manual_seed(0)
    net = Net().double()
    plain, head = learner(copy.deepcopy(net), groups=of_net), learner(net, groups=of_net)
    plain.fit(2, 1e-2)
    head.fit_head(2, 1e-2)
    for name, tensor in tensors(plain).items():
        torch.testing.assert_close(tensors(head)[name], tensor, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_compiled_model_is_trained_too() -> None:
    plain, head = learner(), learner()
    head.model.compile(backend="eager")
    plain.fit_head(1, 1e-2)
    head.fit_head(1, 1e-2)
    assert head.validate()[0] == pytest.approx(plain.validate()[0], abs=1e-9)


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x).relu()
        out: Tensor = self.fc(features.mean((2, 3))) + self.fc(features.amax((2, 3)))
        return out


@pytest.mark.parametrize(
    ("model", "groups", "why"),
    [
        (Twice(), of_net, "its head is not called once, with one tensor"),
        (Net(torch.sigmoid), of_net, "its outputs are not those of its head"),
        (Net(), lambda m: [m.fc, m.conv], "its head is not called once|its outputs are not"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
         lambda m: [[m[1]], [m[0], m[4]]], "the last layer group is not the last part of the model"),
    ],
)  # fmt: skip
def test_a_model_whose_end_is_not_its_head_is_refused(model: nn.Module, groups: Any, why: str) -> None:
    learn = learner(copy.deepcopy(model).double(), groups=groups)
    before = tensors(learn)
    with pytest.raises(UsageError, match=rf"fit_head: ({why}).*learn.freeze\(\) and learn.fit\(\)"):
        learn.fit_head(1, 1e-2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(learn).items())
    assert no_trace_of_features(learn)


def test_a_single_group_has_no_head(blobs: Blobs) -> None:
    learn = Learner(DataBunch.from_tensors(*blobs), nn.Linear(2, 2), seed=0)
    with pytest.raises(UsageError, match="fit_head: this model has 1 layer group"):
        learn.fit_head(1)


def test_a_unet_is_refused() -> None:
    x, y = torch.rand(4, 3, 64, 64), torch.randint(2, (4, 64, 64))
    dls = DataBunch.from_tensors(x, y, x, y, bs=2, task=Segmentation(("a", "b")))
    learn = unet_learner(dls, "resnet18", pretrained=False, seed=0)
    with pytest.raises(UsageError, match="its head is not called once, with one tensor"):
        learn.fit_head(1)


def test_a_cnn_of_images_is_trained_on_what_validation_sees(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=4, num_workers=0)
    learn = cnn_learner(dls, "resnet18", pretrained=False, lin_ftrs=[], ps=0.0, seed=0)
    seen: list[Tensor] = []
    sees = acting(before_batch=lambda state: seen.append(state.inputs[0]))
    learn.fit_head(2, 1e-3, callbacks=sees)
    learn.model.eval()
    with torch.no_grad():
        expected = torch.cat([learn.model[0](x) for x, *_ in dls.ordered_dl("train")])
    pooled = torch.cat([expected.amax((2, 3)), expected.mean((2, 3))], 1)
    for row in torch.cat(seen):
        assert (pooled - row).abs().amax(1).min() < 1e-4
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].iloc[-1], abs=1e-5)


# Data


def test_items_are_drawn_as_in_a_fit(class_folder: Path) -> None:
    drawn: dict[str, list[list[int]]] = {}
    for fit in ("fit", "fit_head"):
        dls = ImageDataBunch.from_folder(class_folder, size=8, bs=2, num_workers=0, augment=False, sampler="balanced")
        layers = [nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)]
        learn = Learner(dls, nn.Sequential(*layers), groups=lambda m: [m[0], m[3]], seed=0)
        targets = drawn.setdefault(fit, [])
        sees = acting(before_batch=lambda state, seen=targets: seen.append(state.targets.tolist()))  # type: ignore[misc]
        getattr(learn, fit)(2, 1e-3, callbacks=sees)
    assert drawn["fit"] == drawn["fit_head"]
    assert len(drawn["fit"]) > 2


@pytest.mark.parametrize(
    ("task", "y", "n_out"),
    [(MultiLabel(("a", "b")), torch.randint(2, (32, 2)).float(), 2), (Regression(), torch.rand(32, 1), 1)],
)
def test_every_task_whose_targets_are_tensors(task: Any, y: Tensor, n_out: int) -> None:
    x = torch.rand(32, 5)
    dls = DataBunch.from_tensors(x, y, x, y, bs=8, task=task)
    learn = Learner(dls, nn.Sequential(nn.Linear(5, 4), nn.Linear(4, n_out)), groups=lambda m: [m[0], m[1]], seed=0)
    learn.fit_head(2, 1e-1)
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].iloc[-1], abs=1e-6)


def pair(x: Tensor, y: Tensor) -> TensorDataset:
    return TensorDataset(x, x * 2, y)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(a) - self.body(b))
        return out


@pytest.mark.parametrize("shuffle", [True, False])
def test_loaders_of_the_user_and_several_inputs(blobs: Blobs, shuffle: bool) -> None:
    train = DataLoader(pair(*blobs[:2]), 10, shuffle=shuffle)
    dls = DataBunch.from_loaders(train, DataLoader(pair(*blobs[2:4]), 10), classes=["a", "b"])
    torch.manual_seed(0)
    learn = Learner(dls, TwoInputs(), groups=lambda m: [m.body, m.head], seed=0)
    before = copy.deepcopy(learn.model)
    seen: list[Tensor] = []
    learn.fit_head(1, 1e-9, callbacks=acting(before_batch=lambda state: seen.append(state.inputs[0])))
    with torch.no_grad():
        features = before.body(blobs[0]) - before.body(blobs[0] * 2)  # type: ignore[operator]
    drawn = torch.cat(seen)
    torch.testing.assert_close(drawn.sort(0)[0][: len(drawn)], drawn.sort(0)[0])
    in_order = torch.allclose(drawn, features[: len(drawn)], atol=1e-6)
    assert in_order == (not shuffle)
    assert learn.validate()[0] == pytest.approx(learn.history["valid_loss"].iloc[-1], abs=1e-6)


def test_without_a_validation_set(blobs: Blobs) -> None:
    learn = Learner(
        DataBunch.from_tensors(*blobs[:2], bs=8), nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)),
        groups=lambda m: [m[0], m[1]], seed=0,
    )  # fmt: skip
    learn.fit_head(2, 1e-2)
    assert len(learn.history) == 2


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.zeros(2), torch.tensor(0))] * 8)


def loaders(blobs: Blobs) -> Sequence[tuple[Any, str]]:
    weighted = WeightedRandomSampler([1.0] * len(blobs[0]), 32)
    return [
        (DataLoader(Stream(), 4), "a loader without a length"),
        (DataLoader(TensorDataset(*blobs[:2]), 4, sampler=weighted), "the sampler of a DataLoader"),
        ([(blobs[0], {"label": blobs[1]})], "targets"),
    ]


@pytest.mark.parametrize("number", range(3))
def test_loaders_that_cannot_be_kept_are_refused(blobs: Blobs, number: int) -> None:
    train, why = loaders(blobs)[number]
    dls = DataBunch.from_loaders(train, classes=["a", "b"])
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))
    loss = F.cross_entropy
    learn = Learner(dls, model, groups=lambda m: [m[0], m[1]], loss_func=loss, activation=nn.Softmax(1), seed=0)
    with pytest.raises(UsageError, match=f"fit_head: {why}"):
        learn.fit_head(1, 1e-2)


def test_features_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_memory", lambda *device: 71 * 4 * 8)  # exactly the features, and nothing else
    learn = learner()
    with pytest.raises(UsageError, match=r"fit_head: the features \(4,\) of 71 items"):
        learn.fit_head(1, 1e-2)
    monkeypatch.setattr(module, "free_memory", lambda *device: 71 * 4 * 8 * 10 // 8)
    learn.fit_head(1, 1e-2)


def test_callbacks_that_change_inputs_are_refused() -> None:
    learn = learner()
    learn.model[0].n_items = 0
    for use in (lambda: learn.fit_head(1, callbacks=MixUp()), lambda: learn.add_cb(MixUp()).fit_head(1)):
        with refused("fit_head: callbacks", got="MixUp"):
            use()
    assert learn.model[0].n_items == 0


def test_no_epochs_do_nothing() -> None:
    learn = learner()
    learn.model[0].n_items = 0
    with pytest.warns(UserWarning, match="fit of 0 epochs"):
        learn.fit_head(0)
    assert learn.model[0].n_items == 0
