"""Training the head alone: the features that a frozen body hands to it are computed once, and kept in memory."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import OrderedLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.device import Compute
from learnkit.device_memory import free_memory
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.predictions import count_rows, predict_loader
from learnkit.learner.feature_views import ViewLoader, Views
from learnkit.learner.fingerprint import digest_of
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.training.weights import tensors_of
from learnkit.tree import leaves

__all__ = [
    "FREEZE_INSTEAD",
    "HeadFeatures",
    "NoFeatures",
    "head_features",
    "head_layers",
    "identity_of",
    "training_only",
]

FIXED = {
    AdaptiveConcatPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity, nn.ReLU,
}  # fmt: skip  # layers without weights that return the same in training: done before the features are kept
SHARE = 0.9  # of the free memory that features may take
TOLERANCE = 1e-4  # of a head by itself, against the whole model
FREEZE_INSTEAD = "Train it with learn.freeze() and learn.fit()."


class NoFeatures(UsageError):
    """Why the head cannot be trained without the body; nothing has been trained."""


@dataclass(frozen=True)
class HeadFeatures:
    """What a fit of the head trains on instead of the learner's model and data.

    Attributes:
        model: all modules are those of the learner's model, and so are their names; its input is a batch of features.
        train_dl: features and targets, in batches and in an order as the learner's training loader draws them.
        valid_dl: likewise of the validation loader; None without a validation set.
        body: the weights that the features were computed with.
    """

    model: nn.Module
    train_dl: ViewLoader
    valid_dl: ViewLoader | None
    body: Sequence[Tensor]

    def end(self, model: nn.Module) -> None:
        """Leave the learner's model in the mode in which a fit ended; to be called after it."""
        model.training = self.model.training
        del self.model.train  # which holds its own module


def identity_of(features: HeadFeatures | None) -> dict[str, str]:
    """What must be the same for a fit on features to continue."""
    if features is None:
        return {}
    n_views = features.train_dl.n_views
    views = {} if n_views == 1 else {"fit_head: n_views": str(n_views)}  # earlier checkpoints have one, and no entry
    return {"fit_head: weights of the body": digest_of(features.body), **views}


def head_features(
    model: nn.Module, group: nn.Module, dls: DataBunch, compute: Compute, *, views: Views | None = None,
    is_done: bool = False,
) -> HeadFeatures:  # fmt: skip
    """The features of the training and the validation set, each item computed once, in eval mode and not augmented.

    Args:
        model: the whole network; neither it nor the global generators are changed.
        group: its last layer group, the head.
        dls: the data.
        compute: the device and precision of the body.
        views: of the training set instead, each augmented item computed once; None for the items as they are.
        is_done: the fit will not run: let items have no features, and compute none.

    Raises:
        NoFeatures: no part of the model with the parameters of the group turns one tensor into its outputs; features
            that do not fit into memory; a loader that cannot be read once, or draws its items in a way of its own.
    """
    layers = head_layers(model, group)
    parts = {"train": dls.train_dl} if dls.valid_dl is None else {"train": dls.train_dl, "valid": dls.valid_dl}
    passes = {name: [dls.ordered_dl(name)] if views is None or name == "valid" else views for name in parts}
    counts = {name: count_rows(dls.ordered_dl(name)) for name in parts}
    tell = partial(_check_room, sum((counts[name] or 0) * len(passes[name]) for name in parts), compute.device)
    catching = _Catching(model, layers, tell)
    loaders = {}
    for name, loader in parts.items():
        if is_done and (count := counts[name]) is not None:
            rows = [(torch.empty(count, 0), torch.empty(count))] * len(passes[name])
        else:
            rows = [_read(catching, one, compute) for one in passes[name]]
        loaders[name] = ViewLoader(rows, _order_like(loader, len(rows[0][0])))
    own = {id(tensor) for layer in layers for tensor in tensors_of(layer).values()}
    body = [tensor for tensor in tensors_of(model).values() if id(tensor) not in own]
    return HeadFeatures(_on_features(model, layers), loaders["train"], loaders.get("valid"), body)


def head_layers(model: nn.Module, group: nn.Module) -> list[nn.Module]:
    """The layers at the end of a model that hold the parameters of a layer group, to be called one after the other.

    They begin with the first one that has weights or is random: pooling before it belongs to the body.

    Raises:
        NoFeatures: the group is not the end of the model.

    >>> pool, linear = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 2)
    >>> head_layers(nn.Sequential(nn.Conv2d(3, 4, 3), pool, nn.Dropout(), linear), linear)
    [Dropout(p=0.5, inplace=False), Linear(in_features=4, out_features=2, bias=True)]
    """
    layers = _end(model, _parameters(group))
    while len(layers) > 1 and type(layers[0]) in FIXED and not _has_hooks(layers[0]):
        del layers[0]
    if not layers:
        raise _not_apart("the last layer group is not the last part of the model")
    return layers


@contextmanager
def training_only(group: nn.Module, model: nn.Module) -> Iterator[None]:
    """Inside, no other parameter of the model requires a gradient; afterwards those that did require one again."""
    own = _parameters(group)
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def _end(module: nn.Module, head: set[int]) -> list[nn.Module]:
    """The last layers of a module that hold just these parameters; none if there are none."""
    in_a_row = _is_plain(module)
    layers = _flat(module) if in_a_row else list(module.children())
    holding = [number for number, layer in enumerate(layers) if _parameters(layer) & head]
    if not holding:
        return []
    first = holding[0]
    if in_a_row and set().union(*map(_parameters, layers[first:])) == head:
        while first and not _parameters(layers[first - 1]):  # dropout, and pooling
            first -= 1
        return layers[first:]
    if len(holding) > 1:
        return []
    return _flat(layers[first]) if _parameters(layers[first]) == head else _end(layers[first], head)


