"""What a learner says about its model and its data: a summary, an interpretation, labels in doubt."""

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from torch import nn

from learnkit.arguments import checks_methods
from learnkit.checks import check_kind
from learnkit.data.tasks import Classification
from learnkit.errors import DataError, UsageError, WrongTypeError, warn
from learnkit.inference.predictions import predict_loader
from learnkit.interpretation.for_task import interpretation_for
from learnkit.interpretation.items import Interpretation
from learnkit.interpretation.label_issues import label_issues_table
from learnkit.interpretation.out_of_fold import out_of_fold_probs
from learnkit.learner.certainty import Certainty
from learnkit.learner.preds import Part
from learnkit.models.features import HeadInputs, head_layers
from learnkit.models.summary import ModelSummary, model_summary
from learnkit.seeds import Stream, derive
from learnkit.types import DatasetType

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Understanding"]

InterpretationT = TypeVar("InterpretationT", bound=Interpretation)


@checks_methods
class Understanding(Certainty):
    """Explains a learner's model and data; like all answers, without a trace in the learner."""

    def summary(self) -> ModelSummary:
        """Layers, their output shapes, parameters, what is trained, and megabytes, for one input of the data."""
        shape = self.dls.input_shape
        if shape is None:
            raise UsageError("summary: the shape of an input is unknown", fix="Use model_summary.")
        with self._answering() as (model, _):
            return model_summary(model, shape)

    @overload
    def interpret(self, ds_type: Part = ...) -> Any: ...
    @overload
    def interpret(self, ds_type: Part = ..., *, kind: type[InterpretationT]) -> InterpretationT: ...
    def interpret(self, ds_type: Part = DatasetType.Valid, *, kind: type[Interpretation] | None = None) -> Any:
        """Top losses, confusion matrix and more over a part of the data: the interpretation for its task.

        Args:
            ds_type: a part of the data.
            kind: a class of interpretations that is for this task, such as `ClassificationInterpretation`; type
                checkers and editors then know its methods. None for the one of the task.

        Raises:
            WrongTypeError: a `kind` for another task, or a custom task without an interpretation.
            UsageError: the part has no labels, or the data has no task.
        """
        part = DatasetType.of(ds_type)
        if kind is None:
            return interpretation_for(self, part)
        if not (isinstance(kind, type) and issubclass(kind, Interpretation)):
            raise WrongTypeError("kind", got=kind, expected="a class of interpretations", fix="Leave it out.")
        return kind.from_learner(self, part)

    def label_issues(self, ds_type: Part = DatasetType.Train, folds: int = 5) -> "pd.DataFrame":
        """All items of a part of the data, the training set included, those whose label is most suspicious first.

        Each item is judged by a logistic regression on the features that the head gets, fitted to the items of the
        other folds: it has not seen the label (Northcutt et al., Confident learning, 2021). The network stays as it is.
        See `rank_label_issues` and `out_of_fold_probs`.

        The features must not know the labels either: take a pretrained network before it is fine-tuned on them. A body
        that was trained on these labels has learned the wrong ones too, and fewer are found; a warning says so if it
        may have been.

        Args:
            ds_type: a part of the data.
            folds: number of parts that are judged in turn, 2 or more.

        Returns:
            Columns item, path, label, suggestion, score, is_issue: True for as many as are probably wrong. Edited, the
            table goes into `dls.relabel`, and paths of it into `dls.drop`.

        Raises:
            WrongTypeError: the data's task is not one class per item.
            UsageError: a model whose head does not stand apart (`learn.split` names it), too few folds.
            DataError: a part without labels, or with fewer items than folds.
        """
        check_kind("label_issues: the task of the data", self.dls.task, Classification, "Classification")
        part, layers = DatasetType.of(ds_type), head_layers(self.model, self.groups[-1])
        if part in (DatasetType.Train, DatasetType.Fix) and self._may_know_labels(layers):
            warn("label_issues: the body may have been trained on these labels, and repeat wrong ones. Take a new "
                 "learner with pretrained weights, before it is trained.")  # fmt: skip
        with self._answering() as (model, compute):
            inputs = HeadInputs(model, head_layers(model, self.groups[-1]))
            features, targets, _ = predict_loader(inputs, self._loader(part), compute, nn.Identity())
        if targets is None:
            raise DataError("label_issues: this part has no labels")
        classes = self.dls.classes
        probs = out_of_fold_probs(features, targets, len(classes), folds, derive(self.counter.seed, Stream.SPLIT))
        return label_issues_table(probs, targets, classes, partial(self.dls.item_name, part))

    def _may_know_labels(self, head: list[nn.Module]) -> bool:
        """Whether weights of the body are trained, but for those of norm layers, and something has been."""
        own = {id(parameter) for layer in head for parameter in layer.parameters()}
        weights = [p for p in self.model.parameters() if p.ndim > 1 and id(p) not in own]
        return self.counter.epoch > 0 and any(weight.requires_grad for weight in weights)
