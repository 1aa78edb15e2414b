"""Names of items, and item indices."""

import os
from typing import Any

import numpy as np
import pytest
import torch

from learnkit import ClassificationInterpretation
from learnkit.interpretation.item_source import ItemSource
from learnkit.interpretation.naming import named_items, plain_number


@pytest.mark.parametrize("number", [3, np.int64(3), torch.tensor(3), np.array(3)])
def test_integers_of_any_kind_become_plain(number: Any) -> None:
    assert type(plain_number(number)) is int
    assert plain_number(number) == 3


@pytest.mark.parametrize("other", [True, 3.0, "3", None, torch.tensor(3.0)])
def test_anything_else_is_unchanged(other: Any) -> None:
    assert plain_number(other) is other


def test_items_without_a_name_are_named_by_their_index() -> None:
    assert named_items([3, 1], None).tolist() == ["3", "1"]
    assert named_items([3, 1], lambda i: f"{i}.png").tolist() == ["3.png", "1.png"]
    assert named_items([], None).dtype == object


def test_names_that_are_not_utf8_are_in_the_tables() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    interp = ClassificationInterpretation(
        probs,
        torch.tensor([0, 0]),
        torch.tensor([0.1, 1.6]),
        ("a", "b"),
        source=ItemSource(name=lambda i: f"{i}{name}"),
    )
    assert interp.top_losses_table()["path"].tolist() == [f"1{name}", f"0{name}"]
    assert interp.label_issues()["path"].tolist() == [f"1{name}", f"0{name}"]
