"""How sure a learner's answers are: temperature, thresholds, sets with a stated coverage, and "none of these"."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learnkit.arguments import checks_methods
from learnkit.certainty.conformal import Conformal, fit_class_sets, fit_intervals, fit_label_sets
from learnkit.certainty.familiarity import MAX_ITEMS, EnergyKind, Familiarity, fit_familiarity
from learnkit.certainty.fitted import FittedCertainty
from learnkit.certainty.outputs import RawAndFeatures, head_name, in_rows
from learnkit.checks import check_int, check_kind
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.errors import UsageError, warn
from learnkit.inference.predictions import activated, predict_loader, predict_stream
from learnkit.inference.predictor import Predictor, prepared_batches
from learnkit.inference.sets import PredictionSet, SetAnswers, not_fitted
from learnkit.interpretation.calibration import fit_temperature
from learnkit.interpretation.items import no_labels
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.learner.answers import Answers
from learnkit.learner.fingerprint import digest_of
from learnkit.learner.preds import Part, Source
from learnkit.losses.activations import check_is_softmax, scaled
from learnkit.losses.outputs import names_of
from learnkit.models.features import NoHead
from learnkit.modes import eval_mode
from learnkit.persistence.weights import plain_model
from learnkit.training.weights import tensors_of
from learnkit.tree import map_tensors
from learnkit.types import Activation, DatasetType

__all__ = ["Certainty"]

FIT_AGAIN = "Call learn.fit_conformal() again."


@checks_methods
class Certainty(Answers):
    """Fits, on a part of the data, what makes a learner's answers as sure as they are right."""

    _fitted: FittedCertainty | None = None
    _fitted_to: tuple[Any, ...] = ()  # what it holds for
    _seen_as: tuple[Any, ...] = ()  # the weights that are known to be these

    def calibrate(self, ds_type: Part = DatasetType.Valid) -> float:
        """Fit `temperature` on a part of the data that was not trained on, and return it.

        No predicted class changes, only its confidence. Exports keep it. Guo et al., On calibration of modern neural
        networks, 2017.

        Raises:
            WrongTypeError: the task is not one class per item.
            UsageError: predictions other than the softmax of one tensor of raw outputs, or a part without labels.
        """
        check_kind("calibrate: the task of the data", self.dls.task, Classification, "Classification")
        raw, targets = self.get_preds(DatasetType.of(ds_type), activ=_one_tensor)
        check_is_softmax("calibrate", self.activation, raw)
        if targets is None:
            raise no_labels(DatasetType.of(ds_type))
        self.temperature = fit_temperature(raw, targets)
        return self.temperature

    def fit_thresholds(self, ds_type: Part = DatasetType.Valid, metric: str = "f1") -> tuple[float, ...]:
        """Set the threshold of each label to the one with the best F-beta ("f1", "f0.5") on data not trained on.

        Returns one per class; a class without items keeps its own. `predict` and interpretations use them, exports
        keep them. Metrics do not: each has a threshold of its own (`f1_multi(threshold=0.3)`), 0.5 by name.
        """
        interp = MultiLabelInterpretation.from_learner(self, DatasetType.of(ds_type))
        thresholds = interp.fit_thresholds(metric)
        assert isinstance(self.dls.task, MultiLabel)  # checked by from_learner
        self._set_task(replace(self.dls.task, threshold=thresholds))
        return thresholds

    def fit_conformal(
        self, alpha: float = 0.1, ds_type: Part = DatasetType.Valid, method: Literal["lac", "raps"] = "lac"
    ) -> None:
        """Fit sets that hold the truth with a probability of at least 1 - alpha, and how familiar an item is.

        `predict_set` then answers with them, and exports keep them. They hold for the model as it is now: once it has
        been trained on, or its temperature has changed, `predict_set` asks for another fit. Changes of weights through
        `parameter.data`, which torch does not count, are not seen.

        The sets are those of split conformal prediction: for one class per item see `class_scores`; for several labels
        each true label is in the set with that probability (`fit_label_sets`); numbers get intervals (`fit_intervals`).
        Vovk et al., Algorithmic learning in a random world, 2005; "lac": Sadinle et al., Least ambiguous set-valued
        classifiers, 2019; "raps": Angelopoulos et al., Uncertainty sets for image classifiers, 2021.
        Familiarity (`fit_familiarity`) is that of 95 % of the part. It compares with the training items, which are
        predicted too; where the head is not a layer group of its own, it has only the outputs to go by, and finds less.

        Args:
            alpha: the share of the sets that may miss the truth; there must be (1 - alpha) / alpha items or more.
            ds_type: items with labels that the model was not trained on. Coverage is that of items like these.
            method: "lac" for the smallest sets, empty where no class fits well; "raps" for sets that are never empty.

        Raises:
            WrongTypeError: the task is not one class, several labels, or numbers per item.
            UsageError: the training set, a part without labels, an alpha outside (0, 1), another method.
            DataError: too few items for alpha, or predictions that are nan.
        """
        task, part = self._task("fit_conformal"), DatasetType.of(ds_type)
        kinds = (Classification, MultiLabel, Regression)
        check_kind("fit_conformal: the task of the data", task, kinds, "Classification, MultiLabel or Regression")
        if part in (DatasetType.Train, DatasetType.Fix):
            expected = "a part that the model was not trained on"
            raise UsageError("fit_conformal: ds_type", got=part.name, expected=expected, fix='Use "valid" or "test".')
        layer = head_name(plain_model(self.model), self.groups[-1])
        try:
            preds, raw, features, known, targets = self._measured(part, layer)
        except NoHead:  # called twice, or with more than features
            preds, raw, features, known, targets = self._measured(part, None)
        sets = _fit_sets(task, preds, targets, alpha, method)
        kind: EnergyKind | None = None
        if not isinstance(task, Regression) and raw is not None:
            kind = "softmax" if isinstance(task, Classification) else "sigmoid"
        familiarity = fit_familiarity(raw, features, known, kind)
        has_features = familiarity is not None and familiarity.subspace is not None
        self._keep(FittedCertainty(sets, familiarity, layer if has_features else None))

    def _measured(self, part: DatasetType, layer: str | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]:
        """Predictions, raw outputs (None for several), features, features of training items, and targets."""
        n_out = self._task("fit_conformal").n_out
        with self._answering() as (model, compute), _tapped(model, layer, self.output) as both:
            together = partial(_joined, self._of_raw(), n_out)
            joined, targets, _ = predict_loader(both, self._loader(part), compute, together)
            if not isinstance(targets, Tensor):
                raise no_labels(part)
            known = joined.new_empty(0, 0)
            if layer is not None:
                train = predict_stream(both, self._loader(DatasetType.Train), compute, _features)
                known = _evenly(features for features, _, _ in train)
        preds, features, raw = joined.tensor_split((n_out, n_out + known.shape[1]), 1)
        return preds, raw if raw.shape[1] else None, features, known, targets

    def predict_set(self, item: Any) -> PredictionSet:
        """(labels, is_familiar, score, probs) of one item, with the coverage of `fit_conformal`.

        Args:
            item: as `predict` takes it.

        Raises:
            UsageError: `fit_conformal` has not been called, or not for the model as it is now.
        """
        return self._predict_sets("predict_set", [item], 1)[0]

    def predict_sets(self, items: Iterable[Any], bs: int = 64) -> list[PredictionSet]:
        """`predict_set` of each item, in batches of `bs`; images may differ in size."""
        return self._predict_sets("predict_sets", items, check_int("bs", bs, 1))

    def familiarity(self, ds_type: Source = DatasetType.Valid) -> Tensor:
        """How familiar each item of a part of the data, or of a loader, is: float64 (N,), 0 or more is familiar.

        Raises:
            UsageError: `fit_conformal` has not been called, or not for the model as it is now, or nothing tells it.
        """
        fitted = self._fitted_for("familiarity")
        if fitted.familiarity is None:
            raise UsageError(
                "familiarity: nothing tells it, as the learner has one layer group and its outputs are numbers",
                fix=f"Set the groups so that the last one is the head, learn.split(...). {FIT_AGAIN}",
            )
        with self._answering() as (model, compute), _tapped(model, fitted.layer, self.output) as both:
            return predict_loader(both, self._loader(ds_type), compute, partial(_scores, fitted.familiarity))[0]

    @property
    def certainty(self) -> FittedCertainty | None:
        """What `fit_conformal` has fitted; None before, and when it is not for the model as it is now."""
        return self._fitted if self._fitted is not None and self._fits() else None

    def _predict_sets(self, what: str, items: Iterable[Any], bs: int) -> list[PredictionSet]:
        task, are_images = self._task(what), self.dls.preprocess is not None
        fitted = self._fitted_for(what)
        found: list[PredictionSet] = []
        with self._answering() as (model, compute), eval_mode(model), compute.preserve_rng():
            made = SetAnswers(plain_model(model), compute, self._of_raw(), self.output, fitted, task.classes)
            with closing(made) as answers:
                for _, x in prepared_batches(items, self.dls.prepare, bs, are_images=are_images):
                    found += answers(x)
        return found

    def predictor(self, bs: int = 64) -> Predictor:
        """For serving: a copy of the model that predicts single items from any number of threads, `bs` at a time."""
        made = super().predictor(bs)
        if (fitted := self.certainty) is not None:
            made.answer_sets(fitted, self._of_raw(), self.output, self._compute())
        return made

    def _fitted_for(self, what: str) -> FittedCertainty:
        if self._fitted is None:
            raise not_fitted(what)
        if not self._fits():
            raise UsageError(f"{what}: fit_conformal was called for other weights or settings", fix=FIT_AGAIN)
        return self._fitted

    def _of_raw(self) -> Activation:
        """The activation of the raw outputs of the prediction, at the temperature."""
        return scaled(self.activation, self._temperature)

    def _keep(self, fitted: FittedCertainty | None) -> None:
        self._fitted = fitted
        self._fitted_to, self._seen_as = (self._settings_now(), self._digest()), self._versions()

    def _fits(self) -> bool:
        """Whether what was fitted is for the weights and settings of now; weights are read if they were touched."""
        if self._fitted_to[0] != self._settings_now():
            return False
        if (now := self._versions()) != self._seen_as:
            if self._fitted_to[1] != self._digest():
                return False
            self._seen_as = now
        return True

    def _settings_now(self) -> tuple[Any, ...]:
        return self._temperature, self.activation, self._output, self.dls.preprocess

    def _digest(self) -> str:
        return digest_of(tensors_of(plain_model(self.model)).values())

    def _versions(self) -> tuple[Any, ...]:
        """Changes with every change of the weights that torch or a fit has made, and without reading them."""
        tensors = tensors_of(plain_model(self.model)).values()
        return (
            self.counter.n_fits,
            self.counter.epoch,
            *(object() if one.is_inference() else (id(one), one._version) for one in tensors),
        )

    def _exported_certainty(self) -> FittedCertainty | None:
        if self._fitted is None or self._fits():
            return self._fitted
        warn(f"fit_conformal was called for other weights or settings, so the export does not hold it. {FIT_AGAIN}")
        return None


