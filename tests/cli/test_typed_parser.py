"""A parser of typed options and of configurations."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from learnkit.cli.options import Option
from learnkit.cli.typed_parser import TypedParser
from learnkit.cli.values import CLASS_WEIGHTS, COLUMNS, LIST, PAIR, RATES
from learnkit.errors import UsageError

OPTIONS = (
    Option("base_size", int, 224, "pixels"),
    Option("valid", str | None, "valid", "a folder"),
    Option("resize", Literal["crop", "pad"], "crop", "how"),
    Option("pretrained", bool, True, "weights"),
    Option("lr", RATES, None, "rates"),
    Option("classes", LIST, None, "names"),
    Option("column", int | str, 0, "a column"),
    Option("arch", str, "resnet18", "network"),
    Option("y_range", PAIR, None, "two numbers"),
    Option("delim", str | None, None, "between labels"),
    Option("header", bool, True, "a line of names"),
    Option("class_weights", CLASS_WEIGHTS, None, "weights"),
    Option("label_col", COLUMNS, 1, "columns"),
)


def parser() -> TypedParser:
    made = TypedParser(prog="learnkit fly")
    made.add_place("data", "the folder")
    made.add_options("images", OPTIONS)
    made.add_config()
    return made


def parsed(*words: str) -> dict[str, Any]:
    return vars(parser().parse_args(list(words)))


def test_defaults_and_types() -> None:
    values = parsed("photos")
    assert {option.name: values[option.name] for option in OPTIONS} == {
        option.name: option.default for option in OPTIONS
    }
    values = parsed("photos", "--base-size", "32", "--no-pretrained", "--lr=1e-4:1e-3", "--column", "3", "--resize=pad")
    assert (values["data"], values["base_size"], values["pretrained"]) == ("photos", 32, False)
    assert (values["lr"], values["column"], values["resize"]) == ("1e-4:1e-3", 3, "pad")


@pytest.mark.parametrize("words", [["--valid", "none"], ["--valid=none"]])
def test_none_is_a_word(words: list[str]) -> None:
    assert parsed("photos", *words)["valid"] is None


def test_none_stays_text_where_a_value_cannot_be_none() -> None:
    assert parsed("photos", "--arch", "none")["arch"] == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base-szie", "3"], "no option --base-szie; nearest: --base-size"),
        (["--base-size", "x"], "--base-size: got 'x', expected a whole number"),
        (["--base-size", "1.5"], "--base-size: got '1.5', expected a whole number"),
        (["--resize", "cro"], "--resize: got 'cro', expected crop or pad"),
        (["--lr", "fast"], "--lr: got 'fast', expected a rate, FIRST:LAST"),
        (["--classes", "a,,b"], "--classes: got 'a,,b', expected A,B,..."),
        (["second"], "'second' is one argument too many"),
        (["--valid", "--arch", "x"], "argument --valid: expected one argument"),
        (["--valid"], "argument --valid: expected one argument"),
        (["--pretrained=false"], "--pretrained takes no value; --no-pretrained turns it off"),
        (["--base-size", "1:30"], "--base-size: got '1:30', expected a whole number"),
        (["--base-size", "it's"], '--base-size: got "it\'s", expected a whole number'),
    ],
)
def test_each_mistake_is_one_sentence_with_the_option(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed("photos", *words)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("See learnkit fly --help.")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--y-range", "-1,1"), ("--arch", "-net"), ("--delim", "-"), ("--delim", "#"), ("--delim", "~"), ("--delim", "")],
)
def test_a_value_is_the_next_word(option: str, value: str) -> None:
    assert parsed("photos", option, value)[option[2:].replace("-", "_")] == value
    assert parsed("photos", f"{option}={value}")[option[2:].replace("-", "_")] == value
    assert parsed(option, value, "--", "-photos")["data"] == "-photos"


@pytest.mark.parametrize("value", ["#", "~", "null", "a: b", "&x"])
def test_text_of_a_configuration_stays_text(tmp_path: Path, value: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"delim": value, "classes": [value, "b"]}))
    values = parsed("photos", "--config", str(tmp_path / "a.json"))
    assert (values["delim"], values["classes"]) == (value, f"{value},b")


@pytest.mark.parametrize(
    "text", ["class_weights = {cat = 1, dog = 2.5}", "[model]\nclass_weights = {cat = 1, dog = 2.5}"]
)
def test_a_table_is_the_value_of_an_option_that_names_things(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    values = parsed("photos", "--config", str(tmp_path / "a.toml"))
    assert CLASS_WEIGHTS.read(values["class_weights"]) == {"cat": 1, "dog": 2.5}
    (tmp_path / "a.toml").write_text('class_weights = {cat = "1,2"}')
    with pytest.raises(UsageError, match="expected names without commas"):
        parsed("photos", "--config", str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ('"1"', "1"), ('"a,b"', "a,b"), ('["1", 2, "a,b"]', ["1", 2, "a,b"]), ('"true"', "true")],
)
def test_columns_of_a_configuration_keep_their_kind(tmp_path: Path, text: str, value: Any) -> None:
    (tmp_path / "a.toml").write_text(f"label_col = {text}")
    assert COLUMNS.read(parsed("photos", "--config", str(tmp_path / "a.toml"))["label_col"]) == value


def test_a_configuration_comes_before_what_is_typed(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text(
        'data = "photos"\n[images]\nbase-size = 64\nvalid = "none"\n'
        '[model]\npretrained = false\nclasses = ["a", "b"]\nlr = 0.1\n',
        encoding="utf-8",
    )
    values = parsed("--config", str(config), "--base-size", "96")
    assert (values["data"], values["base_size"], values["valid"]) == ("photos", 96, None)
    assert (values["pretrained"], values["classes"], values["lr"]) == (False, "a,b", "0.1")
    assert parsed("other", f"--config={config}", "--pretrained")["data"] == "other"
    assert parsed("other", f"--config={config}", "--pretrained")["pretrained"] is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_szie = 3", r"a\.toml: option: got 'base_szie', expected one of this command; nearest: base_size"),
        ("base_size = 'x'", "--base-size: got 'x', expected a whole number"),
        ("resize = 3", "--resize: got "),
        ("data = 3", r"a\.toml: data: got 3, expected text"),
        ("arch = true", r"a\.toml: arch: got True, expected text. Put it in quotes"),
        ("classes = [1, true]", r"a\.toml: classes: .*expected text. Put each name in quotes"),
        ("classes = ['a,b', 'c']", r"a\.toml: classes: .*expected names without commas"),
        ("label_col = true", r"a\.toml: label_col: got True, expected names as text, or whole numbers"),
        ("label_col = ['a', 1.5]", r"a\.toml: label_col: .*expected names as text, or whole numbers"),
        ("label_col = '\"1\"'", r"a\.toml: label_col: .*expected names as text, or whole numbers"),
        ("pretrained = 'x'", r"a\.toml: pretrained: got 'x', expected true or false"),
    ],
)
def test_a_mistake_in_a_configuration_names_the_option(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        parsed(*([] if text.startswith("data") else ["photos"]), "--config", str(tmp_path / "a.toml"))


def test_a_null_among_names_is_refused_and_one_alone_is_none(tmp_path: Path) -> None:
    config = tmp_path / "a.json"
    config.write_text('{"classes": ["a", null]}')
    with pytest.raises(UsageError, match=r"a\.json: classes: .*expected text. Put each name in quotes"):
        parsed("photos", "--config", str(config))
    config.write_text('{"classes": null}')
    assert parsed("photos", "--config", str(config))["classes"] is None


def test_the_configuration_of_an_earlier_run_comes_first(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('data = "photos"\nbase_size = 64\nresize = "pad"', encoding="utf-8")
    made = parser()
    made.repeats = lambda values: tmp_path / "run.toml"
    values = made.parse_args(["--base-size", "32"])
    assert (values.data, values.base_size, values.resize) == ("photos", 32, "pad")


def test_messages_of_the_library_name_options() -> None:
    made = parser()
    assert made.in_options('base_size: got 0. Pass pretrained=False, or lr="x.pth".') == (
        "--base-size: got 0. Pass --no-pretrained, or --lr x.pth."
    )
    assert made.in_options("base_arch: got 'x'") == "--arch: got 'x'"
    assert made.in_options("Pass header=None, or valid=None.") == "Pass --no-header, or --valid none."
    assert made.in_options("Pass delim=';'.") == "Pass --delim ';'."
    assert made.in_options(f"Pass delim={chr(9)!r}.") == r"Pass --delim '\t'."
    assert made.in_options("pass classes=['a', 'b']") == "pass --classes a,b"
    assert made.in_options("Pass pretrained=False. Or base_size=0.5, lr=1e-3.") == (
        "Pass --no-pretrained. Or --base-size 0.5, --lr 1e-3."
    )
    for python in ("Pass classes=[Brightness(), Contrast()].", "Pass arch=Points(names)."):  # no form of the options
        assert made.in_options(python) == python
    assert made.in_options("photo.jpg: size=3, other=4") == "photo.jpg: size=3, other=4"


def test_what_a_command_passes_over_is_what_it_does_not_have() -> None:
    made = parser()
    made.pass_over(["epochs", "arch"])
    assert made.ignored == {"epochs"}


def test_options_of_a_run_that_mean_nothing_to_a_command_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('data = "photos"\nbase_size = 7\nepochs = 3\n', encoding="utf-8")
    made = parser()
    with pytest.raises(UsageError, match="epochs"):
        made.parse_args(["--config", str(file)])
    made.ignored = {"epochs"}
    values = made.parse_args(["--config", str(file)])
    assert (values.data, values.base_size) == ("photos", 7)
    file.write_text("epoch = 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match="epoch"):
        made.parse_args(["--config", str(file)])
