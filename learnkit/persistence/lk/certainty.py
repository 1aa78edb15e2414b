"""The part of a manifest about how sure answers are, read for a task."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from learnkit.certainty.conformal import ClassSets, Intervals, LabelSets
from learnkit.certainty.fitted import FittedCertainty, fitted_from_json
from learnkit.data.tasks import Classification, MultiLabel, Regression, Task
from learnkit.json_fields import JsonObject, corrupt

__all__ = ["certainty_from_json"]

SETS_OF: dict[type, type] = {Classification: ClassSets, MultiLabel: LabelSets, Regression: Intervals}


def certainty_from_json(
    manifest: JsonObject, tensors: Mapping[str, Tensor], task: Task | None, path: Path | str
) -> FittedCertainty | None:
    """What `fit_conformal` fitted, for a model of this task; None for a file that says nothing.

    Args:
        manifest: of the file.
        tensors: those of the file with the names in `learnkit.certainty.fitted.TENSORS`.
        task: of the file.
        path: the file.

    Raises:
        CorruptFileError: values out of bounds, tensors that do not fit them, or sets of another kind of task.
        MissingModelError: fields of a later learnkit.
    """
    if "certainty" not in manifest:
        return None
    fitted = fitted_from_json(manifest["certainty"], tensors, 0 if task is None else task.n_out, path)
    if type(fitted.conformal) is not SETS_OF.get(type(task)):
        got, kind = type(fitted.conformal).__name__, "none" if task is None else type(task).__name__
        raise corrupt(path, "certainty: the sets", got=got, expected=f"those of the task, {kind}")
    return fitted
