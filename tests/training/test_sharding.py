"""Sharded fits that fail, and what they ask of an optimizer; learner/test_sharded_fit.py has those that do not."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from learnkit.training.sharding import _for_shares, whole_of
from learnkit.training.state import TrainState

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
from launching import finished, started

MATRIX = str(Path(__file__).parents[1] / "distributed" / "matrix.py")


def test_a_fit_that_is_not_sharded_has_its_own_model_and_optimizer() -> None:
    model = nn.Linear(2, 2)
    state = TrainState(model=model, optimizer=SGD(model.parameters(), 0.1), loss_func=nn.MSELoss(), train_dl=[])
    assert whole_of(state) == (state.model, state.optimizer)


def test_fused_steps_are_replaced_by_those_that_know_shares() -> None:
    optimizer = _for_shares(AdamW([nn.Parameter(torch.ones(2))], fused=True))
    assert (optimizer.param_groups[0]["fused"], optimizer.param_groups[0]["foreach"]) == (False, True)
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_a_choice_that_knows_shares_is_kept() -> None:
    for foreach in (None, False, True):
        optimizer = _for_shares(AdamW([nn.Parameter(torch.ones(2))], foreach=foreach))
        assert optimizer.param_groups[0]["foreach"] is foreach


@pytest.mark.slow
def test_a_failure_leaves_what_it_would_in_one_process(tmp_path: Path) -> None:
    """An error, StopFit, SkipBatch and nan in all processes; Ctrl-C; a learner asked within a fit."""
    for size in (1, 2):
        for code, said in finished(started(size, MATRIX, str(tmp_path / f"{size}.pt"), "sharded_errors")):
            assert code == 0, said
    one, two = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9, equal_nan=True)


ONE_FAILS = """
import sys
sys.path.insert(0, {folder!r})
import matrix
from pathlib import Path
from learnkit.distributed import world

matrix.FOLDER = Path({out!r})
learn = matrix.learner()
fails = [matrix.Fails(3, ValueError("a bad file"))] if world.rank == 1 else []
learn.fit(1, 0.05, callbacks=fails, strategy="fsdp")
"""


@pytest.mark.slow
def test_a_failure_of_one_process_ends_all_and_says_what_is_kept(tmp_path: Path) -> None:
    script = tmp_path / "one_fails.py"
    script.write_text(ONE_FAILS.format(folder=str(Path(MATRIX).parent), out=str(tmp_path)), encoding="utf-8")
    (code, said), (code_of_failed, said_by_failed) = finished(started(2, str(script)), timeout=120)
    assert code == code_of_failed == 1
    assert "process 1 failed: ValueError: a bad file" in said
    assert "the learner has the weights and the optimizer of step 0 of this fit" in said_by_failed
