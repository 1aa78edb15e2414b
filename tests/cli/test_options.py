"""Options made of signatures."""

import inspect
from dataclasses import fields
from typing import Literal

from learnkit.cli.options import NAMES, Option, options_of, python_name, value_of
from learnkit.cli.values import RATES
from learnkit.data.options import ImageSettings
from learnkit.learner.learner import Learner


def paint(color: Literal["red", "blue"], width: int | None = 3, *, dry: bool = False, brush: object = None) -> None:
    """Paint.

    Args:
        color: of the wall,
            and of the ceiling.
        width: in cm; None for a thin
            line.
        dry: let it dry.
        brush: to use.
    """


def test_names_types_defaults_and_help_are_those_of_the_signature() -> None:
    color, width, dry = options_of(paint, without=("brush",))
    assert (color.name, color.kind, color.help) == ("color", Literal["red", "blue"], "of the wall, and of the ceiling.")
    assert color.default is inspect.Parameter.empty
    assert (width.kind, width.default, width.help, width.may_be_none) == (
        int | None,
        3,
        "in cm; none for a thin line.",
        True,
    )
    assert (dry.flag, dry.kind, dry.default, dry.may_be_none) == ("--dry", bool, False, False)


def test_some_can_be_chosen_renamed_and_given_another_form() -> None:
    (brush,) = options_of(paint, ("brush",), kinds={"brush": str}, renamed={"brush": "the_brush"})
    assert (brush.name, brush.flag, brush.kind) == ("the_brush", "--the-brush", str)


def test_a_renamed_option_leads_back_to_its_parameter() -> None:
    assert python_name("arch") == "base_arch"
    assert python_name("size") == "size"
    assert len(set(NAMES.values())) == len(NAMES)


def test_text_of_a_form_is_read_and_other_values_stay() -> None:
    option = Option("lr", RATES, None, "")
    assert value_of(option, "1e-4:1e-3") == slice(1e-4, 1e-3)
    assert value_of(option, None) is None
    assert value_of(Option("wd", float, 0.1, ""), 0.2) == 0.2


def test_real_signatures_have_help_for_every_option() -> None:
    assert {option.name for option in options_of(ImageSettings)} == {field.name for field in fields(ImageSettings)}
    assert all(option.help for option in options_of(ImageSettings))
    assert all(option.help for option in options_of(Learner.lr_find, ("num_it",))) is False  # its text has no Args
