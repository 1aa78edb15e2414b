"""Where the items of an interpretation come from: their images, names and inputs, and the model that predicted them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from learnkit.interpretation.learners import Predicts
from learnkit.interpretation.naming import PARTS, Name
from learnkit.types import DatasetType

__all__ = ["ItemSource"]


@dataclass(frozen=True)
class ItemSource:
    """What is known of the items besides predictions and targets; any of it may be missing.

    Attributes:
        image: gives item i as uint8 (H, W, 3).
        name: gives the name of item i: its path, or its number.
        input: gives item i as the model sees it, (1, ...), on the device.
        model: what made the predictions, as it is now; nothing here changes it or its mode.
        part: of the data, such as "validation set"; empty where that is not known.
    """

    image: "Callable[[int], np.ndarray[Any, Any]] | None" = None
    name: Name | None = None
    input: Callable[[int], Tensor] | None = None
    model: nn.Module | None = None
    part: str = ""

    @classmethod
    def from_learner(cls, learn: Predicts, ds_type: DatasetType) -> Self:
        """The items of a part of a learner's data; they are read when they are asked for."""
        dls = learn.dls
        return cls(
            image=lambda i: dls.picture(ds_type, i),
            name=lambda i: dls.item_name(ds_type, i),
            input=lambda i: dls.one_input(ds_type, i),
            model=learn.model,
            part=PARTS.get(ds_type, "") if isinstance(ds_type, int) else "",
        )
