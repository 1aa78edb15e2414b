"""An exported model: the network with its inputs, its outputs, and their meaning."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from learnkit.certainty.fitted import FittedCertainty
from learnkit.checks import check_number
from learnkit.data.bunch import DataBunch
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.image_bunch import as_image_bunch
from learnkit.data.loading.batch_parts import Keys
from learnkit.data.loading.peek import first_input
from learnkit.data.tasks import Task
from learnkit.errors import UsageError
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.base_weights import BaseWeights
from learnkit.persistence.setup import TrainingSetup
from learnkit.types import Activation

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CUSTOM_LOSS", "ExportSpec", "loss_name", "training_facts"]

MAX_CARD = 100_000  # characters
CUSTOM_LOSS = "own:"  # prefix for a loss that is not the task's default
LOSSES = {
    "CrossEntropyLoss": "cross_entropy",
    "BCEWithLogitsLoss": "bce_with_logits",
    "MSELoss": "mse",
    "MSELossFlat": "mse",
}


@dataclass(frozen=True)
class ExportSpec:
    """A model and everything needed to run it. A learner makes one, every writer takes one.

    Args:
        model: only read: its mode, weights, gradients and device do not change.
        input_shape: shape of one input as the model sees it, without the batch: (C, H, W) for images; None if unknown.
        task: what the outputs mean; None if unknown.
        preprocess: how images are prepared; None for other data.
        dtype: dtype of the inputs as the model sees them.
        activation: from raw outputs to predictions; None for raw outputs.
        temperature: the raw outputs are divided by it before the activation.
        backbone: how the model was built; None for a custom model.
        loss_name: see `loss_name`.
        training: see `training_facts`.
        card: a description in the user's words.
        setup: how a learner trained it; None if it did not.
        output: picks the one of several outputs that is the prediction; None for a model of one.
        certainty: sets and familiarity, if they were fitted for this model.
        several_inputs: what an item gives the model if that is not one tensor, in words; "" if it is.
        keys: which named entries of a batch are the inputs and the target; None for batches without names.
        base: the weights beside adapters that a file can leave out; None for none.

    Raises:
        UsageError: a temperature that is not above 0, or a card that is not a string or too long.
    """

    model: nn.Module
    input_shape: tuple[int, ...] | None
    task: Task | None = None
    preprocess: Preprocess | None = None
    dtype: torch.dtype = torch.float32
    activation: Activation | None = None
    temperature: float = 1.0
    backbone: BackboneSpec | None = None
    loss_name: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    setup: TrainingSetup | None = None
    output: Callable[[Any], Any] | None = None
    certainty: FittedCertainty | None = None
    base: BaseWeights | None = None
    several_inputs: str = ""
    keys: Keys | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "(0, inf)", expected="a finite number above 0")
        expected = f"a string of at most {MAX_CARD:,} characters"
        if not isinstance(self.card, str):
            raise UsageError("card", got=self.card, expected=expected)
        if len(self.card) > MAX_CARD:
            raise UsageError("card", got=f"{self.card[:20]}... ({len(self.card):,} characters)", expected=expected)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        dls: DataBunch,
        *,
        loss: Any,
        epochs: int,
        rows: Sequence[Mapping[str, Any]],
        **rest: Any,
    ) -> Self:
        """The spec of a model trained on this data.

        Args:
            model: the network.
            dls: its data.
            loss: what it was trained with.
            epochs: how many it was trained for.
            rows: rows of the history.
            **rest: further fields.
        """
        images = as_image_bunch(dls)
        first = first_input(dls.train_dl) if images is None else None
        return cls(
            model,
            dls.input_shape,
            dls.task,
            preprocess=dls.preprocess,
            several_inputs=dls.several_inputs,
            keys=dls.keys,
            dtype=first.dtype if isinstance(first, Tensor) else torch.float32,
            loss_name=loss_name(loss, dls.task),
            training=training_facts(
                epochs, rows, None if images is None or images.is_stream else images.samples, dls.path
            ),
            **rest,
        )


def loss_name(loss: Any, task: Task | None) -> str:
    """The name of the default loss of a task; for any other "own:" and the name of its class, as a label."""
    usual = task.loss() if task else None
    names = ("reduction", "label_smoothing", "ignore_index", "weight", "pos_weight")
    is_usual = isinstance(usual, type(loss)) and all(  # the usual one may be a subclass of torch's
        getattr(loss, name, None) is getattr(usual, name, None) or getattr(loss, name) == getattr(usual, name)
        for name in names
    )
    label = getattr(loss, "__name__", type(loss).__name__)[:100]
    return LOSSES.get(label, label) if is_usual else f"{CUSTOM_LOSS}{label}"


def training_facts(
    epochs: int, rows: Sequence[Mapping[str, Any]], samples: "pd.DataFrame | None", folder: Path
) -> dict[str, Any]:
    """The epochs trained, the finite numbers of the last row of the history, and a digest of the data.

    Args:
        epochs: trained so far.
        rows: rows of the history.
        samples: the table of images; None for other data.
        folder: folder of the data; the digest uses paths relative to it.
    """
    last = rows[-1] if rows else {}
    numbers = {str(name): float(value) for name, value in last.items() if isinstance(value, int | float)}
    metrics = {name: value for name, value in numbers.items() if math.isfinite(value) and name not in ("epoch", "time")}
    facts: dict[str, Any] = {"epochs": epochs, "metrics": metrics}
    if samples is not None and len(samples):
        facts["data_sha256"] = _samples_sha256(samples, folder)
    return facts


def _samples_sha256(samples: "pd.DataFrame", folder: Path) -> str:
    """The SHA-256 of the names of the files, relative to the folder, with their targets and splits."""
    digest, folder = hashlib.sha256(), folder.absolute()  # as the names of the files are
    for item, target, split in samples[["input", "target", "split"]].itertuples(index=False):
        path = Path(str(item))
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        digest.update(f"{name.as_posix()}\t{_portable(target, folder)}\t{split}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _portable(target: Any, folder: Path) -> str:
    is_below = isinstance(target, str | Path) and Path(target).is_relative_to(folder)
    return Path(target).relative_to(folder).as_posix() if is_below else str(target)
