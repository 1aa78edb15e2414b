"""learnkit report: a page about the images that are meant."""

from pathlib import Path

import pytest

from tests.cli.trained import Command, Model


def test_the_page_is_about_the_chosen_images(run: Model, command: Command, tmp_path: Path) -> None:
    answer = command("report", run.file, "--on", "all", "--out", "page.html")
    assert answer == (0, ["report: page.html, on 15 images (all)"], "")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert all(label in page for label in ("blue", "green", "red", "accuracy"))


def test_a_page_is_not_overwritten_unless_that_is_asked_for(run: Model, command: Command, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    answer = command("report", run.file, "--out", "page.html")
    assert (answer.code, answer.lines) == (2, [])
    assert "exists already" in answer.err
    assert (tmp_path / "page.html").read_text() == "mine"
    assert command("report", run.file, "--out", "page.html", "--force").code == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.parametrize("args", [[], ["--out", "page.pdf"], ["--out", "a.html", "--on", "test"]])
def test_what_cannot_work_is_one_sentence(run: Model, command: Command, args: list[str], tmp_path: Path) -> None:
    answer = command("report", run.file, *args)
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_refused(run: Model, command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = command("report", run.file, "--out", "file/page.html")
    assert (answer.code, answer.lines, answer.err.count("\n")) == (2, [], 1)


def test_other_tasks_have_a_page_too(multilabel: Model, regression: Model, command: Command) -> None:
    for model, options in ((multilabel, ["--label-delim", " "]), (regression, [])):
        answer = command(
            "report", *model, "--csv", "labels.csv", "--on", "all", "--out", f"{model.data.name}.html", *options
        )
        assert (answer.code, answer.err) == (0, "")


def test_look_alikes_are_shown_where_that_is_asked_for(run: Model, command: Command, tmp_path: Path) -> None:
    for name, options in (("plain.html", []), ("full.html", ["--duplicates"])):
        assert command("report", run.file, "--out", name, *options).code == 0
    plain, full = ((tmp_path / name).read_text("utf-8") for name in ("plain.html", "full.html"))
    assert ("Near-duplicates across splits" in full, "Near-duplicates across splits" in plain) == (True, False)
    assert "learnkit report --duplicates" in plain
