"""What `fit_conformal` fits, as numbers for a manifest and tensors for a file of weights, and back."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learnkit.certainty.conformal import METHODS, ClassSets, Conformal, Intervals, LabelSets
from learnkit.certainty.familiarity import MAX_DIRECTIONS, Familiarity, Scale, Subspace
from learnkit.json_fields import Fields, JsonObject, corrupt

__all__ = ["TENSORS", "FittedCertainty", "fitted_from_json", "sets_to_json"]

PREFIX = "learnkit/certainty/"  # no name of a layer
CENTER, DIRECTIONS = TENSORS = (f"{PREFIX}center", f"{PREFIX}directions")
MAX_ITEMS = 1 << 40
MAX_NUMBER = 1e300
MAX_NAME = 500  # characters
KINDS: dict[type, str] = {ClassSets: "classes", LabelSets: "labels", Intervals: "intervals"}


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class FittedCertainty:
    """Sets or intervals with a stated coverage, and familiarity.

    Attributes:
        conformal: the sets.
        familiarity: None where nothing tells it.
        layer: the name of the layer whose input are the features; None without features.
    """

    conformal: Conformal
    familiarity: Familiarity | None = None
    layer: str | None = None

    def to_json(self) -> JsonObject:
        """In plain types, without the tensors."""
        content: JsonObject = {"sets": sets_to_json(self.conformal)}
        if (familiar := self.familiarity) is not None:
            content["familiarity"] = {"threshold": familiar.threshold, "n": familiar.n}
            if familiar.energy_scale is not None:
                content["familiarity"]["energy"] = {"kind": familiar.energy_kind, **asdict(familiar.energy_scale)}
            if familiar.distance_scale is not None:
                content["familiarity"]["distance"] = {"layer": self.layer, **asdict(familiar.distance_scale)}
        return content

    def tensors(self) -> dict[str, Tensor]:
        """By the names in `TENSORS`; none without a subspace."""
        subspace = None if self.familiarity is None else self.familiarity.subspace
        return {} if subspace is None else {CENTER: subspace.center, DIRECTIONS: subspace.directions}


def sets_to_json(sets: Conformal) -> JsonObject:
    """Sets in plain types; `kind` is "classes", "labels" or "intervals"."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(sets).items()}
    return {"kind": KINDS[type(sets)], **fields}


def fitted_from_json(content: Any, tensors: Mapping[str, Tensor], n_out: int, path: Path | str) -> FittedCertainty:
    """Back from `to_json` and `tensors`.

    Args:
        content: the parsed JSON.
        tensors: those of a file with the names in `TENSORS`.
        n_out: outputs of the model.
        path: the file.

    Raises:
        CorruptFileError: values out of bounds, or tensors that do not fit them.
        MissingModelError: fields of a later learnkit.
    """
    fields = Fields(content, "certainty", path)
    fields.only(("sets", "familiarity"))
    familiar = _familiarity(fields.part("familiarity"), tensors) if "familiarity" in fields.content else None
    layer = None
    if familiar is not None and familiar.subspace is not None:
        layer = fields.part("familiarity").part("distance").string("layer", MAX_NAME)
    return FittedCertainty(_sets(fields.part("sets"), n_out), familiar, layer)


def _sets(fields: Fields, n_out: int) -> Conformal:
    kind, alpha = fields.choice("kind", KINDS.values()), fields.number("alpha", 1e-9, 1 - 1e-9)
    if kind == "classes":
        fields.only(("kind", "alpha", "method", "threshold", "n", "penalty", "n_free"))
        return ClassSets(
            alpha, fields.choice("method", METHODS), fields.number("threshold", -1, MAX_NUMBER),
            fields.integer("n", 1, MAX_ITEMS), fields.number("penalty", 0, MAX_NUMBER),
            fields.integer("n_free", 0, MAX_ITEMS),
        )  # fmt: skip
    counts = fields.integers("counts", (n_out,), 0, MAX_ITEMS)
    if kind == "labels":
        fields.only(("kind", "alpha", "thresholds", "counts"))
        return LabelSets(alpha, fields.numbers("thresholds", n_out, -1, 2), counts)
    fields.only(("kind", "alpha", "radii", "counts"))
    return Intervals(alpha, fields.numbers("radii", n_out, 0, MAX_NUMBER), counts)


def _familiarity(fields: Fields, tensors: Mapping[str, Tensor]) -> Familiarity:
    fields.only(("threshold", "n", "energy", "distance"))
    kind = energy_scale = subspace = distance_scale = None
    if "energy" in fields.content:
        energy = fields.part("energy", ("kind", "mean", "std"))
        kind, energy_scale = energy.choice("kind", ("softmax", "sigmoid")), _scale(energy)
    if "distance" in fields.content:
        distance_scale = _scale(fields.part("distance", ("layer", "mean", "std")))
        subspace = _subspace(tensors, fields.path)
    if energy_scale is None and subspace is None:
        raise corrupt(fields.path, "familiarity", got="neither energy nor distance", expected="one of them, or both")
    return Familiarity(
        fields.number("threshold", -MAX_NUMBER, MAX_NUMBER), fields.integer("n", 1, MAX_ITEMS),
        kind, energy_scale, subspace, distance_scale,  # type: ignore[arg-type]
    )  # fmt: skip


def _scale(fields: Fields) -> Scale:
    return Scale(fields.number("mean", -MAX_NUMBER, MAX_NUMBER), fields.number("std", 1e-300, MAX_NUMBER))


def _subspace(tensors: Mapping[str, Tensor], path: Path | str) -> Subspace:
    if set(tensors) != set(TENSORS):
        raise corrupt(path, "the tensors of certainty", got=sorted(tensors), expected=" and ".join(TENSORS))
    center, directions = tensors[CENTER], tensors[DIRECTIONS]
    shapes = tuple(center.shape), tuple(directions.shape)
    fits = center.ndim == 1 and directions.ndim == 2 and len(center) == len(directions)
    if (
        not fits
        or not 1 <= directions.shape[1] <= MAX_DIRECTIONS
        or {center.dtype, directions.dtype} != {torch.float32}
    ):
        raise corrupt(path, "the tensors of certainty: the shapes", got=shapes, expected="float32 (D,) and (D, k)")
    if not bool(center.isfinite().all() and directions.isfinite().all()):
        raise corrupt(path, "the tensors of certainty: nan or infinite numbers")
    return Subspace(center, directions)
