"""What the losses of raw scores share; the losses themselves are tested in the files of their names."""

import pytest
import torch
from torch import Tensor

from learnkit.losses.scores import FirstTargets, ScoreLoss, as_classes, full_precision, like_preds
from tests.doubles import refused


class MeanScore(ScoreLoss):
    """The scores themselves, reduced."""

    def forward(self, preds: Tensor, targets: Tensor) -> Tensor:
        return self.reduced(preds)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_scores_are_in_single_precision_at_least(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert full_precision(torch.ones(2, dtype=dtype)).dtype == expected


def test_targets_take_the_shape_and_dtype_of_the_outputs() -> None:
    like = like_preds("loss", torch.zeros(2, 1, 3, dtype=torch.float64), torch.arange(6).reshape(2, 3, 1))
    assert like.tolist() == [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 5.0]]]
    assert like.dtype == torch.float64
    with refused("loss: the shapes of outputs and targets", got=((3, 2), (2, 3)), expected="targets of (3, 2)"):
        like_preds("loss", torch.zeros(3, 2), torch.zeros(2, 3))


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_class_indices_have_the_shape_of_the_outputs_without_their_classes(axis: int) -> None:
    preds = torch.zeros(4, 5, 5)
    classes = as_classes("loss", preds, torch.ones(4, 1, 5, dtype=torch.uint8), axis)
    assert classes.shape == (4, 5)
    assert classes.dtype == torch.int64


def test_only_the_first_targets_are_looked_at() -> None:
    preds, first = torch.zeros(2, 3), FirstTargets()
    first.check("loss", preds, torch.empty(0), 2)  # nothing to check
    first.check("loss", preds, torch.tensor([0, 2]), 2)
    first.check("loss", preds, torch.tensor([0, 3]), 2)


@pytest.mark.parametrize("targets", [[0, 3], [-1, 1]])
def test_first_targets_out_of_range_are_refused_until_they_fit(targets: list[int]) -> None:
    preds, first = torch.zeros(2, 3), FirstTargets()
    for _ in range(2):
        with refused("loss: the targets (2,) for outputs (2, 3)", got=sorted(targets), expected="values from 0 to 2"):
            first.check("loss", preds, torch.tensor(targets), 2)
    first.check("loss", preds, torch.tensor(targets), 2, ignore_index=targets[targets[0] == 0])


def test_the_reductions() -> None:
    scores, targets = torch.tensor([1.0, 2.0, 6.0]), torch.zeros(3)
    assert MeanScore()(scores, targets) == 3
    assert MeanScore(reduction="sum")(scores, targets) == 9
    assert torch.equal(MeanScore(reduction="none")(scores, targets), scores)
    with refused("reduction", got="avg", expected="'mean', 'none' or 'sum'"):
        MeanScore(reduction="avg")


@pytest.mark.parametrize(
    ("shape", "binary", "expected"),
    [((4,), False, True), ((4, 1, 2), False, True), ((4, 3), False, False), ((4, 3), True, True)],
)
def test_the_shape_decides_whether_scores_are_binary(shape: tuple[int, ...], binary: bool, expected: bool) -> None:
    loss, scores = MeanScore(binary=binary), torch.ones(shape)
    assert loss.is_binary(scores) is expected
    torch.testing.assert_close(loss.activation(scores), scores.sigmoid() if expected else scores.softmax(1))
