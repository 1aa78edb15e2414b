"""What type checkers know of predictions: pairs, triples with losses, and the interpretation that is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from learnkit import ClassificationInterpretation, DataBunch, Learner
from learnkit.errors import WrongTypeError
from learnkit.interpretation import RegressionInterpretation
from tests.doubles import Blobs, refused

CODE = """
from typing import Any, assert_type

from torch import Tensor

from learnkit import ClassificationInterpretation, Learner

def check(learn: Learner, wanted: bool) -> None:
    assert_type(learn.get_preds(), tuple[Tensor, Any])
    assert_type(learn.get_preds("train", with_loss=True), tuple[Tensor, Any, Tensor])
    assert_type(learn.get_preds(with_loss=wanted), tuple[Tensor, Any] | tuple[Tensor, Any, Tensor])
    assert_type(learn.tta(n=2), tuple[Tensor, Any])
    assert_type(learn.tta(n=2, with_loss=True), tuple[Tensor, Any, Tensor])
    for preds, targets, losses in learn.predict_iter("valid", with_loss=True):
        assert_type(losses, Tensor)
    assert_type(learn.interpret(kind=ClassificationInterpretation), ClassificationInterpretation)
    learn.interpret().plot_confusion_matrix()
    learn.interpret(kind=ClassificationInterpretation).no_such_method()  # type: ignore[attr-defined]
    learn.get_preds()[2]  # type: ignore[misc]
"""


@pytest.mark.slow
def test_a_type_checker_knows_what_is_returned(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(CODE, encoding="utf-8")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(root / "setup.cfg"), str(file)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_interpretation_that_is_asked_for(blobs: Blobs) -> None:
    class Own(ClassificationInterpretation):
        pass

    learn = Learner(DataBunch.from_tensors(*blobs, bs=10), nn.Linear(2, 2))
    assert type(learn.interpret()) is ClassificationInterpretation
    assert type(learn.interpret(kind=Own)) is Own
    assert len(learn.interpret("train", kind=ClassificationInterpretation).losses) == len(blobs[0])
    with refused("RegressionInterpretation: the task of the data", WrongTypeError, got="Classification"):
        learn.interpret(kind=RegressionInterpretation)
    with refused("kind", WrongTypeError, expected="a class of interpretations"):
        learn.interpret(kind=nn.Linear)  # type: ignore[type-var]
