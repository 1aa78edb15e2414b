"""The Learner: trains, predicts, explains itself, and goes to disk and back."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from learnkit.atomic_files import named_file
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.errors import UsageError, WrongTypeError, warn
from learnkit.interpretation.calibration import fit_temperature
from learnkit.interpretation.for_task import interpretation_for
from learnkit.interpretation.items import Interpretation
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.learner.answers import AnsweringTrainer
from learnkit.learner.describe import fit_outline, learner_facts
from learnkit.learner.trainer import as_list
from learnkit.models.spec import BackboneSpec
from learnkit.models.summary import ModelSummary, model_summary
from learnkit.persistence.export import ExportFormat, export
from learnkit.persistence.lk.hub import upload, write_folder
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import load_weights, save_weights, weights_path
from learnkit.text import facts
from learnkit.training.callback import Callback, CallbackList
from learnkit.training.outline import Outline
from learnkit.types import DatasetType, PathLike

__all__ = ["Learner"]


class Learner(AnsweringTrainer):
    """Trains a model, answers with it, explains it, and takes its weights to disk and back.

    Its arguments are those of `Trainer`.

    Attributes:
        spec: how a factory built the model, so that `load_learner` can build it again; None for a custom model.
    """

    spec: BackboneSpec | None = None

    def __repr__(self) -> str:
        return "\n".join([type(self).__name__, *(f"  {name}: {value}" for name, value in learner_facts(self).items())])

    def _repr_html_(self) -> str:
        return facts(type(self).__name__, learner_facts(self))

    def show_training(self, epochs: int = 1, callbacks: Callback | Sequence[Callback] = ()) -> Outline:
        """The steps of `fit(epochs, callbacks=callbacks)` as text, with the callbacks of each hook in their order."""
        chosen = as_list(callbacks)
        running = CallbackList([*self._own_callbacks(chosen), *chosen])
        return fit_outline(self, epochs, running, self._ready_optimizer())

    def summary(self) -> ModelSummary:
        """Layers, their output shapes, parameters, what is trained, and megabytes, of one input of the data.

        Raises:
            UsageError: the data does not tell the shape of an input.
        """
        shape = self.dls.input_shape
        if shape is None:
            raise UsageError("summary: the data does not tell the shape of an input", fix="Use model_summary.")
        return model_summary(self.model, shape)

    def interpret(self, ds_type: DatasetType = DatasetType.Valid) -> Any:
        """Top losses, confusion matrix and more over a part of the data: the interpretation that fits its task.

        Returns:
            A ClassificationInterpretation, MultiLabelInterpretation, RegressionInterpretation or
            SegmentationInterpretation.
        """
        return interpretation_for(self, ds_type)

    def report(self, path: PathLike, ds_type: DatasetType = DatasetType.Valid) -> Path:
        """Write one HTML page with settings, curves, results and pictures, complete in itself; its path."""
        file = named_file("path", path)  # before everything is predicted
        interp: Interpretation = self.interpret(ds_type)
        return interp.report(file, learn=self)

    def calibrate(self, ds_type: DatasetType = DatasetType.Valid) -> float:
        """Fit `temperature` on a part of the data that was not trained on, and return it.

        No prediction changes, only how sure it says it is. Exports keep it. Guo et al., On calibration of modern neural
        networks, 2017.

        Raises:
            WrongTypeError: data of another task than one class an item.
        """
        if not isinstance(self.dls.task, Classification):
            raise WrongTypeError(
                f"calibrate: got data of task {type(self.dls.task).__name__}, expected Classification",
                fix="Set learn.temperature yourself.",
            )
        raw, targets = self.get_preds(ds_type, activ=nn.Identity())
        self.temperature = fit_temperature(raw, targets)
        return self.temperature

    def fit_thresholds(self, ds_type: DatasetType = DatasetType.Valid, metric: str = "f1") -> tuple[float, ...]:
        """Choose the threshold of each label that makes `metric` best over a part of the data; they go into the task.

        `predict` uses them, and exports keep them.

        Args:
            ds_type: a part that was not trained on.
            metric: "f1", "f2", "f0.5" ...: F-beta of each label.

        Returns:
            One threshold a class; a class without items keeps its own.

        Raises:
            WrongTypeError: data of another task than several labels an item.
        """
        interp = MultiLabelInterpretation.from_learner(self, ds_type)
        thresholds = interp.fit_thresholds(metric)
        assert isinstance(self.dls.task, MultiLabel)  # from_learner has seen to it
        self.dls.task = replace(self.dls.task, threshold=thresholds)
        return thresholds

    def export(
        self,
        file: PathLike,
        to: ExportFormat = "lk",
        *,
        card: str = "",
        preprocessing: bool = False,
        activation: bool = True,
    ) -> Path:
        """Write one file that `load_learner` reads, or one for other programs; the learner is left as it is.

        Args:
            file: where to.
            to: "lk" for `load_learner`: weights, classes, preprocessing, thresholds and temperature, no code. "onnx" or
                "pt2" for other programs, with a description next to the file.
            card: for "lk", what a reader should know, in your words.
            preprocessing: for the others, take images (N, H, W, C) in uint8 at their size, and normalize them inside.
            activation: for the others, end in probabilities; otherwise in raw outputs.

        Returns:
            The path; the suffix of the format is added where it is missing.

        Raises:
            UsageError: a file without a name, an option that belongs to another format, a custom task, or a state dict
                with more than tensors.
            ExportError: a model that other programs cannot be given, or whose export returns other numbers.

        Warns:
            LearnkitWarning: the model was changed since cnn_learner built it, so `load_learner` will need it.
        """
        return export(file, self._export_spec(card), to, preprocessing=preprocessing, activation=activation)

    def push_to_hub(self, folder: PathLike, repo_id: str | None = None, *, card: str = "") -> Path:
        """Write the export into a folder as the Hugging Face hub wants it; upload it only if `repo_id` is given.

        Raises:
            UsageError: as `export`; to upload, the package huggingface_hub is not installed.
            DownloadError: the hub cannot be reached, or refuses.
        """
        write_folder(Path(folder), self._export_spec(card))
        if repo_id is not None:
            upload(Path(folder), repo_id)
        return Path(folder)

    def _export_spec(self, card: str = "") -> ExportSpec:
        return ExportSpec.of(
            self.model,
            self.dls,
            activation=self.activation,
            temperature=self.temperature,
            backbone=self.spec,
            loss=self.loss_func,
            epochs=self.epoch,
            rows=self.recorder.rows,
            card=card,
        )

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
            warn(f"{told}; the optimizer starts anew")
