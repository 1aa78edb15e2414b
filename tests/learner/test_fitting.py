"""Fitting: the options of a fit in every policy, where warnings point, chaining, and one thread at a time."""

import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learnkit import DataBunch, Learner, LearnkitWarning
from learnkit.callbacks import Progress
from learnkit.errors import UsageError, WrongTypeError
from learnkit.learner.fitting import FitOptions
from learnkit.learner.vision import LearnerOptions
from tests.doubles import Blobs, acting, linear_learner, refused


def grouped(blobs: Blobs, **options: Any) -> Learner:
    """Three layer groups, 4 batches per epoch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    return linear_learner(blobs, model, groups=[model[:2], model[2:4], model[4:]], **options)


def keywords(function: Callable[..., Any], *without: str) -> dict[str, Any]:
    hints = get_type_hints(function)
    return {name: hints[name] for name in inspect.signature(function).parameters if name not in ("self", *without)}


def test_the_options_of_a_policy_are_the_keywords_of_fit() -> None:
    assert get_type_hints(FitOptions) == keywords(Learner.fit, "epochs", "lr")


def test_the_options_of_a_vision_learner_are_the_keywords_of_learner() -> None:
    assert get_type_hints(LearnerOptions) == keywords(Learner.__init__, "dls", "model", "groups")


# One call of each policy: 4 epochs of 4 batches.
POLICIES: dict[str, Callable[..., None]] = {
    "fit": lambda learn, **options: learn.fit(4, **options),
    "fit_one_cycle": lambda learn, **options: learn.fit_one_cycle(4, **options),
    "fit_flat_cos": lambda learn, **options: learn.fit_flat_cos(4, **options),
    "fit_sgdr": lambda learn, **options: learn.fit_sgdr(2, 1, cycle_mult=3, **options),
    "fine_tune": lambda learn, **options: learn.fine_tune(3, freeze_epochs=1, **options),
}


@pytest.mark.parametrize("start", [1, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_later_start_has_the_last_rates_of_the_whole_policy(policy: str, start: int, blobs: Blobs) -> None:
    whole, rest = grouped(blobs), grouped(blobs)
    POLICIES[policy](whole)
    POLICIES[policy](rest, start_epoch=start)
    assert len(whole.recorder.lrs) == 16
    assert rest.recorder.lrs == whole.recorder.lrs[4 * start :]
    assert len(rest.history) == 4 - start


def test_fine_tuning_may_start_within_its_frozen_stage(blobs: Blobs) -> None:
    whole, rest = grouped(blobs), grouped(blobs)
    trained: list[int] = []
    count = acting(after_epoch=lambda state: trained.append(sum(p.requires_grad for p in state.model.parameters())))
    whole.fine_tune(1, freeze_epochs=3)
    rest.fine_tune(1, freeze_epochs=3, start_epoch=2, callbacks=count)
    assert rest.recorder.lrs == whole.recorder.lrs[8:]
    assert trained == [2, 6]  # the head, then everything


@pytest.mark.parametrize("start", [-1, 4, 1.0, True, "2"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_start_outside_the_policy_is_refused_before_training(policy: str, start: Any, blobs: Blobs) -> None:
    learn = grouped(blobs)
    with refused("start_epoch", got=start, expected="one of the epochs, 0 to 3"):
        POLICIES[policy](learn, start_epoch=start)
    assert all(parameter.requires_grad for parameter in learn.model.parameters())
    assert learn.history.empty


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_takes_every_option_of_a_fit(policy: str, blobs: Blobs) -> None:
    learn, decays = grouped(blobs), set()
    note = acting(after_step=lambda state: decays.add(state.optimizer.param_groups[0]["weight_decay"]))
    options = {"wd": 0.25, "callbacks": [note, Progress("off")], "checkpoint_every": 2, "resume": "auto"}
    POLICIES[policy](learn, **options)
    assert decays == {0.25}
    assert (learn.path / "models" / "checkpoints").is_dir()
    again = grouped(blobs)
    POLICIES[policy](again, **options)  # done already: nothing is trained
    assert again.history.drop(columns="time").equals(learn.history.drop(columns="time"))
    assert all(torch.equal(a, b) for a, b in zip(learn.model.parameters(), again.model.parameters(), strict=True))


@pytest.mark.parametrize("policy", ["fit_one_cycle", "fit_flat_cos", "fit_sgdr", "fine_tune"])
def test_an_argument_that_no_fit_has_is_refused_under_the_name_of_the_policy(policy: str, blobs: Blobs) -> None:
    learn = grouped(blobs)
    with refused(f"{policy}: keyword", WrongTypeError, got="rate"):
        POLICIES[policy](learn, rate=1e-3)
    assert all(parameter.requires_grad for parameter in learn.model.parameters())


@pytest.mark.parametrize(
    ("arguments", "what", "got"),
    [
        ({"epochs": -1}, "epochs", -1),
        ({"freeze_epochs": 1.5}, "freeze_epochs", 1.5),
        ({"base_lr": 0}, "base_lr", 0),
        ({"base_lr": "1e-3"}, "base_lr", "1e-3"),
        ({"lr_mult": -1.0}, "lr_mult", -1.0),
        ({"pct_start": 1.5}, "pct_start", 1.5),
        ({"resume": "run/last.ckpt"}, "resume", "run/last.ckpt"),
    ],
)
def test_fine_tuning_refuses_what_cannot_work_before_training(
    arguments: dict[str, Any], what: str, got: Any, blobs: Blobs
) -> None:
    learn = grouped(blobs)
    with refused(what, got=got):
        learn.fine_tune(**{"epochs": 1, **arguments})
    with pytest.raises(UsageError, match="div_factor"):
        learn.fine_tune(1, div=0)
    assert all(parameter.requires_grad for parameter in learn.model.parameters())


# Where a warning points


def nothing_to_do(policy: str) -> Callable[[Learner], None]:
    return {
        "fit": lambda learn: learn.fit(0),
        "fit_one_cycle": lambda learn: learn.fit_one_cycle(0),
        "fit_flat_cos": lambda learn: learn.fit_flat_cos(0),
        "fine_tune": lambda learn: learn.fine_tune(0, freeze_epochs=0),
        "show_training": lambda learn: learn.show_training(0),
    }[policy]


def validates_nan(learn: Learner) -> None:
    learn.loss_func = lambda preds, targets: preds.sum() * float("nan")
    learn.validate()


def drops_an_item(learn: Learner) -> None:
    x, y = torch.randn(9, 2), torch.arange(9) % 2
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]
    dls = DataBunch.from_loaders(batches, None, classes=["a", "b"])
    Learner(dls, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))).fit(1)


def loads_weights_alone(learn: Learner) -> None:
    learn.save("other")
    learn.split([learn.model[0], learn.model[1:]]).load("other")  # type: ignore[index]


def checkpoints_a_changing_callback(learn: Learner) -> None:
    counts = acting(after_batch=lambda state: setattr(counts, "n", state.batch))
    learn.fit(1, callbacks=counts, checkpoint_every=1)


def resumes_elsewhere(learn: Learner) -> None:
    learn.fit(1, checkpoint_every=1)
    again = Learner(learn.dls, learn.model, groups=learn.groups, seed=0)
    again.fit(1, callbacks=acting(label="Extra"), resume="auto")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "act",
    [
        *map(nothing_to_do, ["fit", "fit_one_cycle", "fit_flat_cos", "fine_tune", "show_training"]),
        validates_nan,
        drops_an_item,
        loads_weights_alone,
        checkpoints_a_changing_callback,
        resumes_elsewhere,
    ],
)
def test_a_warning_points_at_the_line_of_the_caller(act: Callable[[Learner], None], blobs: Blobs) -> None:
    learn = grouped(blobs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act(learn)
    found = [warning for warning in caught if issubclass(warning.category, LearnkitWarning)]
    code = act.__code__
    lines = {line for _, _, line in code.co_lines() if line}
    assert found
    for warning in found:
        assert warning.filename == __file__
        assert warning.lineno in lines


# The learner itself


def test_what_changes_a_learner_returns_it(blobs: Blobs) -> None:
    learn = grouped(blobs)
    callback = acting(label="Mine")
    changed = [learn.freeze(), learn.unfreeze(), learn.freeze_to(1), learn.add_cb(callback), learn.remove_cb(callback)]
    changed += [learn.to_fp16(), learn.to_bf16(), learn.to_channels_last(), learn.split([learn.model])]
    assert all(one is learn for one in changed)


def test_a_second_thread_may_not_train_the_same_learner(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    caught: list[BaseException] = []

    def train(act: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match="being trained by another thread") as found:
            act()
        caught.append(found.value)

    def train_elsewhere(state: Any) -> None:
        for act in (lambda: learn.fit(1), learn.lr_find):
            other = threading.Thread(target=train, args=(act,))
            other.start()
            other.join()

    learn.fit(1, callbacks=acting(before_fit=train_elsewhere))
    assert len(caught) == 2
    assert len(learn.history) == 1
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, callbacks=acting(before_fit=lambda state: (_ for _ in ()).throw(KeyboardInterrupt)))
    other = threading.Thread(target=learn.fit, args=(1,))  # the previous fit has ended, also by an error
    other.start()
    other.join()
    assert len(learn.history) == 2


def test_a_callback_may_look_for_a_rate_within_a_fit(blobs: Blobs) -> None:
    learn, found = linear_learner(blobs), []
    learn.fit(2, callbacks=acting(after_epoch=lambda state: found.append(learn.lr_find(num_it=10).valley)))
    assert len(found) == 2
    learn.fit(1)


def test_a_validation_makes_no_optimizer(blobs: Blobs) -> None:
    made: list[Any] = []

    def make(groups: Any) -> torch.optim.Optimizer:
        made.append(groups)
        return torch.optim.SGD(groups)

    learn = linear_learner(blobs, opt_func=make)
    made.clear()  # one is made with the learner, to check it
    assert len(learn.validate()) == 1
    assert made == []


def test_a_prediction_has_names(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    found = learn.predict(blobs[2][0])
    label, index, probs = found
    assert (found.label, found.index, found.probs) == (label, index, probs)
    served = learn.predictor().predict(blobs[2][0])
    assert (served.label, served.index) == (label, index)
    assert torch.equal(served.probs, probs)


def test_predict_and_get_preds_share_one_path(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another precision of the compute, predict follows get_preds."""
    from learnkit.device import Compute

    torch.manual_seed(0)
    learn = linear_learner(blobs, nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2)))
    full = learn.get_preds()[0][0]
    assert torch.equal(learn.predict(blobs[2][0]).probs, learn.get_preds([(blobs[2][:1],)])[0][0])

    def half(self: Learner) -> Compute:
        return Compute(torch.device("cpu"), "bf16")

    monkeypatch.setattr(Learner, "_compute", half)
    rough: Tensor = learn.predict(blobs[2][0]).probs
    assert torch.equal(rough, learn.get_preds([(blobs[2][:1],)])[0][0])
    assert not torch.equal(rough, full)


