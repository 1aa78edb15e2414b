"""load_learner: a learner for predictions, from a file that is read without running anything in it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from learnkit.arguments import checks_keywords
from learnkit.checks import check_kind
from learnkit.data.bunch import DataBunch
from learnkit.data.image.preprocess import Reader
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.loading.loaders import TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import ImageSettings
from learnkit.data.tasks import Task
from learnkit.errors import CorruptFileError, UsageError
from learnkit.json_fields import EXPORT_AGAIN
from learnkit.learner.learner import Learner
from learnkit.losses.activations import activation_of
from learnkit.losses.outputs import OutputKey
from learnkit.models.pretrained import Weights
from learnkit.persistence.lk.hub import WEIGHTS, download
from learnkit.persistence.lk.load import GivenModel, read_export
from learnkit.persistence.lk.schema import activation_to_json
from learnkit.persistence.setup import groups_at
from learnkit.persistence.spec import CUSTOM_LOSS, ExportSpec
from learnkit.persistence.suffixes import EXPORTS, existing
from learnkit.types import Activation, PathLike

__all__ = ["load_learner"]

HUB = "hf-hub:"
BATCH = 64


@checks_keywords
def load_learner(
    file: PathLike,
    model: GivenModel | None = None,
    sha256: str | None = None,
    *,
    device: torch.device | str | None = None,
    reader: Reader | None = None,
    activation: Activation | None = None,
    output: OutputKey | None = None,
    weights: Weights | None = None,
) -> Learner:
    """A learner for predictions, from what `learn.export` or `learn.push_to_hub` wrote.

    Nothing in the file is run, imported or unpickled. It has no data: use `predict`, and `get_preds` over
    `learn.dls.test_dl_from(files)`. To continue training with its layer groups, metrics and decay, set data of the same
    classes: `learn.dls = ...`.

    Args:
        file: a file, whose .lk may be left out as for `learn.export`; a folder of `push_to_hub`; "hf-hub:USER/NAME" or
            "hf-hub:USER/NAME@REVISION" to download one.
        model: for weights of a custom model: an instance, or a function that takes the manifest and returns one.
        sha256: digest of the whole file (of model.safetensors in a folder), from a trusted source; compared first.
        device: where to predict; None for the default one.
        reader: for data whose images were read by a custom function.
        activation: for a learner with a custom activation.
        output: for a model of several outputs, the one that is the prediction; as for `Learner`.
        weights: for a file with adapters alone: a file, or a state dict, of the weights that they were trained with.
            None fetches published ones, once. They are compared with a digest in the file.

    Raises:
        MissingFileError: no such file.
        UnsafeFileError: a pickle, or another file that would run code.
        CorruptFileError: damaged, truncated, or changed.
        MissingModelError: a custom model, reader or activation is needed, or the `weights` that adapters were trained
            with; an unknown network.
        VersionError: a later learnkit is needed.
        UsageError: `model` does not fit the weights, or other `weights` than those that adapters were trained with.
        DownloadError: the hub cannot be reached, or published weights could not be fetched.
    """

    check_kind("file", file, str | os.PathLike, "the path of an export")
    named = str(file)
    path = download(named.removeprefix(HUB)) if named.startswith(HUB) else Path(file)
    spec = read_export(_file_at(path), model, sha256, reader=reader, activation=activation, weights=weights)
    learn = _learner(_data(spec, path, device), spec, activation, output)
    learn.temperature, learn.spec, learn.base = spec.temperature, spec.backbone, spec.base
    if spec.certainty is not None:
        learn._keep(spec.certainty)
    return learn


def _file_at(path: Path) -> Path:
    """The file of a folder of `push_to_hub`, or the one that `learn.export` writes under this name."""
    of_folder = path / WEIGHTS
    if os.path.isfile(of_folder) or not path.name:
        return of_folder
    file = existing(path, EXPORTS)
    return of_folder if os.path.isdir(path) and not os.path.isfile(file) else file


def _learner(dls: DataBunch, spec: ExportSpec, activation: Activation | None, output: OutputKey | None) -> Learner:
    """A learner like the exported one, as far as the file holds it."""
    loss_func = None
    if spec.task is None or spec.loss_name.startswith(CUSTOM_LOSS):
        loss_func = _MissingLoss(spec.loss_name.removeprefix(CUSTOM_LOSS), spec.activation)
    elif not _is_usual(spec.activation, spec.task):
        activation = spec.activation
    if spec.setup is None:  # written by an earlier learnkit
        return Learner(dls, spec.model, loss_func=loss_func, activation=activation, output=output)
    setup = spec.setup
    learn = Learner(
        dls, spec.model, loss_func=loss_func, activation=activation, metrics=list(setup.metrics),
        groups=groups_at(spec.model, setup.groups), opt_func=setup.optimizer or "adamw", wd=setup.wd,
        wd_bn_bias=setup.wd_bn_bias, train_bn=setup.train_bn, output=output,
    )  # fmt: skip
    for parameter, is_trained in zip(spec.model.parameters(), setup.trained, strict=True):
        parameter.requires_grad_(is_trained)
    if spec.backbone is not None and spec.backbone.lora is not None:  # nothing else freezes adapters
        learn._frozen = [p for name, p in spec.model.named_parameters() if ".lora_" in name and not p.requires_grad]
    learn._lost = setup.lost
    return learn


def _is_usual(activation: Activation | None, task: Task) -> bool:
    """Whether this is the activation of the task's loss."""
    usual = activation_of(task.loss()) or task.activation
    return activation_to_json(activation, task.n_out) == activation_to_json(usual, task.n_out)


