"""What a learner tells of its run: settings and curves."""

import math
import platform
import sys
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import torch

from learnkit.interpretation.report.content import Chart, Column, Facts, Line, Table

__all__ = ["charts_of", "history_of", "settings_of"]

WORDLESS = {"epoch", "train_loss", "valid_loss", "time"}  # columns of the history that are no metrics


def settings_of(learn: Any) -> tuple[Facts, ...]:
    """Model, data, training, and what it ran on."""
    every = sum(p.numel() for p in learn.model.parameters())
    trained = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
    model = [
        ("model", called(learn.model)),
        ("parameters", f"{every:,}, of which {trained:,} trained"),
        ("layer groups", str(len(learn.groups))),
        ("loss", _described(learn.loss_func)),
    ]
    if learn.dls.input_shape is not None:
        model.insert(1, ("input", " × ".join(map(str, learn.dls.input_shape))))
    training = [
        ("optimizer", called(learn.opt) if learn.opt is not None else _described(learn.opt_func)),
        ("weight decay", f"{learn.wd:g}" if isinstance(learn.wd, int | float) else str(learn.wd)),
        ("epochs trained", f"{len(learn.recorder.rows):,}"),
        ("batches trained", f"{len(learn.recorder.losses):,}"),
        ("metrics", ", ".join(metric.name for metric in learn.metrics) or "none"),
        ("callbacks", ", ".join(called(callback) for callback in learn.callbacks) or "none"),
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


def charts_of(learn: Any) -> tuple[Chart, ...]:
    """Losses by batch, metrics by epoch, learning rate and momentum by batch; those there are numbers for."""
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
        found = [(float(row["epoch"]) + 1, float(row[name])) for row in recorder.rows if name in row]
        epochs, values = zip(*found, strict=True)
        charts.append(Chart(name, "epochs", name, (Line(name, epochs, values, "dots"),)))
    steps = tuple(float(number) for number in range(1, len(recorder.lrs) + 1))
    charts.append(
        Chart("Learning rate", "batches", "learning rate", (Line("learning rate", steps, tuple(recorder.lrs)),))
    )
    if any(not math.isnan(value) for value in recorder.moms) and len(set(recorder.moms)) > 1:
        charts.append(Chart("Momentum", "batches", "momentum", (Line("momentum", steps, tuple(recorder.moms)),)))
    return tuple(charts)


def history_of(learn: Any) -> Table | None:
    """The history, one row an epoch, counted from 1 as the charts count."""
    rows = learn.recorder.rows
    if not rows:
        return None
    names = [name for name in learn.history.columns if name != "epoch"]
    columns = tuple(Column("seconds", 1) if name == "time" else Column(str(name), 4) for name in names)
    made = tuple((str(int(row["epoch"]) + 1), tuple(float(row.get(name, math.nan)) for name in names)) for row in rows)
    return Table("epoch", columns, made)


def called(thing: Any) -> str:
    """What a module, a function or an object is called."""
    return str(getattr(thing, "__name__", type(thing).__name__))


def _data(dls: Any) -> list[tuple[str, str]]:
    parts = (("training", dls.train_ds), ("validation", dls.valid_ds), ("test", dls.test_ds))
    rows = [("bunch", type(dls).__name__)]
    rows += [(name, f"{len(part):,} items") for name, part in parts if isinstance(part, Sized)]
    rows += [("classes", f"{len(dls.classes):,}" if dls.classes else ""), ("batch size", str(dls.batch_size or ""))]
    if dls.preprocess is not None:
        resize, normalize = dls.preprocess.resize, dls.preprocess.normalize
        rows.append(("pictures", f"{resize.size[0]} × {resize.size[1]}, {resize.method}, {resize.interpolation}"))
        if normalize is not None:
            told = ", ".join(f"{mean:.3g} ± {std:.3g}" for mean, std in zip(normalize.mean, normalize.std, strict=True))
            rows.append(("normalised by", told))
        rows.append(("augmentation", _augmentation(dls.settings.augment)))
    return rows


def _augmentation(augment: Any) -> str:
    if isinstance(augment, str):
        return augment
    if isinstance(augment, bool):
        return "default" if augment else "none"
    return ", ".join(called(change) for change in augment) or "none"


def _described(thing: Any) -> str:
    return thing if isinstance(thing, str) else called(thing)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _metric_names(rows: Sequence[Mapping[str, float]]) -> list[str]:
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(name for name in row if name not in WORDLESS)
    return list(found)
