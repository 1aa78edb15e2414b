"""Every output of an export, compared with that of the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learnkit.errors import ExportError
from learnkit.persistence.deploy.capture import TOLERANCE, check_parity
from learnkit.persistence.deploy.familiarity import FAMILIARITY, has_familiarity, picked
from learnkit.persistence.deploy.network import Preprocessing, example_inputs
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.deploy.whole_images import check_resizing
from learnkit.persistence.spec import ExportSpec

__all__ = ["SCORE_TOLERANCE", "check_outputs", "tolerance_of"]

SCORE_TOLERANCE = 0.01  # of a standard deviation: a score divides differences by what may be a small one
SPACINGS = 10  # of the numbers of a type around 1: other programs round at other places
Run = Callable[[Tensor], Any]


def check_outputs(
    spec: ExportSpec,
    run: Run,
    reference: Callable[[Preprocessing], Run],
    *,
    preprocessing: Preprocessing,
    data: RealData | None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Compare the export with the network, on eight inputs, and on whole images if it resizes them.

    Args:
        spec: the model.
        run: the export, from inputs to an output, or two.
        reference: what it has to return, by what is done inside.
        preprocessing: what the export does inside.
        data: to check on.
        tolerance: of "output", see `check_parity`.

    Returns:
        What `check_parity` says of "output", with `whole_images`, and the same of the score as `familiarity`.

    Raises:
        ExportError: an export that fails, or returns something else.
    """

    def facts_of(name: str, tolerance: float) -> dict[str, Any]:
        found, inputs = picked(run, name), example_inputs(spec, preprocessing=preprocessing)
        facts = check_parity(picked(reference(preprocessing), name), found, inputs, tolerance)
        if preprocessing == "full":
            facts["whole_images"] = check_resizing(spec, found, picked(reference(True), name), data)
        return facts

    facts = facts_of("output", tolerance)
    if has_familiarity(spec):
        try:
            facts[FAMILIARITY] = facts_of(FAMILIARITY, max(SCORE_TOLERANCE, tolerance_of(spec)))
        except ExportError as error:
            raise error.prefixed(FAMILIARITY) from error
    return facts


def tolerance_of(spec: ExportSpec) -> float:
    """How far outputs may be apart, as a share of the largest: `TOLERANCE`, or more for numbers of 16 bits.

    For float16 it is 0.0098, 10 spacings of its numbers around 1.
    """
    kinds = {spec.dtype, *(parameter.dtype for parameter in spec.model.parameters())}
    return max([TOLERANCE, *(SPACINGS * torch.finfo(kind).eps for kind in kinds if kind.is_floating_point)])
