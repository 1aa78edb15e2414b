"""load_learner: a learner that answers, out of a file that is read without running anything in it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from learnkit.data.bunch import DataBunch
from learnkit.data.image.preprocess import Reader
from learnkit.data.image_bunch import ImageDataBunch
from learnkit.data.loading.loaders import TensorLoader
from learnkit.data.loading.sampler import BatchOrder
from learnkit.data.options import ImageSettings
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.learner.learner import Learner
from learnkit.persistence.lk.file import GivenModel, built_model, open_export, read_spec
from learnkit.persistence.lk.hub import fetched, open_folder
from learnkit.persistence.lk.json_fields import Fields, changed
from learnkit.persistence.lk.schema import Inputs, read_activation, read_inputs, read_task
from learnkit.types import Activation, PathLike

__all__ = ["load_learner"]

HUB = "hf-hub:"
BATCH = 64


def load_learner(
    file: PathLike,
    model: GivenModel | None = None,
    sha256: str | None = None,
    *,
    device: torch.device | str | None = None,
    reader: Reader | None = None,
    activation: Activation | None = None,
) -> Learner:
    """A learner for predictions, from what `learn.export` or `learn.push_to_hub` wrote.

    Nothing in the file is run, imported or unpickled. It has no data: `predict`, and `get_preds` over
    `learn.dls.test_dl_from(files)`. To train on, give it data: `learn.dls = ...`.

    Args:
        file: a file, a folder of `push_to_hub`, or "hf-hub:USER/NAME" (or "hf-hub:USER/NAME@REVISION") to fetch one.
        model: for weights of a network of your own: an instance, or a function that makes one and is given the
            manifest.
        sha256: of the whole file (of config.json in a folder), from somewhere you trust; compared first.
        device: where to predict; None for the default one.
        reader: for data whose pictures were read by a function of your own.
        activation: for a learner whose activation was one of your own.

    Raises:
        MissingFileError: no such file.
        UnsafeFileError: a pickle, or another file that would run code.
        CorruptFileError: damaged, cut short, or changed.
        MissingModelError: a model, reader or activation of your own is needed; a network that is not known.
        VersionError: a later learnkit is needed.
        UsageError: `model` does not fit the weights.
        DownloadError: the hub cannot be reached.
    """
    named = str(file)
    path = fetched(named.removeprefix(HUB)) if named.startswith(HUB) else Path(file)
    opened = open_folder if os.path.isdir(path) else open_export
    with opened(path, sha256) as export:
        task = read_task(export.manifest, path)
        inputs = read_inputs(export.manifest, path, reader)
        activation, temperature = read_activation(export.manifest, path, activation)
        loss = Fields(export.manifest["loss"], "loss", path).text("name")
        spec = read_spec(export.manifest, path) if model is None else None
        if spec is not None and task is not None and spec.n_out != task.n_out:
            raise changed(path, f"a network of {spec.n_out} outputs, a task of {task.n_out}")
        network = built_model(export, model)
    dls = _data(inputs, task, path, device)
    is_known = task is not None and not loss.startswith("own:")
    learn = Learner(dls, network, loss_func=None if is_known else _OwnLoss(loss), activation=activation)
    learn.temperature, learn.spec = temperature, spec
    return learn


def _data(inputs: Inputs, task: Task | None, file: Path, device: torch.device | str | None) -> DataBunch:
    """A bunch without items, that prepares inputs as the model was trained on them."""
    if inputs.preprocess is None:
        loader = _NoData(torch.empty(1, *inputs.shape or (), device="meta"), file)
        return DataBunch(loader, loader, task=task, device=device, path=file.parent)
    resize, normalize = inputs.preprocess.resize, inputs.preprocess.normalize
    settings = ImageSettings(
        size=resize.size,
        resize=resize.method,
        interpolation=resize.interpolation,
        channels=inputs.preprocess.channels,
        reader=inputs.preprocess.reader,
        normalize=None if normalize is None else (normalize.mean, normalize.std),
        bs=BATCH,
        device=device,
    )
    if task is None:
        raise changed(file, "the manifest has transforms of pictures, and no task")
    dls = ImageDataBunch.empty(file.parent, task, settings)
    dls.train_dl = dls.valid_dl = _NoData(torch.empty(1, 0, device="meta"), file)
    return dls


class _NoData(TensorLoader):
    """Stands for the training and validation data of a learner out of a file; says so when it is asked for batches.

    Args:
        like: a batch of one on the meta device, whose shape is that of the inputs.
        file: the learner's.
    """

    def __init__(self, like: Tensor, file: Path) -> None:
        super().__init__((like,), BatchOrder(0, BATCH, shuffle=False))
        self.dataset = TensorDataset(like[:0])
        self.file = file

    def __len__(self) -> int:
        raise self._error()

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        raise self._error()

    def _error(self) -> UsageError:
        return UsageError(
            f"a learner loaded from {self.file} has no data, it only predicts",
            fix="Give it data to train or validate on: learn.dls = ...",
        )


class _OwnLoss:
    """Stands for a loss that is in no file."""

    def __init__(self, name: str) -> None:
        self.name = name.removeprefix("own:")

    def __call__(self, preds: Any, targets: Any) -> Tensor:
        raise UsageError(f"the loss {self.name!r} is not in the export", fix="Set learn.loss_func to it.")
