"""The options of a learner are checked when they are set, and names that it does not have are refused."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from learnkit.callbacks import EarlyStopping, Progress, Recorder
from learnkit.errors import LearnkitError, UsageError, WrongTypeError
from learnkit.learner.options import OF_DATA, OF_FITS, as_list
from tests.doubles import Blobs, acting, linear_learner, refused


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("loss", "loss_func"), ("loss_fn", "loss_func"), ("cbs", "callbacks"), ("optimizer", "opt_func"),
        ("metric", "metrics"), ("layer_groups", "groups"), ("weight_decay", "wd"), ("dataloaders", "dls"),
    ],
)  # fmt: skip
def test_names_of_other_libraries_are_not_set_in_vain(name: str, ours: str, blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    with pytest.raises(WrongTypeError, match=f"Set learn.{ours}"):
        setattr(learn, name, None)
    learn.note = "mine"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(OF_FITS | OF_DATA))
def test_names_of_fits_and_data_are_not_set_in_vain(name: str, blobs: Blobs) -> None:
    with pytest.raises(WrongTypeError, match=f"no {name}. (Pass it to the fit|Make the data with it)"):
        setattr(linear_learner(blobs), name, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("opt_func", "adamm"), ("opt_func", torch.optim.LBFGS), ("opt_func", lambda groups: None),
        ("opt_func", nn.Linear), ("opt_func", partial(torch.optim.SGD, momentm=0.9)), ("opt", 3), ("opt", object()),
        ("recorder", None), ("output", 0.5), ("output", True), ("callbacks", 3), ("callbacks", EarlyStopping),
        ("callbacks", [Progress(), Progress()]), ("path", 3), ("model_dir", None), ("temperature", 0), ("wd", -1),
        ("wd_bn_bias", 1),
    ],
)  # fmt: skip
def test_an_option_that_is_refused_stays_as_it_was(name: str, value: Any, blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.fit(1)
    before = getattr(learn, name), learn.opt
    with pytest.raises(LearnkitError):
        setattr(learn, name, value)
    assert (getattr(learn, name), learn.opt) == before
    learn.fit(1)


def test_an_optimizer_made_outside_is_refused_and_none_drops_the_state(blobs: Blobs) -> None:
    learn = linear_learner(blobs)
    learn.fit(1)
    with refused("opt", got="SGD", expected="None, which drops the optimizer's state"):
        learn.opt = torch.optim.SGD(learn.model.parameters(), lr=0.1)  # type: ignore[assignment]
    learn.opt = None
    learn.opt_func = partial(torch.optim.SGD, momentum=0.9)  # the advice
    learn.fit(1)


@pytest.mark.parametrize("name", ["recorder", "output"])
def test_options_that_a_fit_would_not_notice_are_not_set_while_it_runs(name: str, blobs: Blobs) -> None:
    learn, value = linear_learner(blobs), {"recorder": Recorder(), "output": 0}[name]
    with pytest.raises(UsageError, match=f"{name} cannot be set while a fit is running"):
        learn.fit(1, callbacks=acting(after_batch=lambda state: setattr(learn, name, value)))
    setattr(learn, name, value)


def test_callbacks_added_in_place_are_checked_too(blobs: Blobs) -> None:
    learn = linear_learner(blobs, callbacks=Progress())
    with pytest.raises(UsageError, match="callbacks: got 3"):
        learn.callbacks += [3]  # type: ignore[list-item]
    assert [callback.label for callback in learn.callbacks] == ["Progress"]
    learn.callbacks.append(EarlyStopping)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"here EarlyStopping\(\)"):
        learn.fit(1)


def test_no_callbacks_are_none() -> None:
    progress = Progress()
    assert (as_list(None), as_list(()), as_list(progress), as_list((progress,))) == ([], [], [progress], [progress])


def test_only_callbacks_can_be_removed(blobs: Blobs) -> None:
    learn = linear_learner(blobs, callbacks=Progress())
    with refused("callback", WrongTypeError, got="Progress"):
        learn.remove_cb("Progress")  # type: ignore[arg-type]
    assert learn.remove_cb(EarlyStopping).remove_cb(Progress).callbacks == []


def test_a_part_of_another_kind_names_what_was_expected(blobs: Blobs) -> None:
    with refused("train_bn", WrongTypeError, got="no", expected="True or False"):
        linear_learner(blobs).train_bn = "no"  # type: ignore[assignment]
