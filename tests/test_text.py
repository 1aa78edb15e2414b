"""Untrusted text: plain on one line, safe in a spreadsheet, escaped in the HTML of notebooks."""

import functools
from html.parser import HTMLParser

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from learnkit import DataBunch, Learner
from learnkit.text import facts, name_of, printable, shortened, spreadsheet_safe

HOSTILE = '<img src=x onerror="alert(1)">'


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_and_values_are_text() -> None:
    seen = Seen(facts(HOSTILE, {HOSTILE: HOSTILE}))
    assert set(seen.tags) == {"table", "caption", "tr", "th", "td"}
    assert {name for name, _ in seen.attributes} == {"scope", "style"}
    assert seen.text == HOSTILE * 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße, 猫 £5", "Grüße, 猫 £5"),
        ("a\r\n\x1b[31m", "a\\r\\n\\x1b[31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\ud800", "\\ud800"),
    ],
)
def test_printable_text_cannot_control_a_terminal_and_can_be_encoded(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(start: str) -> None:
    assert spreadsheet_safe(f"{start}1+1") == f"'{start}1+1"
    assert spreadsheet_safe(f"a{start}1") == f"a{start}1"


@pytest.mark.parametrize("cell", [-1.5, None, "", "cat"])
def test_other_cells_do_not_change(cell: object) -> None:
    assert spreadsheet_safe(cell) is cell


def test_lists_of_names_are_truncated_after_ten_and_names_after_forty_characters() -> None:
    assert shortened([str(n) for n in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert shortened([str(n) for n in range(11)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"
    assert shortened(["x" * 40, "y" * 41, "", "z"], max_names=3) == f"{'x' * 40}, {'y' * 39}…, (empty), …"
    assert shortened([]) == ""


def test_controls_of_terminals_and_directions_are_seen() -> None:
    text = Seen(facts("a", {"name": "line\nbreak\x1b[31m\u202egnp.exe"})).text
    assert text.endswith("line\\nbreak\\x1b[31m\\u202egnp.exe")


def test_long_and_empty_names_of_classes_leave_the_table_readable() -> None:
    text = Seen(bunch([" ", "x" * 500])._repr_html_()).text
    assert f"2: (empty), {'x' * 39}…input" in text


def bunch(classes: list[str]) -> DataBunch:
    x, y = torch.zeros(10, 3), torch.arange(10) % 2
    return DataBunch.from_tensors(x, y, x[:4], y[:4], bs=5, classes=classes)


def test_a_bunch_shows_its_sets_and_classes() -> None:
    seen = Seen(bunch(["cat", HOSTILE])._repr_html_())
    assert "img" not in seen.tags
    assert "10 items in batches of 5" in seen.text
    assert "4 items in batches of 5" in seen.text
    assert f"2: cat, {HOSTILE}" in seen.text


def test_a_bunch_of_loaders_shows_what_it_knows() -> None:
    batches = [(torch.zeros(2, 3), torch.tensor([0, 1]))]
    text = Seen(DataBunch.from_loaders(batches, None)._repr_html_()).text
    assert "training setlist" in text
    assert "classesnone" in text


def test_a_learner_shows_its_model_and_its_last_epoch() -> None:
    learn = Learner(bunch(["cat", HOSTILE]), nn.Linear(3, 2), metrics="accuracy", seed=1)
    before = Seen(learn._repr_html_())
    assert "8 parameters, 8 trained" in before.text
    assert "epochs trained0" in before.text
    learn.fit(2, 0.1)
    after = Seen(learn._repr_html_())
    assert "epochs trained2" in after.text
    assert f"accuracy {learn.history['accuracy'].iloc[-1]:.4g}" in after.text
    assert after.text.endswith(" s")  # the unit of the time
    assert "img" not in after.tags


def test_a_learner_shows_which_groups_are_trained() -> None:
    learn = Learner(bunch(["a", "b"]), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), seed=1)
    assert "layer groups: 1, trained: all\n" in f"{learn!r}\n"
    for parameter in learn.model.parameters():
        parameter.requires_grad_(False)
    assert "layer groups: 1, trained: none" in repr(learn)


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (F.cross_entropy, "cross_entropy"),
        (nn.Linear(1, 1), "Linear"),
        (nn.Linear, "Linear"),
        (functools.partial(F.mse_loss, reduction="sum"), "mse_loss"),
        (functools.partial(functools.partial(nn.MSELoss())), "MSELoss"),
    ],
)
def test_a_thing_is_named_after_itself_or_its_class(thing: object, name: str) -> None:
    assert name_of(thing) == name
