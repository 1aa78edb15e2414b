"""The Learner: trains, predicts, explains itself, and goes to disk and back."""

import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from learnkit.errors import LearnkitWarning, UsageError
from learnkit.inference.predictions import predict_batches, predict_loader
from learnkit.interpretation.classification import ClassificationInterpretation
from learnkit.learner.policies import PolicyTrainer
from learnkit.learner.trainer import DEFAULT_LR
from learnkit.losses.per_item import per_item_loss
from learnkit.metrics.metric import make_metrics
from learnkit.models.summary import ModelSummary, model_summary
from learnkit.modes import evaluating
from learnkit.persistence.weights import load_weights, save_weights, weights_path
from learnkit.training import loop
from learnkit.training.callback import CallbackList
from learnkit.types import Activation, DatasetType, PathLike

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Learner"]


class Learner(PolicyTrainer):
    """A trainer that also answers: validation, predictions, interpretation, and its weights on disk.

    Its arguments are those of `Trainer`.
    """

    def validate(self, dl: Any = None, metrics: Any = None) -> list[float]:
        """[loss, *metrics] over a loader or a part of the data, None for the validation set; no hook is called."""
        state = self._state(self._ready_optimizer(), 1, DEFAULT_LR, None)
        state.valid_dl = self._loader(DatasetType.Valid if dl is None else dl)
        state.metrics = self.metrics if metrics is None else make_metrics(metrics)
        with evaluating(self.model), state.compute.kept_rng():
            loop.validate(state, CallbackList())
        return list(state.valid.values())

    def get_preds(
        self,
        ds_type: Any = DatasetType.Valid,
        activ: Activation | None = None,
        with_loss: bool = False,
        n_batch: int | None = None,
        out: "Tensor | np.ndarray[Any, Any] | None" = None,
    ) -> tuple[Any, ...]:
        """(preds, targets[, losses]) in the order of the data set, on the CPU.

        Args:
            ds_type: a part of the data, or any loader.
            activ: instead of the activation that goes with the loss.
            with_loss: give the loss of each item too, shape (N,).
            n_batch: read no more batches than this.
            out: where to write the predictions, shape (N, ...).

        Returns:
            preds (N, ...) after the activation; targets (N, ...), None without labels; losses (N,) if asked for.
        """
        loss = partial(per_item_loss, self.loss_func) if with_loss else None
        preds, targets, losses = predict_loader(
            self.model,
            self._loader(ds_type),
            self._compute(),
            activ or self.activation,
            loss=loss,
            n_batch=n_batch,
            out=out,
        )
        return (preds, targets, losses) if with_loss else (preds, targets)

    def predict(self, item: Any) -> tuple[Any, Tensor, Tensor]:
        """(label, index, probabilities) of one item: a path, PIL image, array, tensor or encoded bytes."""
        if self.dls.task is None:
            raise UsageError(
                "predict: the data does not say what an output means", fix="Give the bunch classes= or task=."
            )
        x = self.dls.prepare(item)
        with evaluating(self.model):
            activated = self.activation(self.model(x))[0].cpu()
        label, index = self.dls.task.decode(activated)
        return label, index, activated

    def pred_batch(self, ds_type: Any = DatasetType.Valid) -> Tensor:
        """Activated outputs of the first batch, shape (batch size, ...), on the CPU."""
        outputs = [raw for raw, _ in predict_batches(self.model, self._loader(ds_type), self._compute(), n_batch=1)]
        return self.activation(outputs[0]).cpu()

    def summary(self) -> ModelSummary:
        """Layers, their output shapes, parameters, what is trained, and megabytes, of one input of the data.

        Raises:
            UsageError: the data does not tell the shape of an input.
        """
        shape = self.dls.input_shape
        if shape is None:
            raise UsageError("summary: the data does not tell the shape of an input", fix="Use model_summary.")
        return model_summary(self.model, shape)

    def interpret(self, ds_type: DatasetType = DatasetType.Valid) -> ClassificationInterpretation:
        """Top losses, confusion matrix and more over a part of the data."""
        return ClassificationInterpretation.from_learner(self, ds_type)

    def save(self, file: PathLike, return_path: bool = False, with_opt: bool = True) -> Path:
        """Write the weights (and the optimizer's state) to `path/model_dir/file.pth`; the path is always returned."""
        path = weights_path(file, self.path / self.model_dir)
        save_weights(path, self.model, self._ready_optimizer() if with_opt else None)
        return path

    def load(
        self,
        file: PathLike,
        device: torch.device | str | None = None,
        strict: bool = True,
        with_opt: bool | None = None,
    ) -> Self:
        """Read back what `save` wrote, or any state dict; see `load_weights` for what is refused.

        Args:
            file: a name in the model folder, or an absolute path.
            device: taken for fastai's sake; a file is read on the CPU wherever it was written, and copied to the model.
            strict: refuse missing or further tensors.
            with_opt: True to require the optimizer's state, False to leave it, None to take it if it is there and fits.
        """
        path = weights_path(file, self.path / self.model_dir)
        saved = load_weights(path, self.model, strict=strict)
        if with_opt is not False and (saved is not None or with_opt):
            self._load_optimizer(saved, path, required=bool(with_opt))
        return self

    def _load_optimizer(self, saved: dict[str, Any] | None, path: Path, *, required: bool) -> None:
        try:
            if saved is None:
                raise ValueError("the file holds weights alone")
            self._ready_optimizer().load_state_dict(saved)
        except (ValueError, KeyError, RuntimeError) as error:
            told = f"{path}: no optimizer state to load ({error})"
            if required:
                raise UsageError(told, fix="Load with with_opt=False.") from error
            warnings.warn(f"{told}; the optimizer starts anew", LearnkitWarning, stacklevel=3)

    def _loader(self, source: Any) -> Iterable[Any]:
        loader: Iterable[Any] = self.dls.ordered_dl(DatasetType(source)) if isinstance(source, int) else source
        return loader
