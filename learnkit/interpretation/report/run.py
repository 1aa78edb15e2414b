"""The run of a learner: settings and curves."""

import math
import platform
import sys
from collections.abc import Mapping, Sequence, Sized
from datetime import date
from typing import Any

import torch

from learnkit.data.bunch import DataBunch
from learnkit.data.image_bunch import as_image_bunch
from learnkit.interpretation.learners import Trained
from learnkit.interpretation.report.content import Chart, Column, Facts, Line, Table
from learnkit.text import name_of

__all__ = ["charts_of", "history_of", "run_of", "settings_of"]

NOT_METRICS = {"epoch", "train_loss", "valid_loss", "time"}  # columns of the history


def run_of(learn: Trained) -> str:
    """Model, data set and date in a line: "resnet18 on pets, 2026-01-31"."""
    folder = _data_set(learn.dls)
    return f"{_model_of(learn)}{f' on {folder}' if folder else ''}, {date.today().isoformat()}"


def settings_of(learn: Trained) -> tuple[Facts, ...]:
    """Model, data, training, and what it ran on."""
    every = sum(p.numel() for p in learn.model.parameters())
    trained = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
    model = [
        ("model", _model_of(learn)),
        ("parameters", f"{every:,}, of which {trained:,} trained"),
        ("layer groups", str(len(learn.groups))),
        ("loss", _described(learn.loss_func)),
    ]
    if learn.dls.input_shape is not None:
        model.insert(1, ("input", " × ".join(map(str, learn.dls.input_shape))))
    training = [
        ("optimizer", name_of(learn.opt) if learn.opt is not None else _described(learn.opt_func)),
        ("weight decay", f"{learn.wd:g}" if isinstance(learn.wd, int | float) else str(learn.wd)),
        ("epochs trained", f"{len(learn.recorder.rows):,}"),
        ("batches trained", f"{len(learn.recorder.losses):,}"),
        ("metrics", ", ".join(metric.name for metric in learn.metrics) or "none"),
        ("callbacks", ", ".join(map(name_of, [*learn.callbacks, *learn.fit_callbacks])) or "none"),
        ("seed", str(learn.seed)),
    ]
    seconds = sum(float(row.get("time", 0.0)) for row in learn.recorder.rows)
    if seconds:
        training.insert(4, ("time in epochs", _duration(seconds)))
    version = getattr(sys.modules.get("learnkit"), "__version__", "")
    machine = [("learnkit", version), ("torch", torch.__version__), ("Python", platform.python_version())]
    machine.append(("device", str(learn.dls.device)))
    groups = (("Model", model), ("Training", training), ("Data", _data(learn.dls)), ("Versions", machine))
    return tuple(Facts(title, tuple((name, text) for name, text in rows if text)) for title, rows in groups)


def charts_of(learn: Trained) -> tuple[Chart, ...]:
    """Losses by batch, metrics by epoch, learning rate and momentum by batch; those with numbers."""
    recorder = learn.recorder
    if not recorder.losses:
        return ()
    batches = tuple(float(number) for number in range(1, len(recorder.losses) + 1))
    valid = [
        (float(end), float(row["valid_loss"]))
        for end, row in zip(recorder.epoch_ends, recorder.rows, strict=True)
        if "valid_loss" in row
    ]
    lines = [
        Line("", batches, tuple(recorder.losses), "thin"),
        Line("training, smoothed", batches, tuple(recorder.smooth_losses)),
    ]
    if valid:
        ends, losses = zip(*valid, strict=True)
        lines.append(Line("validation", ends, losses, "dots"))
    charts = [Chart("Loss", "batches", "loss", tuple(lines))]
    for name in _metric_names(recorder.rows):
        found = [(float(row["epoch"]), float(row[name])) for row in recorder.rows if name in row]
        epochs, values = zip(*found, strict=True)
        charts.append(Chart(name, "epoch", name, (Line(name, epochs, values, "dots"),)))
    steps = tuple(float(number) for number in range(1, len(recorder.lrs) + 1))
    charts.append(
        Chart("Learning rate", "batches", "learning rate", (Line("learning rate", steps, tuple(recorder.lrs)),))
    )
    if any(not math.isnan(value) for value in recorder.moms) and len(set(recorder.moms)) > 1:
        charts.append(Chart("Momentum", "batches", "momentum", (Line("momentum", steps, tuple(recorder.moms)),)))
    return tuple(charts)


def history_of(learn: Trained) -> Table | None:
    """The history, one row per epoch, counted from 0."""
    rows = learn.recorder.rows
    if not rows:
        return None
    names = [name for name in learn.history.columns if name != "epoch"]
    columns = tuple(Column("seconds", 1) if name == "time" else Column(str(name), 4) for name in names)
    made = tuple((str(int(row["epoch"])), tuple(float(row.get(name, math.nan)) for name in names)) for row in rows)
    return Table("epoch", columns, made)


def _model_of(learn: Trained) -> str:
    """The architecture that a factory built, else the class of the model."""
    return learn.spec.name if learn.spec is not None else name_of(learn.model)


def _data_set(dls: DataBunch) -> str:
    """The name of the folder of images; "" for other data."""
    return dls.path.resolve().name if as_image_bunch(dls) is not None else ""


def _data(dls: DataBunch) -> list[tuple[str, str]]:
    parts = (("training", dls.train_ds), ("validation", dls.valid_ds), ("test", dls.test_ds))
    rows = [("data set", _data_set(dls)), ("bunch", type(dls).__name__)]
    rows += [(name, f"{len(part):,} items") for name, part in parts if isinstance(part, Sized)]
    rows += [("classes", f"{len(dls.classes):,}" if dls.classes else ""), ("batch size", str(dls.batch_size or ""))]
    images = as_image_bunch(dls)
    if images is not None:
        resize, normalize = images.preprocess.resize, images.preprocess.normalize
        rows.append(("images", f"{resize.size[0]} × {resize.size[1]}, {resize.method}, {resize.interpolation}"))
        rows += [("JPEG files", "decoded in full")] if images.preprocess.full_decode else []
        if normalize is not None:
            pairs = zip(normalize.mean, normalize.std, strict=True)
            rows.append(("normalized by", ", ".join(f"{mean:.3g} ± {std:.3g}" for mean, std in pairs)))
        rows.append(("augmentation", _augmentation(images.settings.augment)))
    return rows


def _augmentation(augment: Any) -> str:
    if isinstance(augment, str):
        return augment
    if isinstance(augment, bool):
        return "default" if augment else "none"
    return ", ".join(name_of(change) for change in augment) or "none"


def _described(thing: Any) -> str:
    return thing if isinstance(thing, str) else name_of(thing)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _metric_names(rows: Sequence[Mapping[str, float]]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(name for name in row if name not in NOT_METRICS)
    return list(found)
