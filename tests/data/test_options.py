"""The keywords of the factories: what they are, which are refused, and that their two lists agree."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pytest
import torch

from learnkit import Classification, ImageDataBunch
from learnkit.data.options import (
    BasicOptions,
    FolderOptions,
    ImageOptions,
    ImageSettings,
    add_default_split,
    takes_options,
)
from learnkit.data.table.splits import NoValidation
from learnkit.errors import WrongTypeError
from learnkit.splits import RandomSplit, StratifiedSplit
from learnkit.transforms import Flip, Rotate
from tests.doubles import refused


def test_the_typed_keywords_are_those_of_the_settings() -> None:
    settings = ImageSettings.__annotations__
    assert list(settings) == [field.name for field in fields(ImageSettings)]
    for options, without in ((ImageOptions, set()), (FolderOptions, {"test"}), (BasicOptions, {"test", "classes"})):
        assert options.__annotations__ == {name: kind for name, kind in settings.items() if name not in without}
        assert not options.__required_keys__, "every keyword has a default"


def test_every_setting_is_described() -> None:
    described = [line.strip().split(":")[0] for line in (ImageSettings.__doc__ or "").split("\n") if ": " in line]
    assert {field.name for field in fields(ImageSettings)} <= set(described)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("on_error", "ignore"),
        ("cache", "ram"),
        ("split", 0.2),
        ("seed", 1.5),
        ("seed", True),
        ("bs", 0),
        ("bs", True),
        ("bs", 8.0),
        ("reader", "pillow"),
        ("classes", {"a", "b"}),
        ("classes", {"a": 0}),
        ("classes", "ab"),
        ("suffixes", []),
        ("suffixes", 3),
        ("normalize_labels", "lower"),
        ("seed", 2**70),
        ("split", RandomSplit),
        ("task", Classification),
        ("task", "multi-label"),
    ],
)
def test_settings_that_cannot_work_are_refused(what: str, value: Any) -> None:
    with refused(what, got=value):
        ImageSettings(**{what: value})


def test_a_split_and_a_share_exclude_each_other() -> None:
    split = StratifiedSplit()
    with refused("split", got=split, expected="a function of the table, or None with valid_pct="):
        ImageSettings(split=split, valid_pct=0.2)
    assert ImageSettings(split=split).splitter is split
    assert ImageSettings(valid_pct=0.3, seed=7).splitter == RandomSplit(0.3, 7)
    assert ImageSettings().splitter is None
    assert ImageSettings(valid_pct=0).splitter == NoValidation()


@pytest.mark.parametrize("seed", [7, np.int64(7)])
def test_a_seed_is_a_plain_integer(seed: Any) -> None:
    assert type(ImageSettings(seed=seed).seed) is int


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (16, (16, 16)),
        ((8, 12), (8, 12)),
        ([8, 12], (8, 12)),
        (1, (1, 1)),
        (np.int64(4), (4, 4)),
        (np.array([8, 12]), (8, 12)),
        (tuple(np.array([16, 24]) // 2), (8, 12)),
        (10_000, (10_000, 10_000)),
        (None, None),
    ],
)
def test_a_size_is_a_side_or_both(size: Any, sides: tuple[int, int] | None) -> None:
    assert ImageSettings(size=size).sides == sides


@pytest.mark.parametrize(
    "size", [0, -3, "big", (16,), (16, 0), (0, 16), 2.5, True, (16, True), (2.0, 2), (1, 2, 3), ()]
)
def test_sizes_that_cannot_work_are_refused(size: Any) -> None:
    with refused("size", got=size, expected="pixels, a side or (height, width)"):
        ImageSettings(size=size).sides  # noqa: B018


def test_a_size_of_more_pixels_than_are_read_is_refused() -> None:
    with refused("size", got=(10_001, 10_000), expected="at most 100,000,000 pixels"):
        ImageSettings(size=(10_001, 10_000)).sides  # noqa: B018


def test_a_factory_shows_its_own_arguments_and_all_keywords() -> None:
    @takes_options
    def factory(path: str, seed: int = 3, **options: Unpack[ImageOptions]) -> None:
        """Has its own seed."""

    shown = inspect.signature(factory).parameters
    assert [*shown][:2] == ["path", "seed"]
    assert shown["seed"].default == 3
    assert set(shown) == {"path"} | {field.name for field in fields(ImageSettings)}
    assert shown["size"].kind is inspect.Parameter.KEYWORD_ONLY
    assert (shown["size"].default, shown["bs"].default, shown["cache"].default) == (224, 64, None)


@pytest.mark.parametrize("factory", ["from_folder", "from_csv", "from_samples", "single_from_classes"])
def test_a_misspelled_keyword_is_refused_with_the_nearest(factory: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(ImageDataBunch, factory)(sise=32)
    assert isinstance(caught.value, WrongTypeError)
    assert caught.value.what == f"{factory}: keyword"
    assert caught.value.got == "sise"
    assert caught.value.fix.startswith("Nearest: size")


def test_classes_and_suffixes_may_be_arrays_and_lists() -> None:
    for classes in (["a", "b"], ("a", "b"), np.array(["a", "b"]), iter("ab"), np.array([b"a", b"b"])):
        assert ImageSettings(classes=classes).classes == ("a", "b")
    assert ImageSettings(classes=np.array([0, 1])).classes == ("0", "1")
    assert ImageSettings(suffixes=["NPY", ".tif"]).suffixes == (".npy", ".tif")


def test_a_test_set_is_a_folder() -> None:
    for test in (5, ["test"], True):
        with refused("test", WrongTypeError, got=test):
            ImageSettings(test=test)  # type: ignore[arg-type]


def test_a_missing_validation_set_is_a_share_unless_the_caller_says_otherwise() -> None:
    cases: list[tuple[BasicOptions, str | None, Any]] = [
        ({}, None, 0.3), ({"valid_pct": 0.1}, None, 0.1), ({"split": StratifiedSplit(0.2)}, None, None),
        ({"valid_pct": 0}, None, 0), ({}, "validation", None),
    ]  # fmt: skip
    for options, valid, expected in cases:
        add_default_split(options, valid, 0.3)
        assert options.get("valid_pct") == expected
    with refused("valid", got="validation", expected="None with valid_pct or split"):
        add_default_split({"valid_pct": 0.1}, "validation", 0.3)


def test_what_can_be_read_once_is_read_once(class_folder: Path) -> None:
    """`from_folder` makes its settings twice."""

    def bunch(read: Callable[[list[Any]], Any]) -> ImageDataBunch:
        return ImageDataBunch.from_folder(
            class_folder, size=8, bs=4, seed=0, classes=read(["red", "green", "blue"]), suffixes=read([".png"]),
            augment=read([Flip(), Rotate(9)]), normalize=read([(0.5,) * 3, (0.25,) * 3]), sampler=read([1, 2] * 12),
        )  # fmt: skip

    once, often = bunch(iter), bunch(list)
    assert once.classes == often.classes == ["red", "green", "blue"]
    for (x, y), (of_list, targets) in zip(once.train_dl, often.train_dl, strict=True):
        assert torch.equal(x, of_list)
        assert torch.equal(y, targets)
