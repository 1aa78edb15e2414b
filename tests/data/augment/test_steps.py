"""Steps: which transforms share a pass, and what each step does without reading what was drawn from the device."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.data.augment.color import Brightness, Contrast, Hue, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Dihedral, Flip, Rotate, Warp, Zoom
from learnkit.data.augment.presize import Presize
from learnkit.data.augment.steps import Columns, EraseStep, LightStep, MixStep, WarpStep, join, step_of

EVERY = [Flip(), Dihedral(), Rotate(), Zoom(), Warp(), Brightness(), Contrast(), Saturation(), Hue(), Presize(24),
         RandomErasing(1.0), RandomErasing(1.0, fill="gray")]  # fmt: skip


class Halved:
    """Has what the protocol of a Tonal asks for."""

    n_numbers: ClassVar[int] = 1

    def coefficients(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(numbers),), 0.5), torch.zeros(len(numbers))


@pytest.mark.parametrize(
    ("transform", "kind"),
    [
        (Flip(), WarpStep),
        (Halved(), LightStep),
        (Hue(), MixStep),
        (RandomErasing(), EraseStep),
        (torch.neg, type(None)),
    ],
)
def test_the_step_of_a_transform(transform: Any, kind: Any) -> None:
    assert isinstance(step_of(transform, None), kind)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        (Flip(), Rotate(), True), (Flip(), Rotate(padding_mode="zeros"), False), (Brightness(), Halved(), True),
        (Brightness(), Flip(), False), (Saturation(), Hue(), False), (RandomErasing(), RandomErasing(), False),
    ],
)  # fmt: skip
def test_which_adjacent_transforms_share_a_pass(one: Any, other: Any, share: bool) -> None:
    a, b = step_of(one, None), step_of(other, None)
    assert a is not None
    assert b is not None
    joined = join(a, b)
    assert (joined is not None) is share
    assert joined is None or list(joined.transforms) == [one, other]


def changed(transform: Any, x: Tensor, columns: Tensor, device: str) -> Tensor:
    step = step_of(transform, (16, 16) if isinstance(transform, Presize) else None)
    assert step is not None
    return step.change(x.to(device), Columns(columns.numpy(), columns.to(device)), in_place=False, out=None)


def columns_of(transform: Any, n: int, side: int) -> Tensor:
    step = step_of(transform, (16, 16) if isinstance(transform, Presize) else None)
    assert step is not None
    drawn = torch.rand(n, transform.n_numbers, generator=torch.Generator().manual_seed(0))
    columns = step.columns([drawn], side, side)
    assert columns.shape == (n, step.n_columns)
    assert columns.dtype == torch.float32
    return columns


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_an_accelerator_is_not_asked_for_numbers(transform: Any) -> None:
    """Tensors of the device meta have none: to read one, or to mix them with tensors of the CPU, is an error."""
    side = 24 if isinstance(transform, Presize) else 16
    x, columns = torch.rand(6, 3, side, side), columns_of(transform, 6, side)
    out = changed(transform, x, columns, "meta")
    assert out.device.type == "meta"
    assert out.shape == (6, 3, 16, 16)
    assert out.dtype == torch.float32


@pytest.mark.parametrize("in_place", [False, True])
def test_rows_decide_what_is_done(in_place: bool) -> None:
    step = step_of(Brightness(), None)
    assert step is not None
    x = torch.rand(2, 3, 4, 4)
    still = torch.tensor([[1.0, 0.0]] * 2)
    out = step.change(x.clone(), Columns(still.numpy(), still), in_place=in_place, out=None)
    torch.testing.assert_close(out, x.clamp(1e-3, 1 - 1e-3))
    lighter = torch.tensor([[1.0, 0.5], [1.0, -0.5]])
    out = step.change(x.clone(), Columns(lighter.numpy(), lighter), in_place=in_place, out=None)
    shift = np.array([0.5, -0.5]).reshape(2, 1, 1, 1)
    clamped = x.double().clamp(1e-3, 1 - 1e-3).numpy()
    expected = 1 / (1 + np.exp(-(np.log(clamped / (1 - clamped)) + shift)))
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)
