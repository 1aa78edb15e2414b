"""Every output of an export is compared with that of the network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import ExportError
from learnkit.persistence.deploy.network import network_of
from learnkit.persistence.deploy.parity import SCORE_TOLERANCE, check_outputs, tolerance_of
from learnkit.persistence.spec import ExportSpec
from tests.persistence.deploy.test_familiarity import learner


@pytest.mark.parametrize(("place", "says"), [(0, r"^difference between"), (1, r"^familiarity: difference between")])
def test_each_output_is_compared(place: int, says: str) -> None:
    spec = learner()._export_spec()
    network, _ = network_of(spec)

    def run(inputs: Tensor) -> Any:
        found = list(network(inputs))
        found[place] = found[place] + 0.5
        return tuple(found)

    facts = check_outputs(spec, network, lambda _: network, preprocessing=False, data=None)
    assert facts["max_abs_diff"] == facts["familiarity"]["max_abs_diff"] == 0
    assert facts["familiarity"]["tolerance"] == SCORE_TOLERANCE
    with pytest.raises(ExportError, match=says):
        check_outputs(spec, run, lambda _: network, preprocessing=False, data=None)


@pytest.mark.parametrize(
    ("model", "dtype", "expected"),
    [
        (nn.Linear(2, 2), torch.float32, 1e-4),
        (nn.Linear(2, 2).double(), torch.float64, 1e-4),
        (nn.Identity(), torch.int64, 1e-4),  # no parameters, no floats
        (nn.Linear(2, 2).half(), torch.float16, 10 / 1024),
        (nn.Linear(2, 2).half(), torch.float32, 10 / 1024),
        (nn.Linear(2, 2).bfloat16(), torch.bfloat16, 10 / 128),
    ],
)
def test_the_tolerance_is_that_of_the_coarsest_numbers(model: nn.Module, dtype: torch.dtype, expected: float) -> None:
    assert tolerance_of(ExportSpec(model, (2,), dtype=dtype)) == pytest.approx(expected)
