"""Where a learner writes: into ./models of the working directory by default, never into the folder of the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learnkit import ImageDataBunch, Learner, cnn_learner, load_learner
from learnkit.callbacks import CSVLogger, SaveModel, TensorBoard

WRITES: dict[str, Callable[[Learner], Any]] = {
    "save": lambda learn: learn.save("a"),
    "save, load": lambda learn: learn.load(learn.save("a")),
    "SaveModel": lambda learn: learn.fit(1, callbacks=SaveModel()),
    "SaveModel, every epoch": lambda learn: learn.fit(1, callbacks=SaveModel(every="epoch")),
    "checkpoints": lambda learn: learn.fit(1, checkpoint_every=1),
    "checkpoints, resumed": lambda learn: learn.fit(1, checkpoint_every=1, resume="auto"),
    "CSVLogger": lambda learn: learn.fit(1, callbacks=CSVLogger()),
    "TensorBoard": lambda learn: learn.fit(1, callbacks=TensorBoard()),
    "export": lambda learn: learn.export("model"),
    "push_to_hub": lambda learn: learn.push_to_hub("hub"),
    "report": lambda learn: learn.report("report.html"),
    "write_preds": lambda learn: learn.write_preds("preds.csv"),
    "lr_find": lambda learn: learn.lr_find(num_it=3),
    "fine_tune": lambda learn: learn.split([learn.model[0], learn.model[2]]).fine_tune(1),  # type: ignore[index]
    "predictor": lambda learn: learn.predictor(),
    "interpret": lambda learn: learn.interpret().plot_confusion_matrix(),
    "tta": lambda learn: learn.tta(n=1),
}


def learner(folder: Path, **options: Any) -> Learner:
    dls = ImageDataBunch.from_folder(folder, size=16, bs=8, num_workers=0, **options)
    torch.manual_seed(0)
    return Learner(dls, nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten(), nn.Linear(2, 3)), seed=0)


def content(folder: Path) -> dict[str, bytes]:
    return {file.as_posix(): file.read_bytes() if file.is_file() else b"" for file in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", WRITES)
def test_the_folder_of_the_data_is_only_read(
    name: str, class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    before = content(class_folder)
    WRITES[name](learner(class_folder))
    assert content(class_folder) == before


def test_weights_and_records_are_below_models_of_the_working_directory(class_folder: Path, tmp_path: Path) -> None:
    learn = learner(class_folder)
    assert learn.path == Path()
    learn.save("a")
    learn.fit(1, callbacks=[SaveModel(), CSVLogger()], checkpoint_every=1)
    found = {file.name for file in (tmp_path / "models").iterdir()}
    assert {"a.pth", "bestmodel.pth", "history.csv", "checkpoints"} <= found


def test_another_place_can_be_chosen_and_set_later(class_folder: Path, tmp_path: Path) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=32, bs=8, num_workers=0)
    learn = cnn_learner(dls, "squeezenet1_1", pretrained=False, path=tmp_path / "runs", model_dir="w", seed=0)
    assert learn.save("a", with_opt=False) == tmp_path / "runs" / "w" / "a.pth"
    learn.path = tmp_path / "others"
    assert learn.save("a", with_opt=False) == tmp_path / "others" / "w" / "a.pth"


def test_a_loaded_learner_writes_into_the_working_directory_too(class_folder: Path, tmp_path: Path) -> None:
    learn = learner(class_folder)
    (tmp_path / "exports").mkdir()
    loaded = load_learner(learn.export(tmp_path / "exports" / "m.lk"), model=learn.model)
    assert loaded.save("a") == Path("models/a.pth")
