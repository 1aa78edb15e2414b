"""What cannot be parsed is one sentence."""

import pytest

from learnkit.cli.parsers import Parser, explained
from learnkit.errors import UsageError


def parser() -> Parser:
    made = Parser(prog="learnkit fly")
    made.add_argument("place")
    made.add_argument("--height", type=int)
    return made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["moon", "--heigth", "3"], "no option --heigth; nearest: --height, "),
        (["moon", "--heigth=3"], "no option --heigth; nearest: --height, "),
        (["moon", "--hei", "3"], "no option --hei; nearest: --height, "),
        (["moon", "mars"], "'mars' is one argument too many. "),
        (["moon", "--height", "x"], "argument --height: invalid int value: 'x'. "),
        ([], "the following arguments are required: place. "),
    ],
)
def test_usage_errors_name_the_argument_and_the_help(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parser().parse_args(words)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("See learnkit fly --help.")


def test_a_message_of_several_lines_becomes_one() -> None:
    assert explained("one:\n  two\n\n  three", []) == "one: two three"
