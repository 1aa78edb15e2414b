"""Passes: the chunks of a batch are changed by all steps in turn, and a function is given the whole batch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learnkit.data.augment import random
from learnkit.data.augment.color import Brightness, Contrast, Saturation
from learnkit.data.augment.erasing import RandomErasing
from learnkit.data.augment.geometry import Flip, Rotate
from learnkit.data.augment.passes import CallPass, Coordinates, FusedPass
from learnkit.data.augment.random import to_float
from learnkit.data.augment.steps import Columns, step_of

AT = Coordinates(3, 1, np.arange(5))


def fused(*transforms: Any) -> FusedPass:
    made = FusedPass()
    for place, transform in enumerate(transforms):
        step = step_of(transform, None)
        assert step is not None
        made.add(step, place)
    return made


def run(transforms: list[Any], x: Tensor, *, in_place: bool = False, finish: Any = None) -> Tensor:
    one = fused(*transforms)
    columns = one.columns(AT, x.shape[-2], x.shape[-1])
    return one.run(x, Columns(columns.numpy(), columns), None, in_place=in_place, finish=finish)[0]


def doubled(x: Tensor, /, *, in_place: bool, out: Tensor | None) -> Tensor:
    return torch.mul(to_float(x), 2, out=out)


def test_adjacent_transforms_of_a_kind_are_one_step() -> None:
    one = fused(Flip(), Rotate(), Brightness(), Contrast(), Saturation(), RandomErasing())
    assert [len(step.transforms) for step in one.steps] == [2, 2, 1, 1]
    assert one.places == [[0, 1], [2, 3], [4], [5]]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("finish", [None, doubled])
@pytest.mark.parametrize(
    "transforms", [[], [Flip()], [Brightness()], [Flip(), Rotate(), Contrast()], [Rotate(), RandomErasing(1.0)]]
)
def test_chunks_make_no_difference(
    monkeypatch: pytest.MonkeyPatch, transforms: list[Any], finish: Any, in_place: bool, dtype: Any, layout: Any
) -> None:
    x = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    x = (x * 255).byte() if dtype == torch.uint8 else x
    whole = run(transforms, x.clone(), finish=finish)
    monkeypatch.setattr(random, "CHUNK", 3 * 12 * 12)  # an item
    kept = x.clone()
    out = run(transforms, kept, in_place=in_place, finish=finish)
    assert out.dtype == whole.dtype
    torch.testing.assert_close(out, whole)
    assert in_place or torch.equal(kept, x)
    assert out.is_contiguous(memory_format=layout)


def test_coordinates_draw_for_each_item_and_place() -> None:
    numbers = AT.uniforms(2, 3)
    assert numbers.shape == (5, 3)
    alone = AT._replace(indices=np.array([4]))
    assert torch.equal(alone.uniforms(2, 3)[0], numbers[4])
    assert not torch.equal(AT.uniforms(1, 3), numbers)
    assert AT.seed_of_batch(0) != alone.seed_of_batch(0)
    assert AT.seed_of_batch(0) == AT._replace(indices=np.array([0])).seed_of_batch(0)


def test_a_function_is_given_floats_and_the_whole_batch() -> None:
    seen: list[Tensor] = []

    def fn(x: Tensor) -> Tensor:
        seen.append(x)
        return x + torch.rand(())

    x = torch.full((5, 3, 4, 4), 51, dtype=torch.uint8)
    before = torch.get_rng_state()
    out, _ = CallPass(fn, 0, draws=False).run(x, AT, None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(seen[0], torch.full((5, 3, 4, 4), 0.2))
    torch.manual_seed(AT.seed_of_batch(0))
    torch.testing.assert_close(out, seen[0] + torch.rand(()))
