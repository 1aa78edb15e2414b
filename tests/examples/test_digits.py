"""The example runs from start to end and writes the files it announces."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run leaves."""
    folder = tmp_path_factory.mktemp("digits") / "out"
    command = [sys.executable, str(EXAMPLE), "--out", str(folder), "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 0" in done.stdout
    assert "after loading digits.pth into a new learner" in done.stdout
    assert "digits.lk, loaded without executing code, predicts" in done.stdout
    return folder


@pytest.mark.slow
def test_the_digits_example(out: Path) -> None:
    plots = {"batch", "lr_find", "losses", "schedule", "metrics", "confusion_matrix", "top_losses"}
    assert {path.stem for path in out.glob("*.png")} == plots
    assert all(path.stat().st_size > 5000 for path in out.glob("*.png"))
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "train_loss", "valid_loss", "accuracy", "time"]
    assert float(rows[0]["accuracy"]) > 0.2  # twice as good as guessing
    assert len(list((out / "digits" / "7").glob("*.png"))) == 500
    assert (out / "models" / "digits.pth").exists()


@pytest.mark.slow
def test_its_report_works_in_a_browser(out: Path, browser: Any) -> None:
    report = out / "report.html"
    assert report.stat().st_size < 5_000_000
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(report.as_uri())
    buttons = page.locator(".matrix button")
    shown = 0
    for number in range(buttons.count()):
        button = buttons.nth(number)
        button.press("Enter")
        opened = page.locator("[popover]:popover-open")
        assert opened.count() == 1
        widths = opened.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert all(width > 0 for width in widths)
        shown += len(widths)
        page.keyboard.press("Escape")
        assert page.locator("[popover]:popover-open").count() == 0
    assert shown == 1000  # every digit of the validation set
    headings = page.locator("h2").all_inner_texts()
    wanted = ["Confusion matrix", "Top losses", "By class", "Calibration", "Curves", "Data problems", "Run settings"]
    assert headings == wanted
    assert not messages
    page.close()