def _tapped(model: nn.Module, layer: str | None, output: Any) -> closing[RawAndFeatures]:
    return closing(RawAndFeatures(plain_model(model), layer, output))


def _one_tensor(raw: Any) -> Tensor:
    """Raw outputs as they are, where a temperature can be fitted to them."""
    if isinstance(raw, Tensor):
        return raw
    raise UsageError(
        f"calibrate: it fits one temperature to one tensor of raw outputs, and this model returns {names_of(raw)}",
        fix="Combine them before the softmax instead: Learner(..., output=lambda outputs: ...), without activation=.",
    )


def _joined(activation: Activation, n_out: int, outputs: Any) -> Tensor:
    """Predictions, features and one tensor of raw outputs, side by side."""
    raw, features = outputs
    preds = in_rows(activated(activation, raw))
    if preds.shape[1] != n_out:
        raise UsageError("fit_conformal: the predictions", got=tuple(preds.shape), expected=f"(N, {n_out})")
    return torch.cat([preds, *(part for part in (features, raw) if isinstance(part, Tensor))], 1)


def _features(outputs: Any) -> Tensor:
    return outputs[1]  # type: ignore[no-any-return]


def _scores(familiarity: Familiarity, outputs: Any) -> Tensor:
    return familiarity.scores(*map_tensors(Tensor.cpu, outputs))


def _evenly(batches: Iterable[Tensor]) -> Tensor:
    """Rows of batches, of more than `MAX_ITEMS` evenly spaced ones; at most twice as many are in memory."""
    rows: list[Tensor] = []
    step, n = 1, 0
    for batch in batches:
        rows.append(batch[-n % step :: step].clone())
        n += len(batch)
        if sum(map(len, rows)) > 2 * MAX_ITEMS:
            rows, step = [torch.cat(rows)[::2]], 2 * step
    return torch.cat(rows)[:: -(-sum(map(len, rows)) // MAX_ITEMS)]


def _fit_sets(task: Task, preds: Tensor, targets: Tensor, alpha: float, method: str) -> Conformal:
    if isinstance(task, Classification):
        return fit_class_sets(preds, targets, alpha, method)
    if method != "lac":
        raise UsageError("method", got=method, expected='"lac": others are for one class per item')
    if isinstance(task, MultiLabel):
        return fit_label_sets(preds, targets, alpha, task.classes)
    assert isinstance(task, Regression)
    return fit_intervals(preds, targets.reshape(len(preds), -1), alpha, task.names)
