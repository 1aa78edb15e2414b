"""One of several outputs, and the loss among them; tests/learner/test_outputs.py trains with both."""

import pickle
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.losses import FocalLoss, from_outputs
from learnkit.losses.outputs import OneOutput, names_of, takes_one_output
from tests.doubles import refused

Pair = namedtuple("Pair", "logits hidden")
RAW = torch.ones(2, 3)


@dataclass
class Record:
    logits: Tensor
    loss: Any = None


@pytest.mark.parametrize(
    ("key", "outputs"),
    [
        ("logits", {"logits": RAW}),
        ("logits", Pair(RAW, None)),
        ("logits", Record(RAW)),
        (0, Pair(RAW, None)),
        (-1, [None, RAW]),
        (1, {1: RAW}),
        (lambda outputs: outputs[0]["a"], ({"a": RAW},)),
        ("logits", RAW),  # as in eval mode
    ],
)
def test_the_chosen_output(key: Any, outputs: Any) -> None:
    assert OneOutput(key)(outputs) is RAW


@pytest.mark.parametrize("outputs", [{"a": RAW}, Pair(RAW, RAW)._replace(), (RAW,), Record(RAW)])
@pytest.mark.parametrize("key", ["other", 5])
def test_outputs_without_it_are_refused(key: Any, outputs: Any) -> None:
    with refused("output", got=key, expected=f"one of those in {names_of(outputs)}"):
        OneOutput(key)(outputs)


@pytest.mark.parametrize("key", [None, 1.0, False, ["logits"]])
def test_a_key_of_another_type_is_refused(key: Any) -> None:
    with refused("output", got=key):
        OneOutput(key)


def test_it_travels_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(OneOutput("logits"))) == OneOutput("logits")


@pytest.mark.parametrize("outputs", [{"loss": torch.tensor(2.0)}, Record(RAW, torch.tensor([2.0]))])
def test_the_loss_of_the_outputs(outputs: Any) -> None:
    assert torch.equal(from_outputs(outputs, None), torch.tensor(2.0))


@pytest.mark.parametrize(
    ("outputs", "named"),
    [({"a": RAW}, "a dict of a"), (Record(RAW), "a Record"), (RAW, "a Tensor"), ((RAW, RAW), "a tuple of 2")],
)
def test_outputs_without_a_loss_are_refused(outputs: Any, named: str) -> None:
    with refused(f"loss_func=from_outputs: {named} has no loss"):
        from_outputs(outputs, None)


def test_what_takes_one_output() -> None:
    assert all(takes_one_output(loss) for loss in (nn.CrossEntropyLoss(), nn.functional.mse_loss, FocalLoss()))
    assert not any(takes_one_output(loss) for loss in (from_outputs, lambda outputs, targets: outputs))
