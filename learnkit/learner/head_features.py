"""Training the head alone: the features that a frozen body hands to it are computed once, and kept in memory."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from learnkit.data.bunch import DataBunch
from learnkit.data.loading.loaders import OrderedLoader, TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.device import Compute
from learnkit.device_memory import free_memory
from learnkit.distributed.world import world
from learnkit.errors import UsageError
from learnkit.inference.predictions import count_rows, predict_loader
from learnkit.learner.fingerprint import digest_of
from learnkit.models.features import HeadInputs, NoHead, head_layers, parameter_ids, run_layers
from learnkit.training.weights import tensors_of

__all__ = [
    "FREEZE_INSTEAD",
    "HeadFeatures",
    "NoFeatures",
    "head_features",
    "identity_of",
    "training_only",
]

SHARE = 0.9  # of the free memory that features may take
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
    train_dl: TensorLoader
    valid_dl: TensorLoader | None
    body: Sequence[Tensor]

    def end(self, model: nn.Module) -> None:
        """Leave the learner's model in the mode in which a fit ended; to be called after it."""
        model.training = self.model.training
        del self.model.train  # which holds its own module


def identity_of(features: HeadFeatures | None) -> dict[str, str]:
    """What must be the same for a fit on features to continue."""
    return {} if features is None else {"fit_head: weights of the body": digest_of(features.body)}


@contextmanager
def _for_fit_head() -> Iterator[None]:
    try:
        yield
    except NoHead as error:
        raise NoFeatures(f"fit_head: {error.what}", fix=f"{error.fix} {FREEZE_INSTEAD}") from error


@_for_fit_head()
def head_features(
    model: nn.Module, group: nn.Module, dls: DataBunch, compute: Compute, *, is_done: bool = False
) -> HeadFeatures:
    """The features of the training and the validation set, each item computed once, in eval mode and not augmented.

    Args:
        model: the whole network; neither it nor the global generators are changed.
        group: its last layer group, the head.
        dls: the data.
        compute: the device and precision of the body.
        is_done: the fit will not run: let items have no features, and compute none.

    Raises:
        NoFeatures: no part of the model with the parameters of the group turns one tensor into its outputs; features
            that do not fit into memory; a loader that cannot be read once, or draws its items in a way of its own.
    """
    layers = head_layers(model, group)
    parts = {"train": dls.train_dl} if dls.valid_dl is None else {"train": dls.train_dl, "valid": dls.valid_dl}
    ordered = {name: dls.ordered_dl(name) for name in parts}
    counts = [count_rows(loader) for loader in ordered.values()]
    tell = partial(_check_room, sum(count or 0 for count in counts), compute.device)
    catching = HeadInputs(model, layers, tell)
    if is_done and None not in counts:
        rows = [(torch.empty(count or 0, 0), torch.empty(count or 0)) for count in counts]
    else:
        rows = [_read(catching, loader, compute) for loader in ordered.values()]
    pairs = zip(parts.items(), rows, strict=True)
    loaders = {name: _cached(loader, own, compute.device) for (name, loader), own in pairs}
    own = {id(tensor) for layer in layers for tensor in tensors_of(layer).values()}
    body = [tensor for tensor in tensors_of(model).values() if id(tensor) not in own]
    return HeadFeatures(_on_features(model, layers), loaders["train"], loaders.get("valid"), body)


@contextmanager
def training_only(group: nn.Module, model: nn.Module) -> Iterator[None]:
    """Inside, no other parameter of the model requires a gradient; afterwards those that did require one again."""
    own = parameter_ids(group)
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def _on_features(model: nn.Module, layers: Sequence[nn.Module]) -> nn.Module:
    """The model with its end as forward pass, and the body always in eval mode; all modules and tensors are shared."""
    model.eval()
    view = copy.copy(model)
    vars(view).update(
        forward=partial(run_layers, layers), train=partial(_train, view, layers), _compiled_call_impl=None
    )
    return view


def _train(view: nn.Module, layers: Sequence[nn.Module], mode: bool = True) -> nn.Module:
    for layer in layers:
        layer.train(mode)
    view.training = mode
    return view


def _check_room(n_items: int, device: torch.device, features: Tensor) -> None:
    need, free = n_items * features.nbytes // max(len(features), 1), min(free_memory(), free_memory(device))
    free = -world.highest(-int(free))  # so that all processes find the same
    if need > free * SHARE:
        raise NoFeatures(
            f"fit_head: the features {tuple(features.shape[1:])} of {n_items:,} items take {need / 1e9:.1f} GB",
            expected=f"at most {SHARE:.0%} of the {free / 1e9:.1f} GB that are free",
            fix=f"Pool them before the head, or use smaller images. {FREEZE_INSTEAD}",
        )


def _read(catching: HeadInputs, loader: Any, compute: Compute) -> tuple[Tensor, Tensor]:
    """Features and targets of all items, on the CPU."""
    try:
        len(loader)
    except TypeError as error:
        raise NoFeatures("fit_head: a loader without a length cannot be kept", fix=FREEZE_INSTEAD) from error
    features, targets, _ = predict_loader(catching, loader, compute, nn.Identity())
    if not isinstance(targets, Tensor):
        raise NoFeatures("fit_head: targets", got=type(targets).__name__, expected="one tensor", fix=FREEZE_INSTEAD)
    return features, targets


def _cached(loader: Any, rows: tuple[Tensor, Tensor], device: torch.device) -> TensorLoader:
    """Features in batches as a loader makes them of its items."""
    n = len(rows[0])
    if isinstance(loader, OrderedLoader):
        own = loader.order
        order = BatchOrder(n, own.batch_size, shuffle=own.shuffle, seed=own.seed, sampling=own.sampling)
    else:
        size, is_drawn = getattr(loader, "batch_size", None) or 64, _is_shuffled(loader)
        order = BatchOrder(n, min(size, n), shuffle=is_drawn)
    return TensorLoader((rows[0].to(device), rows[1].to(device)), order)


def _is_shuffled(loader: Any) -> bool:
    sampler = getattr(loader, "sampler", None) if isinstance(loader, DataLoader) else None
    if sampler is not None and type(sampler) not in (RandomSampler, SequentialSampler):
        raise NoFeatures(
            "fit_head: the sampler of a DataLoader", got=type(sampler).__name__, expected="one that is random or in "
            "order", fix=f'Make the data with from_datasets, or sampler="balanced" for images. {FREEZE_INSTEAD}',
        )  # fmt: skip
    return isinstance(sampler, RandomSampler)
