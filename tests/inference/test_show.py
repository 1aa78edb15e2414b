"""Which items are shown; tests/learner covers what is drawn."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit import DatasetType, ImageDataBunch
from learnkit.device import Compute
from learnkit.errors import DataError
from learnkit.inference import show
from learnkit.plots.layout import grid_of
from tests.doubles import linear_learner, refused

CPU = Compute(torch.device("cpu"))


def shown(dls: Any, rows: Any, model: nn.Module | None = None) -> Any:
    return show.show_predictions(model or nn.Flatten(), dls, DatasetType.Valid, CPU, nn.Identity(), grid_of(rows))


@pytest.mark.parametrize(("rows", "items"), [(1, [0]), (2, [0, 4, 7, 11]), (9, list(range(12)))])
def test_items_are_evenly_spaced(
    rows: int, items: list[int], class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dls = ImageDataBunch.from_folder(class_folder, size=8, bs=5, normalize=None, num_workers=0)
    drawn: dict[str, Any] = {}

    def draw(images: Any, preds: Tensor, targets: Tensor, task: Any, columns: int, figsize: None) -> str:
        drawn.update(preds=preds, targets=targets, columns=columns, n=len(images))
        return "figure"

    monkeypatch.setattr(show, "draw_results", draw)
    assert shown(dls, rows) == "figure"
    x, y = (torch.cat(parts) for parts in zip(*dls.valid_dl, strict=True))
    torch.testing.assert_close(drawn["preds"], x[items].flatten(1))
    assert drawn["targets"].tolist() == y[items].tolist()
    assert (drawn["columns"], drawn["n"]) == (min(rows, len(items)), len(items))


def test_what_cannot_be_shown_is_refused(blobs: tuple[Tensor, ...]) -> None:
    dls = linear_learner(blobs).dls
    for rows in (0, -1, 1.5, True):
        with refused("rows", got=rows):
            linear_learner(blobs).show_results(rows=rows)
    dls.task = None
    with refused("show_results: the data has no task"):
        shown(dls, 1)


def test_an_empty_set_is_refused(blobs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    dls = linear_learner(blobs).dls
    monkeypatch.setattr(dls, "ordered_dl", lambda ds_type: SimpleNamespace(n_items=0))
    with pytest.raises(DataError, match="no items to show"):
        shown(dls, 1)
