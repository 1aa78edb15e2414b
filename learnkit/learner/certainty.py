"""How sure a learner's answers are: the temperature and the thresholds, fitted on data not trained on."""

from dataclasses import replace

from torch import nn

from learnkit.arguments import checks_methods
from learnkit.checks import check_kind
from learnkit.data.tasks import Classification, MultiLabel
from learnkit.interpretation.calibration import fit_temperature
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.learner.answers import Answers, Part
from learnkit.types import DatasetType

__all__ = ["Certainty"]


@checks_methods
class Certainty(Answers):
    """Fits, on a part of the data, what makes a learner's answers as sure as they are right."""

    def calibrate(self, ds_type: Part = DatasetType.Valid) -> float:
        """Fit `temperature` on a part of the data that was not trained on, and return it.

        No predicted class changes, only its confidence. Exports keep it. Guo et al., On calibration of modern neural
        networks, 2017.
        """
        check_kind("calibrate: the task of the data", self.dls.task, Classification, "Classification")
        raw, targets = self.get_preds(DatasetType.of(ds_type), activ=nn.Identity())
        self.temperature = fit_temperature(raw, targets)
        return self.temperature

    def fit_thresholds(self, ds_type: Part = DatasetType.Valid, metric: str = "f1") -> tuple[float, ...]:
        """Set the threshold of each label to the one with the best F-beta ("f1", "f0.5") on data not trained on.

        Returns one per class; a class without items keeps its own. `predict` uses them, exports keep them.
        """
        interp = MultiLabelInterpretation.from_learner(self, DatasetType.of(ds_type))
        thresholds = interp.fit_thresholds(metric)
        assert isinstance(self.dls.task, MultiLabel)  # checked by from_learner
        self._set_task(replace(self.dls.task, threshold=thresholds))
        return thresholds
