"""The state of another optimizer is refused by name, that of other parameters by their shapes."""

import pytest
import torch
from torch import nn

from learnkit.persistence.optimizer_state import check_optimizer_state, is_optimizer_state, optimizer_state


def test_a_state_knows_its_class() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))])
    state = optimizer_state(optimizer)
    assert is_optimizer_state(state)
    assert state == {**optimizer.state_dict(), "class": "SGD"}
    check_optimizer_state(optimizer, state)
    with pytest.raises(ValueError, match="it is that of SGD, and the learner's is AdamW"):
        check_optimizer_state(torch.optim.AdamW(optimizer.param_groups[0]["params"]), state)


@pytest.mark.parametrize(
    "content", [None, [], {}, {"state": {}}, {"state": [], "param_groups": []}, {"state": {}, "param_groups": [{}]}]
)
def test_anything_else_is_no_state(content: object) -> None:
    assert not is_optimizer_state(content)


def test_a_state_for_other_parameters_is_refused() -> None:
    first, second = (torch.optim.Adam([nn.Parameter(torch.ones(shape))]) for shape in ((2, 3), (3, 2)))
    first.param_groups[0]["params"][0].grad = torch.ones(2, 3)
    first.step()
    check_optimizer_state(first, first.state_dict())
    with pytest.raises(ValueError, match=r"exp_avg \(2, 3\) there, for a parameter \(3, 2\) here"):
        check_optimizer_state(second, first.state_dict())
    with pytest.raises(ValueError, match=r"that of another optimizer than SGD, with the settings .*betas"):
        check_optimizer_state(torch.optim.SGD(second.param_groups[0]["params"]), first.state_dict())
