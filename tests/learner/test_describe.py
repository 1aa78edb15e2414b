"""Descriptions of a learner: its repr, its table in a notebook, the outline of a fit."""

import pytest
from torch import nn

from learnkit import Learner
from learnkit.callbacks import EarlyStopping
from learnkit.learner.describe import learner_facts
from tests.doubles import Blobs, linear_learner, refused


def grouped(blobs: Blobs) -> Learner:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 2))
    return linear_learner(blobs, model, groups=list(model))


@pytest.mark.parametrize(
    ("n", "trained", "n_trained"), [(0, "all", 35), (1, "number 1, number 2", 26), (2, "number 2", 10), (3, "none", 0)]
)
def test_trained_groups_are_named(n: int, trained: str, n_trained: int, blobs: Blobs) -> None:
    facts = learner_facts(grouped(blobs).freeze_to(n))
    assert facts["layer groups"] == f"3, trained: {trained}"
    assert facts["model"] == f"Sequential, 35 parameters, {n_trained} trained"


def test_the_parts_are_those_of_the_learner(blobs: Blobs) -> None:
    learn = linear_learner(blobs, metrics=["accuracy", "error_rate"], callbacks=EarlyStopping(), wd=0.25)
    facts = learner_facts(learn)
    assert facts["loss"] == "CrossEntropyLoss"
    assert facts["metrics"] == "accuracy, error_rate"
    assert facts["callbacks"] == "EarlyStopping"
    assert (facts["weight decay"], facts["seed"], facts["epochs trained"]) == (0.25, 0, 0)
    assert "last epoch" not in facts
    learn.fit(2)
    facts = learner_facts(learn)
    assert facts["epochs trained"] == 2
    row = learn.recorder.rows[-1]
    assert facts["last epoch"] == ", ".join(
        [f"{name} {row[name]:.4g}" for name in row if name not in ("epoch", "time")] + [f"time {row['time']:.4g} s"]
    )
    bare = learner_facts(linear_learner(blobs))
    assert (bare["metrics"], bare["callbacks"]) == ("none", "none")


def test_a_learner_shows_its_parts(blobs: Blobs) -> None:
    learn = grouped(blobs)
    lines = repr(learn).splitlines()
    assert lines[0] == "Learner"
    assert lines[1:] == [f"  {name}: {value}" for name, value in learner_facts(learn).items()]
    assert "Sequential, 35 parameters" in learn._repr_html_()


def test_an_outline_counts_batches_and_names_the_parts(blobs: Blobs) -> None:
    text = linear_learner(blobs, metrics="accuracy").show_training(3)
    assert "for epoch in range(3):" in text
    assert "for inputs, targets in train_dl:  # 4 batches" in text
    assert "for inputs, targets in valid_dl:  # 2 batches" in text
    assert "preds = Linear(inputs), loss = CrossEntropyLoss(preds, targets), accuracy" in text
    assert "AdamW.step()" in text
    with refused("epochs", got=-1):
        linear_learner(blobs).show_training(-1)
