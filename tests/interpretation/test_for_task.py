"""The interpretation of a learner is that of its task."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import ClassificationInterpretation, DataBunch, Learner
from learnkit.data.tasks import Classification, MultiLabel, Regression
from learnkit.errors import WrongTypeError
from learnkit.interpretation.for_task import interpretation_for
from learnkit.interpretation.multilabel import MultiLabelInterpretation
from learnkit.interpretation.regression import RegressionInterpretation
from tests.doubles import refused


def learner_of(task: Any, y: Tensor, n_out: int) -> Learner:
    x = torch.arange(8.0).view(4, 2)
    return Learner(DataBunch.from_tensors(x, y, x, y, bs=2, task=task), nn.Linear(2, n_out))


@pytest.mark.parametrize(
    ("task", "y", "kind"),
    [
        (Classification(("a", "b")), torch.tensor([0, 1, 0, 1]), ClassificationInterpretation),
        (MultiLabel(("a", "b")), torch.ones(4, 2), MultiLabelInterpretation),
        (Regression(("a", "b")), torch.ones(4, 2), RegressionInterpretation),
    ],
)
def test_the_interpretation_is_that_of_the_task(task: Any, y: Tensor, kind: type) -> None:
    learn = learner_of(task, y, 2)
    interp = interpretation_for(learn)
    assert type(interp) is kind
    assert torch.equal(interp.losses, learn.get_preds(with_loss=True)[2])
    for other in (ClassificationInterpretation, MultiLabelInterpretation, RegressionInterpretation):
        if other is not kind:
            what, got = f"{other.__name__}: the task of the data", type(task).__name__
            with refused(what, WrongTypeError, got=got, fix=f"Use {kind.__name__}, or learn.interpret()."):
                other.from_learner(learn)


def test_a_task_without_an_interpretation_is_refused() -> None:
    class Custom(Classification):
        pass

    learn = learner_of(Custom(("a", "b")), torch.tensor([0, 1, 0, 1]), 2)
    assert type(interpretation_for(learn)) is ClassificationInterpretation  # a subclass counts as its base
    learn.dls.task = object()  # type: ignore[assignment]
    with refused("interpret: no interpretation for this task", WrongTypeError, got="object"):
        interpretation_for(learn)
    learn.dls.task = None
    with refused("interpret: the data does not specify its classes"):
        interpretation_for(learn)
