"""How the options train."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.optim.lr_scheduler import StepLR

from learnkit import ImageDataBunch, Learner, cnn_learner
from learnkit.callbacks import EMA, CutMix, EarlyStopping, GradientAccumulation, GradientClipping, MixedPrecision, MixUp
from learnkit.cli.training import chosen_monitor, fit, make_callbacks, settle, training_options
from learnkit.cli.typed_parser import TypedParser
from learnkit.errors import UsageError


def values(*words: object) -> dict[str, Any]:
    parser = TypedParser(prog="learnkit train")
    parser.add_options("training", training_options())
    return vars(parser.parse_args(list(map(str, words))))


@pytest.fixture
def learn(photos: Path, tmp_path: Path) -> Learner:
    dls = ImageDataBunch.from_folder(photos, size=32, bs=4, num_workers=0)
    return cnn_learner(dls, "shufflenet_v2_x0_5", pretrained=False, seed=0, path=tmp_path)


def test_every_option_has_help() -> None:
    assert all(option.help for option in training_options())


def test_callbacks_are_those_of_the_options() -> None:
    words = ("--mixup", 0.4, "--cutmix", 1, "--ema", 0.9, "--clip", 2, "--accumulate", 8, "--precision", "bf16")
    found = {
        type(one): one for one in make_callbacks(values(*words, "--early-stopping", 3, "--monitor", "accuracy"), Path())
    }
    assert found[MixUp].alpha == 0.4
    assert found[CutMix].alpha == 1.0
    assert found[EMA].decay == 0.9
    assert found[GradientClipping].max_norm == 2.0
    assert found[GradientAccumulation].n_items == 8
    assert found[MixedPrecision].precision == "bf16"
    assert (found[EarlyStopping].patience, found[EarlyStopping].monitor.name) == (3, "accuracy")
    assert len(make_callbacks(values(), Path())) == 1  # progress


@pytest.mark.slow
def test_a_scheduler_of_torch(learn: Learner) -> None:
    words = ("--policy", "constant", "--scheduler", "StepLR", "--scheduler-args", "step_size=1,gamma=0.5", "--lr", 0.1)
    chosen = values(*words, "--epochs", 3)
    fit(learn, chosen, make_callbacks(chosen, Path()), resume=False)
    assert learn.recorder.lrs[::2] == pytest.approx([0.1, 0.05, 0.025])  # two batches an epoch
    assert StepLR.__name__ == "StepLR"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheduler", "StepRL", "--policy", "constant"], "--scheduler: got 'StepRL', expected a class .*StepLR"),
        (["--scheduler", "StepLR"], "--scheduler StepLR needs --policy constant"),
        (["--mixup", "-1"], "mixup: got -1"),
        (["--cutmix", "0"], "cutmix: got 0"),
        (["--scheduler", "LRScheduler", "--policy", "constant"], "--scheduler: got 'LRScheduler', expected a class"),
    ],
)
def test_what_a_callback_refuses(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_callbacks(values(*words), Path())


def test_arguments_that_a_scheduler_does_not_take(learn: Learner) -> None:
    words = (
        "--scheduler",
        "StepLR",
        "--policy",
        "constant",
        "--scheduler-args",
        "size=1",
        "--lr",
        "0.1",
        "--epochs",
        1,
    )
    chosen = values(*words)
    with pytest.raises(UsageError, match=r"--scheduler StepLR: .*size"):
        fit(learn, chosen, make_callbacks(chosen, Path()), resume=False)


@pytest.mark.parametrize(("policy", "peak"), [("one_cycle", 0.1), ("flat_cos", 0.1), ("constant", 0.1)])
def test_policies_schedule_the_rate(learn: Learner, policy: str, peak: float) -> None:
    chosen = values("--policy", policy, "--lr", 0.1, "--epochs", 4)
    fit(learn, chosen, [], resume=False)
    lrs = list(learn.recorder.lrs)
    assert len(lrs) == 8
    assert max(lrs) == pytest.approx(peak)
    assert (min(lrs) < 0.9 * peak) == (policy != "constant")


def test_rates_of_groups(learn: Learner) -> None:
    chosen = values("--policy", "constant", "--lr", "0.001:0.1", "--epochs", 1)
    fit(learn, chosen, [], resume=False)
    assert list(learn.recorder.lrs) == pytest.approx([0.1, 0.1])
    assert learn.opt is not None
    assert learn.opt.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("n", "has_weights", "policy", "epochs"),
    [(8, False, "one_cycle", 20), (8, True, "fine_tune", 1), (1_000, True, "fine_tune", 1),
     (1_001, True, "fine_tune", 3), (5_001, True, "fine_tune", 5)],
)  # fmt: skip
def test_policy_and_epochs_that_are_left_open(
    learn: Learner, monkeypatch: pytest.MonkeyPatch, n: int, has_weights: bool, policy: str, epochs: int
) -> None:
    monkeypatch.setattr(type(learn.dls.train_ds), "__len__", lambda self: n)
    monkeypatch.setattr(Learner, "lr_find", lambda self: SimpleNamespace(valley=0.001234567))
    chosen = values() | {"pretrained": has_weights, "weights": None}
    settle(chosen, learn)
    assert (chosen["policy"], chosen["epochs"]) == (policy, epochs)
    assert chosen["lr"] == (None if has_weights else "0.00123")


def test_what_was_chosen_is_kept(learn: Learner) -> None:
    chosen = values("--policy", "flat_cos", "--epochs", 7, "--lr", 0.1) | {"pretrained": True, "weights": None}
    settle(chosen, learn)
    assert (chosen["policy"], chosen["epochs"], chosen["lr"]) == ("flat_cos", 7, "0.1")


@pytest.mark.slow
def test_fine_tuning_is_that_of_the_learner(learn: Learner) -> None:
    chosen = values("--policy", "fine_tune", "--epochs", 1, "--lr", 0.01)
    fit(learn, chosen, [], resume=False)
    assert max(learn.recorder.lrs[:60]) == pytest.approx(0.01, rel=0.02)  # 30 epochs of the head
    assert len(learn.history) == 31


def test_accuracy_is_monitored_where_it_is_measured(learn: Learner) -> None:
    assert chosen_monitor(learn, None) == "valid_loss"
    learn.metrics = ["f1", "accuracy"]
    assert chosen_monitor(learn, None) == "accuracy"
    assert chosen_monitor(learn, "f1") == "f1"
    with pytest.raises(UsageError, match=r"monitor: got 'acc', expected a column .*valid_loss, f1, accuracy"):
        chosen_monitor(learn, "acc")
