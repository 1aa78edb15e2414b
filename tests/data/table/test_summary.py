"""Summaries of data sets, as displayed."""

from pathlib import Path

import pytest

from learnkit import ImageDataBunch, LearnkitWarning


@pytest.mark.parametrize("sign", ["\u202e", "\x1b", "<b>"])
def test_a_class_of_any_name_is_shown_and_does_no_harm(sign: str, class_folder: Path) -> None:
    for split in ("train", "valid"):
        (class_folder / split / "red").rename(class_folder / split / f"red{sign}der")
    (class_folder / "train" / f"red{sign}der" / "0.png").write_bytes(b"")
    with pytest.warns(LearnkitWarning, match="1 of 36 items cannot be read"):
        summary = ImageDataBunch.from_folder(class_folder, size=16, bs=4, on_error="skip").summary()
    html = summary._repr_html_()
    shown = {"\u202e": r"\u202e", "\x1b": r"\x1b", "<b>": "&lt;b&gt;"}[sign]
    assert html.count(f"red{shown}der") >= 2  # in the counts, and in the rows left out
    assert sign not in html
    assert sign == "<b>" or sign not in str(summary)
