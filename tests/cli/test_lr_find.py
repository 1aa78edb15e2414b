"""learnkit lr-find."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from learnkit import ImageDataBunch, cnn_learner

from .conftest import Run

WORDS = (
    "--size",
    "32",
    "--num-workers",
    "0",
    "--bs",
    "4",
    "--no-pretrained",
    "--arch",
    "shufflenet_v2_x0_5",
    "--seed",
    "3",
)


def test_suggestions_are_printed_and_the_curve_is_written(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    code, out, err = learnkit("lr-find", photos, "--num-it", "20", "--no-stop-div", "--out", tmp_path / "rates", *WORDS)
    assert (code, err) == (0, "")
    dls = ImageDataBunch.from_folder(photos, size=32, num_workers=0, bs=4)
    learn = cnn_learner(dls, "shufflenet_v2_x0_5", pretrained=False, seed=3)
    expected = learn.lr_find(num_it=20, stop_div=False)
    for name, value in expected._asdict().items():
        assert f"\n{name} {value:.3g}\n" in out
    with (tmp_path / "rates/lr_find.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert learn.recorder.lr_curve is not None
    assert [float(row["lr"]) for row in rows] == list(learn.recorder.lr_curve.lrs)
    assert [float(row["loss"]) for row in rows] == list(learn.recorder.lr_curve.losses)
    with Image.open(tmp_path / "rates/lr_find.png") as image:
        assert image.size[0] > 100


def test_nothing_is_written_without_a_folder(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    assert learnkit("lr-find", photos, "--num-it", "5", *WORDS)[0] == 0
    assert set(tmp_path.rglob("*")) == before


def test_usage_errors_are_one_sentence(learnkit: Run) -> None:
    code, out, err = learnkit("lr-find")
    assert (code, out, err) == (
        2,
        "",
        "learnkit: DATA is missing. Pass the folder of the data: learnkit lr-find photos.\n",
    )


@pytest.mark.slow
def test_what_is_there_is_not_overwritten_unless_forced(photos: Path, learnkit: Run, tmp_path: Path) -> None:
    rates = tmp_path / "rates"
    rates.mkdir()
    for name in ("lr_find.csv", "lr_find.png"):
        (rates / name).write_text("mine")
        words = ["lr-find", photos, "--num-it", "20", "--no-stop-div", "--out", rates, *WORDS]
        code, out, err = learnkit(*words)
        assert (code, out) == (2, "")
        assert (
            err
            == f"learnkit: {rates / name} exists already. Choose another name, or add --force to overwrite a file.\n"
        )
        assert [file.read_text() for file in rates.iterdir()] == ["mine"]
        assert learnkit(*words, "--force")[0] == 0
        assert {file.name for file in rates.iterdir()} == {"lr_find.csv", "lr_find.png"}
        for file in rates.iterdir():
            assert file.read_bytes() != b"mine"
            file.unlink()
    assert learnkit("lr-find", photos, "--force", *WORDS)[2] == "learnkit: --force has no effect without --out\n"
