"""Constants of an accelerator are made once; those of the CPU are new each time."""

import pytest
import torch

from learnkit.data.augment.constants import centers, constant

ACCELERATOR = torch.device("meta")  # stands in for one


def test_they_hold_the_numbers_in_their_type() -> None:
    made = constant((0.5, 2.0), torch.float64, torch.device("cpu"))
    assert made.tolist() == [0.5, 2.0]
    assert made.dtype == torch.float64


def test_an_accelerator_keeps_them() -> None:
    first = constant((0.5, 2.0), torch.float32, ACCELERATOR)
    assert first.device == ACCELERATOR
    assert constant((0.5, 2.0), torch.float32, ACCELERATOR) is first
    assert constant((0.5, 2.5), torch.float32, ACCELERATOR) is not first
    assert constant((0.5, 2.0), torch.float64, ACCELERATOR) is not first


def test_what_is_done_to_one_of_the_cpu_does_not_change_the_next() -> None:
    constant((0.5,), torch.float32, torch.device("cpu")).zero_()
    assert constant((0.5,), torch.float32, torch.device("cpu")).item() == 0.5


@pytest.mark.parametrize(("n", "expected"), [(1, [0]), (2, [-0.5, 0.5]), (4, [-0.75, -0.25, 0.25, 0.75])])
def test_centers_of_pixels(n: int, expected: list[float]) -> None:
    assert centers(n, torch.device("cpu")).tolist() == pytest.approx(expected)
