"""Channels-last: what the model is given and what it weighs change their layout, and nothing else."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import ImageDataBunch, Learner, load_learner
from learnkit.models.layout import use_channels_last
from tests.doubles import refused


class Looking(nn.Module):
    """A small network that keeps the layout of every input: whether it is contiguous, and whether channels-last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4, 3)
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x.is_contiguous(), x.is_contiguous(memory_format=torch.channels_last)))
        out: Tensor = self.linear(self.conv(x).relu().mean((2, 3)))
        return out


def everything(learn: Learner, image: Path) -> list[Tensor]:
    """Numbers of all that gives images to the model."""
    learn.fit(1, 0.01)
    learn.show_results()
    learn.validate()
    return [learn.get_preds()[0], learn.predict(image).probs, learn.tta(n=1)[0], learn.predictor().predict(image).probs]


def test_weights_and_images_are_channels_last_once_asked_for_and_the_numbers_are_the_same(class_folder: Path) -> None:
    results = []
    for layout in ("contiguous", "channels last"):
        dls = ImageDataBunch.from_folder(class_folder, size=16, bs=8)
        learn = Learner(dls, Looking(), seed=0)  # which looks at the model's outputs
        learn.model.seen.clear()
        if layout == "channels last":
            assert learn.to_channels_last().to_channels_last() is learn
        results.append(everything(learn, class_folder / "valid/red/0.png"))
        assert set(learn.model.seen) == {(layout == "contiguous", layout == "channels last")}
        assert learn.model.conv.weight.is_contiguous(memory_format=torch.channels_last) is (layout == "channels last")
        assert dls.one_batch()[0].is_contiguous()  # the bunch may serve other learners
    for plain, other in zip(*results, strict=True):
        torch.testing.assert_close(plain, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inputs", [(torch.rand(2, 5),), (torch.rand(2, 3, 4, 4), torch.rand(2, 7))])
def test_only_images_change(inputs: Any) -> None:
    seen = []

    class Taking(nn.Module):
        def forward(self, *parts: Tensor) -> None:
            seen.extend(parts)

    model = Taking()
    use_channels_last(model)
    copy.deepcopy(model)(*inputs)
    for given, part in zip(inputs, seen, strict=True):
        assert torch.equal(given, part)
        assert part.ndim != 4 or part.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("place", [0, 1])
def test_a_model_of_volumes_is_refused_and_left_as_it_is(place: int) -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3)]
    layers.insert(place, nn.Conv3d(1, 2, 3))
    model = nn.Sequential(*layers)
    with refused(f"to_channels_last: the weights {place}.weight have the shape (2, 1, 3, 3, 3)"):
        use_channels_last(model)
    assert all(weight.is_contiguous() for weight in model.parameters())
    assert not model._forward_pre_hooks


def test_an_export_is_that_of_the_contiguous_model(class_folder: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=16, bs=8)
    learn = Learner(dls, Looking(), seed=0).to_channels_last()
    image = class_folder / "valid/red/0.png"
    loaded = load_learner(learn.export("model"), model=Looking())
    torch.testing.assert_close(loaded.predict(image).probs, learn.predict(image).probs)