CALLS: dict[str, tuple[Any, ...]] = {
    "fit": (1,), "fit_one_cycle": (1,), "fit_flat_cos": (1,), "fit_sgdr": (1, 1), "fine_tune": (1,), "lr_find": (),
    "validate": (), "get_preds": (), "predict_iter": (), "tta": (), "save": ("a",), "load": ("a",), "export": ("a",),
    "write_preds": ("a.csv",),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_misspelt_keyword_is_refused_in_the_name_that_was_called(name: str, blobs: Blobs) -> None:
    learn = grouped(blobs)
    with pytest.raises(WrongTypeError, match=f"^{name}: keyword: got 'calbacks', expected one that help"):
        getattr(learn, name)(*CALLS[name], calbacks=())
    assert learn.history.empty


@pytest.mark.parametrize(
    ("policy", "keyword", "ours"),
    [
        ("fit_one_cycle", "lr_max", "max_lr"), ("fit_one_cycle", "cbs", "callbacks"), ("fit", "max_lr", "lr"),
        ("fit_one_cycle", "callback_fns", "callbacks"), ("fit", "n_epoch", "epochs"), ("fit_sgdr", "max_lr", "lr_max"),
        ("fine_tune", "cbs", "callbacks"), ("fine_tune", "lr", "base_lr"), ("fit_flat_cos", "lr_max", "lr"),
    ],
)  # fmt: skip
def test_keywords_of_other_libraries_are_refused_with_ours(policy: str, keyword: str, ours: str, blobs: Blobs) -> None:
    learn = grouped(blobs)
    cycles = {"cycle_len": 1} if policy == "fit_sgdr" else {}
    with pytest.raises(WrongTypeError, match=rf"{policy}: keyword: got '{keyword}'.*Here it is {ours}=\."):
        getattr(learn, policy)(1, **cycles, **{keyword: 1e-3})


@pytest.mark.parametrize(
    "groups",
    [
        lambda m: (m[0], m[2], m[4]), lambda m: [m[2], m[4]], lambda m: [[m[0], m[2]], m[4]],
        lambda m: [m[:2], m[2:4], m[4:]],
    ],
)  # fmt: skip
def test_groups_are_split_by_a_function_of_the_model(groups: Any, blobs: Blobs) -> None:
    learn = linear_learner(blobs, grouped(blobs).model)
    assert learn.split(groups) is learn
    made = linear_learner(blobs, learn.model, groups=groups)
    held = [[[id(p) for p in group.parameters()] for group in one.groups] for one in (learn, made)]
    assert held[0] == held[1]
    assert sum(map(len, held[0])) == 6
    learn.fine_tune(1)


def test_the_precision_goes_back(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    assert learn.to_bf16().to_fp32().callbacks == []
    learn.fit(1)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", None, True])
def test_epochs_are_numbers_from_0(epochs: Any, blobs: Blobs) -> None:
    with pytest.raises(UsageError, match=r"epochs: got .*, expected an integer, 0 or more"):
        linear_learner(blobs).fit(epochs)


def test_numbers_of_numpy_are_numbers(blobs: Blobs) -> None:
    ours, theirs = grouped(blobs), grouped(blobs)
    ours.fine_tune(2, 1e-2, freeze_epochs=1)
    theirs.fine_tune(np.int64(2), np.float64(1e-2), freeze_epochs=np.int32(1))  # type: ignore[arg-type]
    ours.freeze_to(1)
    theirs.freeze_to(np.int64(1))  # type: ignore[arg-type]
    ours.fit(1, checkpoint_every=2)
    theirs.fit(np.int64(1), checkpoint_every=2, resume="auto")  # type: ignore[arg-type]
    assert len(theirs.history) == len(ours.history), "the same fit to a checkpoint"
    assert torch.equal(ours.get_preds()[0], theirs.get_preds()[0])
