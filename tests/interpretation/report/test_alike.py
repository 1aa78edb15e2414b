"""Near-duplicates and outliers on the page."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from learnkit import ClassificationInterpretation, ImageDataBunch, Learner
from learnkit.errors import LearnkitWarning, UsageError
from learnkit.interpretation.report import content_of
from learnkit.interpretation.report.alike import AlikeItems, alike_of
from learnkit.interpretation.report.look_alikes import Alike
from learnkit.interpretation.report.render import page_of
from learnkit.interpretation.report.thumbnails import Thumbnails

CLASSES = ("ant", "bee")


class Pixels(nn.Module):
    """Features are the mean colors of sixteen squares: what looks alike has the same."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.fc = nn.Linear(48, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.body(x))
        return out


def pattern(number: int) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.NEAREST)


@pytest.fixture
def learn(tmp_path: Path) -> Learner:
    """Thirty images; one is in training and validation, one twice in training with another label, one is a photo."""
    root = tmp_path / "secret" / "data"
    for split, n in (("train", 12), ("valid", 3)):
        for c, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                pattern(1000 * c + 100 * (split == "valid") + i).save(root / split / name / f"{i:02d}.png")
    pattern(3).save(root / "valid" / "bee" / "02.png")
    pattern(5).save(root / "train" / "bee" / "11.png")
    dls = ImageDataBunch.from_folder(root, size=32, bs=8, num_workers=0, augment=False, allow_leak=True)
    return Learner(dls, Pixels(), groups=lambda m: [m.body, m.fc], seed=0)


def found_in(learn: Learner) -> tuple[AlikeItems, Alike]:
    items = AlikeItems(learn, 100)
    return items, alike_of(items)


def test_planted_pairs_are_found_across_and_within(learn: Learner) -> None:
    _, found = found_in(learn)
    across = {(one.first.name, one.second.name): one for one in found.across if one.distance < 1e-6}
    within = {(one.first.name, one.second.name): one for one in found.within if one.distance < 1e-6}
    assert set(across) == {("ant/03.png", "bee/02.png")}
    assert set(within) == {("ant/05.png", "bee/11.png")}
    leak = across["ant/03.png", "bee/02.png"]
    assert (leak.first.part, leak.second.part) == ("training", "validation")
    assert (leak.first.label, leak.second.label, leak.labels_differ) == ("ant", "bee", True)
    assert found.n_across == len(found.across)


def test_every_item_has_its_own_image(learn: Learner) -> None:
    items, found = found_in(learn)
    for pair in (*found.across, *found.within):
        for place in (pair.first, pair.second):
            split = {"training": "train", "validation": "valid"}[place.part]
            file = learn.dls.path / split / place.name
            assert np.array_equal(items.image(place.number), np.asarray(Image.open(file)))
    assert items.beside(lambda i: np.full((1, 1, 3), i))(7)[0, 0, 0] == 7
    numbers = [place.number for pair in (*found.across, *found.within) for place in (pair.first, pair.second)]
    assert sorted(numbers) == list(range(100, 100 + len(numbers)))


def test_the_page_shows_them_where_that_is_asked_for(learn: Learner, tmp_path: Path) -> None:
    text = learn.report(tmp_path / "full.html", duplicates=True).read_text()
    section = text.partition('<section id="alike"')[2].partition("</section>")[0]
    _, found = found_in(learn)
    assert section.count("<img ") == 2 * (len(found.across) + len(found.within)) + len(found.outliers)
    assert "the labels differ" in section
    assert f"{found.n_across} pair" in section
    assert "learnkit report --duplicates" not in text
    assert "secret" not in text  # the page goes to others


def test_otherwise_the_page_says_how_to_get_them(
    learn: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "embed", None)
    monkeypatch.setattr(Learner, "near_duplicates", None)
    text = learn.report(tmp_path / "plain.html").read_text()
    assert 'id="alike"' not in text
    assert "learn.report(path, duplicates=True), or learnkit report --duplicates." in text


def test_none_found_is_said(learn: Learner) -> None:
    content = content_of(learn.interpret(), learn=learn)
    from dataclasses import replace

    text = page_of(replace(content, alike=Alike()), Thumbnails(None))
    assert text.count("None were found.") == 3


def test_an_image_that_is_gone_is_told(learn: Learner) -> None:
    content = content_of(learn.interpret(), learn=learn, duplicates=True)
    (learn.dls.path / "train" / "ant" / "03.png").unlink()
    text = page_of(content, Thumbnails(content.image))
    section = text.partition('<section id="alike"')[2].partition("</section>")[0]
    assert re.search('aria-label="training, labeled ant: cannot be read"', section)


def test_a_network_without_a_head_is_told_and_warned_of(learn: Learner, tmp_path: Path) -> None:
    whole = Learner(learn.dls, nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), seed=0)
    with pytest.warns(LearnkitWarning, match="near-duplicates and outliers could not be looked for"):
        text = whole.report(tmp_path / "page.html", duplicates=True).read_text()
    assert "They could not be looked for" in text


def test_without_a_learner_they_are_refused(interpret: Callable[..., ClassificationInterpretation]) -> None:
    with pytest.raises(UsageError, match="the learner of these items is needed"):
        content_of(interpret(), duplicates=True)
