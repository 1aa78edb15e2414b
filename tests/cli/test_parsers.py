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
        (["moon", "--height", "-x"], "argument --height: expected one argument; a value that begins with a dash is "),
        (["", "--height", "3"], "an argument is empty, as of a variable that is not set. "),
        (["moon", "--height="], "--height is empty, as of a variable that is not set. "),
        ([], "the following arguments are required: place. "),
    ],
)  # fmt: skip
def test_usage_errors_name_the_argument_and_the_help(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parser().parse_args(words)
    assert str(error.value).startswith(message)
    assert str(error.value).endswith("See learnkit fly --help.")


def test_a_message_of_several_lines_becomes_one() -> None:
    assert explained("one:\n  two\n\n  three", []) == "one: two three"