def _flat(module: nn.Module) -> list[nn.Module]:
    return [layer for child in module for layer in _flat(child)] if _is_plain(module) else [module]  # type: ignore[attr-defined]


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Sequential and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _parameters(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _run(layers: Sequence[nn.Module], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _on_features(model: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The model with its end as forward pass, and the body always in eval mode; all modules and tensors are shared."""
    model.eval()
    view = copy.copy(model)
    vars(view).update(forward=partial(_run, layers), train=partial(_train, view, layers), _compiled_call_impl=None)
    return view


def _train(view: nn.Module, layers: Sequence[nn.Module], mode: bool = True) -> nn.Module:
    for layer in layers:
        layer.train(mode)
    view.training = mode
    return view


class _Catching(nn.Module):
    """Returns what a model hands to its last layers, (N, ...), and checks for the first batch that this is all.

    Args:
        model: the whole network.
        layers: its last layers.
        check_room: is given the features of the first batch.
    """

    def __init__(self, model: nn.Module, layers: Sequence[nn.Module], check_room: Any) -> None:
        super().__init__()
        self.model = model
        self._layers = tuple(layers)  # these are modules of the model already
        self._check_room = check_room
        self._is_first = True

    def forward(self, *inputs: Any) -> Tensor:
        caught: list[Any] = []

        def catch(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = [*args, *kwargs.values()]
            caught.append([each.clone() if isinstance(each, Tensor) else None for each in given])

        hook = self._layers[0].register_forward_pre_hook(catch, with_kwargs=True)
        try:
            with self._eager():
                outputs = self.model(*inputs)
        finally:
            hook.remove()
        if len(caught) != 1 or len(caught[0]) != 1 or caught[0][0] is None:
            raise _not_apart("its head is not called once, with one tensor")
        features: Tensor = caught[0][0]
        if self._is_first:
            self._is_first = False
            self._check_room(features)
            self._check_outputs(outputs, _run(self._layers, features.clone()))
        return features

    def _eager(self) -> AbstractContextManager[Any]:
        """Inside, nothing is compiled: compiled code does not call the hook."""
        parts = [vars(module) for module in self.model.modules()]
        is_compiled = any(part.get("_compiled_call_impl") or "_orig_mod" in part["_modules"] for part in parts)
        return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()

    def _check_outputs(self, outputs: Any, of_head: Any) -> None:
        pairs = list(zip(leaves(outputs), leaves(of_head), strict=False))
        are_alike = all(a.shape == b.shape and torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE) for a, b in pairs)
        if not pairs or not are_alike:
            raise _not_apart("its outputs are not those of its head")


def _check_room(n_items: int, device: torch.device, features: Tensor) -> None:
    need, free = n_items * features.nbytes // max(len(features), 1), min(free_memory(), free_memory(device))
    free = -world.highest(-int(free))  # so that all processes find the same
    if need > free * SHARE:
        raise NoFeatures(
            f"fit_head: the features {tuple(features.shape[1:])} of {n_items:,} items take {need / 1e9:.1f} GB",
            expected=f"at most {SHARE:.0%} of the {free / 1e9:.1f} GB that are free",
            fix=f"Pool them before the head, or use smaller images. {FREEZE_INSTEAD}",
        )


def _read(catching: _Catching, loader: Any, compute: Compute) -> tuple[Tensor, Tensor]:
    """Features and targets of all items, on the device."""
    try:
        len(loader)
    except TypeError as error:
        raise NoFeatures("fit_head: a loader without a length cannot be kept", fix=FREEZE_INSTEAD) from error
    features, targets, _ = predict_loader(catching, loader, compute, nn.Identity())
    if not isinstance(targets, Tensor):
        raise NoFeatures("fit_head: targets", got=type(targets).__name__, expected="one tensor", fix=FREEZE_INSTEAD)
    return features.to(compute.device), targets.to(compute.device)


def _order_like(loader: Any, n: int) -> BatchOrder:
    """The order in which a loader makes batches of its n items."""
    if isinstance(loader, OrderedLoader):
        own = loader.order
        return BatchOrder(n, own.batch_size, shuffle=own.shuffle, seed=own.seed, sampling=own.sampling)
    size = getattr(loader, "batch_size", None) or 64
    return BatchOrder(n, min(size, n), shuffle=_is_shuffled(loader))


def _is_shuffled(loader: Any) -> bool:
    sampler = getattr(loader, "sampler", None) if isinstance(loader, DataLoader) else None
    if sampler is not None and type(sampler) not in (RandomSampler, SequentialSampler):
        raise NoFeatures(
            "fit_head: the sampler of a DataLoader", got=type(sampler).__name__, expected="one that is random or in "
            "order", fix=f'Make the data with from_datasets, or sampler="balanced" for images. {FREEZE_INSTEAD}',
        )  # fmt: skip
    return isinstance(sampler, RandomSampler)


def _not_apart(why: str) -> NoFeatures:
    return NoFeatures(
        f"fit_head: {why}",
        fix="Set the groups so that the last one is the end of the model, learn.split(lambda m: [m.fc]), or a layer "
        f"that takes one tensor. {FREEZE_INSTEAD}",
    )
