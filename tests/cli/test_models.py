"""The model that the options mean."""

from pathlib import Path
from typing import Any

import pytest
import torch

from learnkit import ImageDataBunch
from learnkit.cli.models import LOSSES, make_learner, model_options
from learnkit.cli.typed_parser import TypedParser
from learnkit.errors import UsageError
from learnkit.losses import DiceLoss, FocalLoss


def values(*words: object) -> dict[str, Any]:
    parser = TypedParser(prog="learnkit train")
    parser.add_options("model", model_options())
    return vars(parser.parse_args(["--no-pretrained", "--arch", "shufflenet_v2_x0_5", *map(str, words)]))


@pytest.fixture
def dls(photos: Path) -> ImageDataBunch:
    return ImageDataBunch.from_folder(photos, size=32, bs=2, num_workers=0)


def test_every_option_has_help() -> None:
    assert all(option.help for option in model_options())


def test_the_learner_has_what_the_options_say(dls: ImageDataBunch, tmp_path: Path) -> None:
    words = (
        "--lin-ftrs",
        "7",
        "--ps",
        "0.1,0.2",
        "--metrics",
        "accuracy,f1",
        "--opt",
        "sgd",
        "--wd",
        "0.1",
        "--seed",
        3,
    )
    learn = make_learner(dls, values(*words, "--loss", "focal", "--no-concat-pool"), tmp_path)
    linear = [layer for layer in learn.model[1].modules() if isinstance(layer, torch.nn.Linear)]
    dropout = [layer.p for layer in learn.model[1].modules() if isinstance(layer, torch.nn.Dropout)]
    assert [layer.out_features for layer in linear] == [7, 2]
    assert linear[0].in_features == 1024  # of average pooling alone
    assert dropout == [0.1, 0.2]
    assert [metric.name for metric in learn.metrics] == ["accuracy", "f1"]
    assert (learn.opt_func, learn.wd, learn.seed, learn.path) == ("sgd", 0.1, 3, tmp_path)
    assert isinstance(learn.loss_func, FocalLoss)


def test_metrics_are_those_of_the_task_by_default(dls: ImageDataBunch, tmp_path: Path) -> None:
    assert [metric.name for metric in make_learner(dls, values(), tmp_path).metrics] == ["accuracy"]


def test_masks_are_learned_by_a_unet(scenes: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_folder_masks(
        scenes, masks=lambda file: f"masks/{file.stem}_mask.png", codes=["a", "b"], ignore_index=9, size=64, bs=2,
        num_workers=0,
    )  # fmt: skip
    words = ["--arch", "resnet18", "--loss", "dice"]
    learn = make_learner(dls, values(*words), tmp_path)
    assert type(learn.model).__name__ == "Unet"
    assert isinstance(learn.loss_func, DiceLoss)
    with pytest.raises(UsageError, match="--ps is of a head"):
        make_learner(dls, values(*words, "--ps", "0.1"), tmp_path)
    with pytest.raises(UsageError, match="--lora is of a head"):
        make_learner(dls, values(*words, "--lora", "4"), tmp_path)


@pytest.mark.parametrize("name", ["focal", "dice", "dice_bce", "iou"])
@pytest.mark.parametrize(
    ("codes", "ignore_index", "ignored"),
    [({0: "a", 1: "b"}, 9, 255), ({0: "a", 1: "b", 9: "c"}, 9, 2), ({0: "a", 1: "b", 9: "c"}, None, None)],
)
def test_a_loss_of_masks_leaves_out_what_the_data_ignores(
    name: str, codes: dict[Any, str], ignore_index: int | None, ignored: int | None, scenes: Path, tmp_path: Path
) -> None:
    dls = ImageDataBunch.from_folder_masks(
        scenes, masks=lambda file: f"masks/{file.stem}_mask.png", codes=codes, ignore_index=ignore_index, size=64,
        bs=2, num_workers=0,
    )  # fmt: skip
    loss: Any = make_learner(dls, values("--loss", name), tmp_path).loss_func
    assert loss.ignore_index == ignored


def test_an_unknown_loss_lists_those_there_are(dls: ImageDataBunch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--loss: got 'focall', expected one of focal, dice"):
        make_learner(dls, values("--loss", "focall"), tmp_path)
    assert all(isinstance(make(), torch.nn.Module) for make in LOSSES.values())
