"""Where the items of an interpretation come from: their images, names and inputs, and the model that predicted them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from torch import Tensor, nn

from learnkit.data.image.draw import drawable
from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.naming import PARTS, Name
from learnkit.modes import eval_mode
from learnkit.types import DatasetType

__all__ = ["ItemSource", "NewImage"]


class NewImage(NamedTuple):
    """An image that is not in the data: as the model sees it (1, C, H, W), as uint8 (H, W, 3), activated outputs."""

    x: Tensor
    image: "np.ndarray[Any, Any]"
    probs: Tensor


@dataclass(frozen=True)
class ItemSource:
    """What is known about the items besides predictions and targets; any of it may be missing.

    Attributes:
        image: returns item i as uint8 (H, W, 3).
        name: returns the name of item i: its path, or its number.
        input: returns item i as the model sees it, (1, ...), on the device.
        model: made the predictions, maybe trained since; nothing here changes it or its mode.
        part: part of the data, such as "validation set"; empty if unknown.
        new: returns a new image, as `learn.predict` takes it.
        familiarity: returns how familiar each item is, (N,), 0 or more for a familiar one.
        output: picks the one of the model's outputs that is the prediction; None for a model of one.
    """

    image: "Callable[[int], np.ndarray[Any, Any]] | None" = None
    name: Name | None = None
    input: Callable[[int], Tensor] | None = None
    model: nn.Module | None = None
    part: str = ""
    new: "Callable[[Any], NewImage] | None" = None
    output: Callable[[Any], Any] | None = None
    familiarity: Callable[[], Tensor] | None = None

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType) -> Self:
        """The items of a part of a learner's data; they are read on access."""
        dls = learn.dls
        return cls(
            image=lambda i: dls.image(ds_type, i),
            name=lambda i: dls.item_name(ds_type, i),
            input=lambda i: dls.one_input(ds_type, i),
            model=learn.model,
            output=learn.output,
            part=PARTS.get(ds_type, "") if isinstance(ds_type, int) else "",
            new=lambda item: _new_image(learn, item),
            familiarity=lambda: learn.familiarity(ds_type),
        )


def _new_image(learn: Predicts, item: Any) -> NewImage:
    x, preprocess = learn.dls.prepare(item), learn.dls.preprocess
    normalize = None if preprocess is None else preprocess.normalize
    with eval_mode(learn.model):
        probs = learn.activate(learn.model(x))[0].cpu()
    return NewImage(x, drawable(x if normalize is None else normalize.undo(x))[0], probs)
