"""How familiar an item is: whether a model has seen its like, or the right answer is "none of these".

Two signs, which fail on different items, are added in units of their standard deviation over the validation set, each
with at most 2 of these in favor, so that neither hides the other:

* the energy of the raw outputs, log sum exp (Liu et al., Energy-based out-of-distribution detection, 2020); for several
  labels the sum of log(1 + exp) of each (Wang et al., Can multi-label classification networks know what they don't
  know?, 2021);
* how far the features that the head gets are from the subspace that holds the features of the training items: the norm
  of what is left of them, at length 1, without their principal directions (Wang et al., ViM: Out-of-distribution with
  virtual-logit matching, 2022).

An item is familiar if its score is at least that of 5 % of the validation set.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from learnkit.errors import DataError, UsageError

__all__ = ["KEPT", "MAX_ITEMS", "EnergyKind", "Familiarity", "Scale", "Subspace", "energy", "fit_familiarity"]

KEPT = 0.95  # share of the validation set that is familiar
MAX_ITEMS = 4096  # training items that the subspace is made of
MAX_DIRECTIONS = 64
MOST = 2.0  # deviations in favor of an item
MAX_NUMBERS = 1 << 20  # in the kept directions: 4 MB

EnergyKind = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a sign over the validation set."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Tensor) -> "Scale":
        """Those of values (N,); a sign that is always the same has a deviation of 1."""
        std = float(values.std(correction=0))
        return cls(float(values.mean()), std if std > 0 else 1.0)

    def __call__(self, values: Tensor) -> Tensor:
        """Values in deviations above the mean, at most `MOST`."""
        return ((values - self.mean) / self.std).clamp(max=MOST)


@dataclass(frozen=True, eq=False)  # tensors have no single truth value
class Subspace:
    """The principal directions of features at length 1.

    Attributes:
        center: their mean, float32 (D,).
        directions: orthonormal columns, float32 (D, k).
    """

    center: Tensor
    directions: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Subspace":
        """The subspace of features (N, D): at most 64 directions, half as many as there are items or features.

        Fewer for more than 16,384 features: the directions never hold more than 2^20 numbers, 4 MB.
        """
        x = F.normalize(features.double(), dim=1)
        n, d = x.shape
        k = max(1, min(MAX_DIRECTIONS, n // 2, d // 2, MAX_NUMBERS // d))
        center = x.mean(0)
        directions = torch.linalg.svd(x - center, full_matrices=False).Vh[:k].T
        return cls(center.float(), directions.float().contiguous())

    def distance(self, features: Tensor) -> Tensor:
        """How far features (N, D) at length 1 are from it, float64 (N,).

        Raises:
            UsageError: other features than those of (D,) that it is made of.
        """
        if features.shape[1:] != self.center.shape:
            raise UsageError(
                "familiarity: the numbers that the head gets for an item", got=tuple(features.shape[1:]),
                expected=str(tuple(self.center.shape)), fix="Call learn.fit_conformal() again.",
            )  # fmt: skip
        x = F.normalize(features.double(), dim=1) - self.center.double()
        inside = x @ self.directions.double()
        return (x.square().sum(1) - inside.square().sum(1)).clamp(min=0).sqrt()


@dataclass(frozen=True, eq=False)
class Familiarity:
    """The signs of familiarity, and from where on an item is familiar.

    Attributes:
        threshold: of the sum of the signs.
        n: items it was fitted on.
        energy_kind: of the raw outputs; None for numbers, whose size says nothing, and for several outputs.
        energy_scale: of the energy.
        subspace: of the features; None where the head does not stand apart from the body.
        distance_scale: of the negative distance.
    """

    threshold: float
    n: int
    energy_kind: EnergyKind | None = None
    energy_scale: Scale | None = None
    subspace: Subspace | None = None
    distance_scale: Scale | None = None

    def scores(self, raw: Any, features: Tensor | None) -> Tensor:
        """How familiar items are, float64 (N,): 0 or more is familiar.

        Args:
            raw: outputs before the activation, (N, C); not read without an energy.
            features: what the head gets, (N, D); not read without a subspace.

        Raises:
            UsageError: several outputs where the energy is that of one, or other features.
        """
        total: Tensor | float = -self.threshold
        if self.energy_kind is not None and self.energy_scale is not None:
            if not isinstance(raw, Tensor):
                raise UsageError(
                    "familiarity: the raw outputs", got=type(raw).__name__, expected="one tensor (N, C), as fitted",
                    fix="Call learn.fit_conformal() again.",
                )  # fmt: skip
            total = total + self.energy_scale(energy(raw, self.energy_kind))
        if features is not None and self.subspace is not None and self.distance_scale is not None:
            total = total + self.distance_scale(-self.subspace.distance(features))
        assert isinstance(total, Tensor)  # there is an energy or a subspace
        return total


def energy(raw: Tensor, kind: EnergyKind) -> Tensor:
    """The negative free energy of raw outputs (N, C), float64 (N,): the higher, the more familiar.

    >>> energy(torch.zeros(1, 2), "softmax").exp(), energy(torch.zeros(1, 2), "sigmoid").exp()
    (tensor([2.], dtype=torch.float64), tensor([4.], dtype=torch.float64))
    """
    raw = raw.double()
    if kind == "softmax":
        return raw.logsumexp(1)
    return torch.stack([raw, torch.zeros_like(raw)], -1).logsumexp(-1).sum(1)  # onnxruntime has no softplus in float64


def fit_familiarity(raw: Tensor | None, features: Tensor, known: Tensor, kind: EnergyKind | None) -> Familiarity | None:
    """Signs and threshold; None where there is neither an energy nor features.

    Args:
        raw: outputs before the activation of items the model was not trained on, (N, C); None for several, which have
            no energy.
        features: what the head gets for them, (N, D); D is 0 where it does not stand apart.
        known: what it gets for training items, (M, D).
        kind: of the energy; None for numbers.

    Raises:
        DataError: outputs or features that are nan or infinite.
    """
    total, energy_scale, subspace, distance_scale = torch.zeros(len(features), dtype=torch.float64), None, None, None
    for what, part in (("outputs", raw), ("features", features), ("features of training items", known)):
        if part is not None and not bool(part.isfinite().all()):
            raise DataError(f"familiarity: {what} that are nan or infinite", fix="Look at the weights of the model.")
    if kind is not None and raw is not None:
        energies = energy(raw, kind)
        energy_scale = Scale.of(energies)
        total = total + energy_scale(energies)
    if len(known) > 1 and known.shape[1] > 1:
        subspace = Subspace.of(known)
        nearness = -subspace.distance(features)
        distance_scale = Scale.of(nearness)
        total = total + distance_scale(nearness)
    if energy_scale is None and subspace is None:
        return None
    rank = max(1, int((1 - KEPT) * (len(total) + 1) + 1e-9))  # so that a new item is above it with 95 %
    threshold = float(total.kthvalue(rank).values)
    kind = None if energy_scale is None else kind
    return Familiarity(threshold, len(total), kind, energy_scale, subspace, distance_scale)
