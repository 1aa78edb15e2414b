"""What a fit of one process shares with others: nothing; `tests/distributed/matrix.py` has fits of several."""

import warnings

import pytest
import torch
from torch import nn

from learnkit.distributed.parallel import Parallel
from learnkit.distributed.sharded import Sharded
from learnkit.distributed.world import World
from learnkit.losses import DiceLoss
from learnkit.training import processes
from learnkit.training.limits import FirstBatches
from learnkit.training.processes import loss_of_set, own_batches, parallel, spread_weights
from learnkit.training.state import TrainState


def test_alone_every_batch_is_read_as_it_is() -> None:
    batches = [torch.ones(2), torch.ones(1)]
    assert [share.batch for share in own_batches(batches)] == batches
    assert [share.batch for share in own_batches(FirstBatches(FirstBatches(batches, 5), 1))] == batches[:1]
    assert all(share.n for share in own_batches(batches))


def test_alone_nothing_runs_the_model_but_itself() -> None:
    model = nn.Linear(1, 1)
    state = TrainState(model=model, loss_func=nn.MSELoss(), train_dl=[])
    assert parallel(state) is None
    before = model.weight.clone()
    spread_weights(model, nn.MSELoss())
    assert torch.equal(before, model.weight)


@pytest.mark.parametrize("per_batch", [False, True])
@pytest.mark.parametrize("is_sharded", [False, True])
def test_a_loss_of_whole_batches_is_warned_of_in_several_processes(
    is_sharded: bool, per_batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = TrainState(model=model, loss_func=DiceLoss(per_batch=per_batch), train_dl=[], optimizer=optimizer)
    assert parallel(state) is None
    state.parallel = Sharded(model, []) if is_sharded else None
    two = World()
    two._size = 2
    monkeypatch.setattr(processes, "world", two)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = parallel(state)
    assert made is state.parallel if is_sharded else isinstance(made, Parallel)
    assert ["per_batch=True" in str(warning.message) for warning in caught] == [True] * per_batch


@pytest.mark.parametrize(
    ("losses", "weights", "expected"),
    [([1.0, 2.0], [3, 1], 1.25), ([1.0, 2.0], [None, None], 3.0), ([], [], None)],
)
def test_the_loss_of_a_set_weighs_its_batches(
    losses: list[float], weights: list[int | None], expected: float | None
) -> None:
    assert loss_of_set([torch.tensor(loss) for loss in losses], weights) == expected


def test_a_set_of_which_nothing_counts_has_no_loss() -> None:
    found = loss_of_set([torch.tensor(torch.nan)], [torch.tensor(0.0)])
    assert found is not None
    assert torch.tensor(found).isnan()
