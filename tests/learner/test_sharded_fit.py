"""Fits whose weights are shared out over several processes equal the plain fit of one."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner
from learnkit.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))
from launching import finished, started

MATRIX = str(Path(__file__).parents[1] / "distributed" / "matrix.py")
Found = dict[str, dict[str, object]]


def run(out: Path, size: int, *names: str, strategy: str = "") -> Found:
    """What cases of the matrix find in this number of processes."""
    more = {"STRATEGY": strategy} if strategy else {}
    for code, said in finished(started(size, MATRIX, str(out), *names, **more)):
        assert code == 0, said
    found: Found = torch.load(out, weights_only=True)
    return found


def assert_same(found: dict[str, object], expected: dict[str, object]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(
                found[name], value, rtol=1e-9, atol=1e-9, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:
            assert found[name] == value, name


def learner() -> Learner:
    torch.manual_seed(0)
    x, y = torch.randn(20, 4), torch.arange(20) % 2
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return Learner(DataBunch.from_tensors(x, y, x, y, bs=5), model, seed=0)


def test_one_process_trains_the_whole_model_with_any_strategy() -> None:
    fits = []
    for strategy in (None, "ddp", "fsdp"):
        learn = learner()
        learn.fit(2, 0.1, strategy=strategy)
        fits.append(learn.model.state_dict())
    for weights in fits[1:]:
        torch.testing.assert_close(weights, fits[0], rtol=0, atol=0)


def test_an_unknown_strategy_is_refused_before_training() -> None:
    learn = learner()
    with pytest.raises(UsageError, match="strategy: got 'deepspeed', expected None, 'ddp' or 'fsdp'"):
        learn.fit(1, strategy="deepspeed")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="strategy: got 'deepspeed'"):
        learn.split([learn.model[0], learn.model[2]]).fit_head(1, strategy="deepspeed")  # type: ignore[index, typeddict-item]
    assert learn.epoch == 0


@pytest.mark.slow
def test_a_sharded_fit_equals_the_fit_of_one_process(tmp_path: Path) -> None:
    """EMA, SWA, SaveModel, clipping, accumulation, parts, frozen groups, a trained loss, tied weights, numbers."""
    alone = run(tmp_path / "1.pt", 1, "sharded")["sharded"]
    assert_same(run(tmp_path / "2.pt", 2, "sharded")["sharded"], alone)


@pytest.mark.slow
def test_a_checkpoint_does_not_depend_on_the_strategy(tmp_path: Path) -> None:
    """Begun with FSDP in two processes, continued in one, completed with DDP in two; and once with FSDP at the end."""
    whole = run(tmp_path / "whole" / "out.pt", 1, "resume")["resume"]
    mixed = tmp_path / "mixed" / "out.pt"
    run(mixed, 2, "interrupted", strategy="fsdp")
    run(mixed, 1, "interrupted_again")
    assert_same(run(mixed, 2, "resume", strategy="ddp")["resume"], whole)
    other = tmp_path / "other" / "out.pt"
    run(other, 1, "interrupted")
    assert_same(run(other, 2, "resume", strategy="fsdp")["resume"], whole)
