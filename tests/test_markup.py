"""HTML for notebooks: what comes from outside stays text."""

from html.parser import HTMLParser

import torch
from torch import nn

from learnkit import DataBunch, Learner
from learnkit.markup import facts

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
    assert seen.attributes == [("scope", "row")]
    assert seen.text == HOSTILE * 3


def bunch(classes: list[str]) -> DataBunch:
    x, y = torch.zeros(10, 3), torch.arange(10) % 2
    return DataBunch.from_tensors(x, y, x[:4], y[:4], bs=5, classes=classes)


def test_a_bunch_shows_its_sets_and_classes() -> None:
    seen = Seen(bunch(["cat", HOSTILE])._repr_html_())
    assert "img" not in seen.tags
    assert "10 items in batches of 5" in seen.text
    assert "4 items in batches of 5" in seen.text
    assert f"2: cat, {HOSTILE}" in seen.text


def test_a_bunch_of_loaders_tells_what_it_knows() -> None:
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
    assert "img" not in after.tags
