"""Bad arguments, models and weights in training; the inputs are those of the table in docs/reliability.md."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import Callback, DataBunch, ImageDataBunch, Learner, LearnkitWarning, cnn_learner
from learnkit.callbacks import CSVLogger, OneCycle, SaveModel
from learnkit.data.tasks import Regression
from learnkit.errors import CorruptFileError, LearnkitError, NonFiniteLossError
from learnkit.training.state import TrainState

Make = Callable[..., Learner]
Tree = Callable[..., Path]
Refusal = Callable[..., AbstractContextManager[Any]]


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("lr", [math.nan, math.inf, -math.inf, [math.nan], slice(1e-4, math.nan)])
def test_lr_not_finite(lr: Any, learner: Make, refused: Refusal) -> None:
    learn = learner()
    before = weights(learn.model)
    with refused(ValueError, "lr: got", "nan" if "nan" in str(lr) else "inf", "finite rates above 0"):
        learn.fit(1, lr)
    assert equal(before, weights(learn.model))


def test_empty_lr_slice(learner: Make, refused: Refusal) -> None:
    with refused(ValueError, "lr: got slice(None, None, None)", "slice(stop) or slice(start, stop)"):
        learner().fit(1, slice(None))


@pytest.mark.parametrize("lr", [0, -1, -1e-9, "1e-3", None, slice(-1, 1), slice(1e-4, 0), []])
def test_lr_not_positive(lr: Any, learner: Make, refused: Refusal) -> None:
    with refused(ValueError, f"lr: got {lr!r}"):
        learner().fit(1, lr)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3", True, None, math.nan])
def test_invalid_epochs(epochs: Any, learner: Make, refused: Refusal) -> None:
    with refused(ValueError, f"epochs: got {epochs!r}", "an integer"):
        learner().fit(epochs)


@pytest.mark.parametrize("fit", ["fit", "fit_one_cycle", "fit_flat_cos"])
def test_invalid_epochs_zero_warns(fit: str, learner: Make) -> None:
    learn = learner()
    before = weights(learn.model)
    with pytest.warns(LearnkitWarning, match="fit of 0 epochs: nothing to do"):
        getattr(learn, fit)(0)
    assert equal(before, weights(learn.model))
    assert len(learn.history) == 0


def test_last_batch_of_one_in_a_training_set_of_such_batches(learner: Make, refused: Refusal) -> None:
    x, y = torch.randn(4, 2), torch.arange(4) % 2
    learn = learner(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), dls=DataBunch.from_tensors(x, y, x, y, bs=1))
    with refused(ValueError, "batch norm cannot train on a batch of one item", "input size torch.Size([1, 2])", "bs=2"):
        learn.fit(1)


def test_wrong_number_of_outputs(refused: Refusal) -> None:
    x, y = torch.zeros(9, 2), torch.arange(9) % 3
    dls = DataBunch.from_tensors(x, y, x, y, bs=3, classes=["ant", "bee", "cat"])
    with refused(ValueError, "the model returns 2 outputs per item, the data has 3 classes (ant, bee, cat)"):
        Learner(dls, nn.Linear(2, 2))


def test_losses_without_labels(learner: Make, refused: Refusal) -> None:
    learn = learner()
    test = learn.dls.test_dl_from(torch.zeros(5, 2))
    with refused(ValueError, "this set has no labels", "Leave with_loss out"):
        learn.get_preds(test, with_loss=True)
    preds, targets = learn.get_preds(test)
    assert preds.shape == (5, 2)
    assert targets is None


@pytest.mark.parametrize(
    ("name", "near"), [("resnet81", "resnet18"), ("resent50", "resnet50"), ("timm/resnet26dd", "resnet26d")]
)
def test_unknown_architecture(name: str, near: str, tree: Tree, refused: Refusal) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    dls = ImageDataBunch.from_folder(tree(), size=16, bs=2)
    with refused(ValueError, "base_arch", name.removeprefix("timm/"), near):
        cnn_learner(dls, name, pretrained=False)


def test_backbone_that_cannot_be_cut(tree: Tree, refused: Refusal) -> None:
    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Any:
            return self.last(self.convolution(x).mean((2, 3)))

    dls = ImageDataBunch.from_folder(tree(), size=16, bs=2)
    with refused(ValueError, "no pooling layer found in Pools", "cut="):
        cnn_learner(dls, Pools(), pretrained=False)


@pytest.mark.parametrize("metric", ["acuracy", 3, [None], nn.CrossEntropyLoss])
def test_unknown_metric(metric: Any, learner: Make, refused: Refusal) -> None:
    parts = (
        ("accuracy",) if metric == "acuracy" else ("expected a", "Pass ") if metric is not nn.CrossEntropyLoss else ()
    )
    with refused(ValueError, "metrics: got", *parts):
        learner(metrics=metric)


def test_interpretation_of_another_task(refused: Refusal, learner: Make) -> None:
    from learnkit import ClassificationInterpretation

    x = torch.randn(8, 2)
    learn = learner(nn.Linear(2, 1), dls=DataBunch.from_tensors(x, x[:, :1], x, x[:, :1], bs=4, task=Regression()))
    with refused(TypeError, "Regression", "Use RegressionInterpretation"):
        ClassificationInterpretation.from_learner(learn)


def test_unusable_weights_missing_file(learner: Make, tmp_path: Path, refused: Refusal) -> None:
    learn = learner()
    learn.save("first")
    learn.save("second")
    with refused(FileNotFoundError, f"no file {tmp_path}/models/frist.pth", "holds first.pth, second.pth"):
        learn.load("frist")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_unusable_weights_truncated_file(share: float, learner: Make, refused: Refusal) -> None:
    learn = learner()
    file = learn.save("first")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    before = weights(learn.model)
    with refused(ValueError, str(file)) as caught:
        learn.load("first")
    assert isinstance(caught.value, CorruptFileError)
    assert equal(before, weights(learn.model))


def test_unusable_weights_of_other_classes(learner: Make, refused: Refusal) -> None:
    learner().save("two")
    x, y = torch.zeros(9, 2), torch.arange(9) % 3
    three = learner(nn.Linear(2, 3), dls=DataBunch.from_tensors(x, y, x, y, bs=3))
    before = weights(three.model)
    with refused(ValueError, "two.pth are others: 0, 1", "those of this learner are 0, 1, 2", "classes=['0', '1']"):
        three.load("two")
    torch.save(learner().model.state_dict(), three.path / "models" / "two.pth")  # plain torch's has no names
    parts = ("weight (2, 2) in the file, (3, 2) in the model", "bias (2,) in the file, (3,) in the model")
    with refused(ValueError, "two.pth does not fit", *parts, "Different classes"):
        three.load("two")
    assert equal(before, weights(three.model))


def test_unusable_weights_name_five_differing_tensors(learner: Make, refused: Refusal) -> None:
    def deep(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, width), *(nn.Linear(width, width) for _ in range(4)), nn.Linear(width, 2))

    learner(deep(3)).save("narrow")
    with refused(ValueError, "; and 6 more") as caught:
        learner(deep(4)).load("narrow")
    assert str(caught.value).count("in the file") == 5


def test_non_finite_loss(numbers: DataBunch, learner: Make, refused: Refusal) -> None:
    class Explodes(Callback):
        def after_loss(self, state: TrainState) -> None:
            if state.batch == 3:
                state.loss = state.loss * math.nan

    learn = learner()
    before = weights(learn.model)
    parts = ("loss nan at epoch 0 batch 3 (lr 0.1)", "input finite? yes", "last finite", "weights restored")
    with refused(ArithmeticError, *parts) as caught:
        learn.fit(1, 0.1, callbacks=Explodes())
    assert isinstance(caught.value, NonFiniteLossError)
    assert equal(before, weights(learn.model))
    learn.fit(1)  # and it still works


def test_non_finite_loss_from_a_non_finite_input(learner: Make, refused: Refusal) -> None:
    x, y = torch.zeros(8, 2), torch.arange(8) % 2
    x[5] = math.inf
    learn = learner(dls=DataBunch.from_tensors(x, y, x, y, bs=8))
    with refused(ArithmeticError, "batch 0", "input finite? no"):
        learn.fit(1)


@pytest.mark.parametrize("hook", ["before_fit", "after_pred", "after_batch", "after_validate_batch", "after_epoch"])
def test_failing_callback(hook: str, learner: Make) -> None:
    class Ends(Callback):
        ended = 0

        def after_fit(self, state: TrainState) -> None:
            self.ended += 1

    def fail(self: Callback, state: TrainState) -> None:
        raise KeyError("mine")

    boom, ends = type("Boom", (Callback,), {hook: fail})(), Ends()
    learn = learner()
    with pytest.raises(KeyError, match="mine") as caught:
        learn.fit(1, callbacks=[boom, ends])
    assert not isinstance(caught.value, LearnkitError)  # the original
    assert [note for note in caught.value.__notes__ if note.startswith(f"in Boom.{hook}, epoch 0, batch ")]
    assert ends.ended == 1
    learn.fit(1)
    assert len(learn.history) >= 1


def test_conflicting_callbacks_of_one_name(learner: Make, refused: Refusal) -> None:
    class Mine(Callback): ...

    with refused(ValueError, "two have the label 'Mine'", "['Mine', 'Mine']"):
        learner(callbacks=[Mine(), Mine()])
    with refused(ValueError, "SaveModel('a')"):
        learner(callbacks=[SaveModel(name="a"), SaveModel(name="a")])
    learner(callbacks=[CSVLogger("a.csv"), CSVLogger("b.csv")]).fit(1)


def test_conflicting_callbacks_that_set_the_learning_rate(learner: Make, refused: Refusal) -> None:
    learn = learner(callbacks=OneCycle())
    with refused(ValueError, "OneCycle", "Remove one"):
        learn.fit_one_cycle(1)
    assert len(learn.history) == 0


def test_conflicting_callbacks_do_not_shadow_learner_attributes(learner: Make) -> None:
    class Model(Callback):
        """In fastai, a callback is an attribute of its learner by its name; this one would hide the model."""

    learn = learner()
    model = learn.model
    learn.add_cb(Model())
    assert learn.model is model
