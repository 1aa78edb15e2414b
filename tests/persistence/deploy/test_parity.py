"""Every output of an export is compared with that of the network."""

from typing import Any

import pytest
from torch import Tensor

from learnkit.errors import ExportError
from learnkit.persistence.deploy.network import network_of
from learnkit.persistence.deploy.parity import SCORE_TOLERANCE, check_outputs
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