def _data(spec: ExportSpec, file: Path, device: torch.device | str | None) -> DataBunch:
    """A bunch without items that prepares inputs as in training."""
    if spec.preprocess is None:
        loader = _NoData(file) if spec.input_shape is None else _NoTensors(file, spec.input_shape, spec.dtype)
        return DataBunch(loader, loader, task=spec.task, device=device, path=file.parent, keys=spec.keys)
    if spec.task is None:
        raise CorruptFileError(f"{file}: the manifest has transforms of images, and no task", fix=EXPORT_AGAIN)
    resize, normalize = spec.preprocess.resize, spec.preprocess.normalize
    settings = ImageSettings(
        size=resize.size,
        resize=resize.method,
        interpolation=resize.interpolation,
        channels=spec.preprocess.channels,
        reader=spec.preprocess.reader,
        depth=spec.preprocess.depth,
        full_decode=spec.preprocess.full_decode,
        normalize=None if normalize is None else (normalize.mean, normalize.std),
        bs=BATCH,
        device=device,
    )
    dls = ImageDataBunch.empty(file.parent, spec.task, settings)
    dls.train_dl = dls.valid_dl = _NoTensors(file, (0,), spec.dtype)
    return dls


class _NoData:
    """The training and validation data of a learner from a file: raises when batches are requested."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.dataset: Any = _NoItems(self._error())

    def __len__(self) -> int:
        raise self._error()

    def augmented(self, i: int, n: int) -> Any:
        raise self._error()

    def augmented_as(self, training: Any) -> Any:
        raise self._error()

    def _item_stage(self) -> Any:
        raise self._error()

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        raise self._error()

    def _error(self) -> UsageError:
        return UsageError(
            f"the learner loaded from {self.file} has no data, it can only predict",
            fix="Give it data to train or validate on: learn.dls = ...",
        )


class _NoItems(TensorDataset):
    """An empty dataset without an augmentation to ask for."""

    def __init__(self, error: UsageError) -> None:
        super().__init__(torch.empty(0))
        self._error = error

    @property
    def item_stage(self) -> Any:
        raise self._error


class _NoTensors(_NoData, TensorLoader):
    """The same, if the shape and the dtype of one input are known."""

    def __init__(self, file: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        nothing = torch.empty(0, *shape, dtype=dtype, device="meta")
        TensorLoader.__init__(self, (nothing,), BatchOrder(0, BATCH, shuffle=False))
        self.file = file


class _MissingLoss:
    """Replaces a loss that is not in the file, except for its activation: raises when it is called."""

    def __init__(self, name: str, activation: Activation | None) -> None:
        self.name, self.activation = name, activation

    def __call__(self, preds: Any, targets: Any) -> Tensor:
        raise UsageError(f"the loss {self.name!r} is not in the export", fix="Set learn.loss_func to it.")
