"""Familiarity in exports for other programs: a second output of the network, from the same pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from learnkit.certainty.familiarity import KEPT, Familiarity, Subspace
from learnkit.persistence.spec import ExportSpec

__all__ = ["FAMILIARITY", "OUTPUT", "FamiliarityScore", "familiarity_facts", "has_familiarity", "output_names",
           "picked", "without_familiarity"]  # fmt: skip

OUTPUT, FAMILIARITY = OUTPUTS = ("output", "familiarity")


class FamiliarityScore(nn.Module):
    """`Familiarity.scores` of raw outputs (N, ...), or several, and features (N, D): float32 (N,), by float64."""

    def __init__(self, familiarity: Familiarity) -> None:
        super().__init__()
        self._familiarity = familiarity
        if (subspace := familiarity.subspace) is not None:
            self.register_buffer("center", subspace.center.cpu())
            self.register_buffer("directions", subspace.directions.cpu())

    def forward(self, raw: Any, features: Tensor | None) -> Tensor:
        raw = raw.float().reshape(raw.shape[0], -1) if isinstance(raw, Tensor) else raw
        familiarity = self._familiarity
        if features is None:
            return familiarity.scores(raw, None).float()
        subspace = Subspace(self.get_buffer("center"), self.get_buffer("directions"))
        return replace(familiarity, subspace=subspace).scores(raw, features).float()


def has_familiarity(spec: ExportSpec) -> bool:
    """Whether familiarity was fitted for this model."""
    return spec.certainty is not None and spec.certainty.familiarity is not None


def without_familiarity(spec: ExportSpec) -> ExportSpec:
    """The spec with the sets alone."""
    if spec.certainty is None:
        return spec
    return replace(spec, certainty=replace(spec.certainty, familiarity=None, layer=None))


def output_names(spec: ExportSpec) -> tuple[str, ...]:
    """The names of the outputs of an exported file, in their order."""
    return OUTPUTS if has_familiarity(spec) else (OUTPUT,)


def picked(run: Callable[[Tensor], Any], name: str) -> Callable[[Tensor], Tensor]:
    """One output of a network that returns a tensor, or several in the order of `output_names`."""

    def one(inputs: Tensor) -> Tensor:
        found = run(inputs)
        output: Tensor = found if isinstance(found, Tensor) else found[OUTPUTS.index(name)]
        return output

    return one


def familiarity_facts(spec: ExportSpec) -> dict[str, Any]:
    """The part `familiarity` of a description; none without it."""
    if spec.certainty is None or spec.certainty.familiarity is None:
        return {}
    facts = {"name": FAMILIARITY, "type": "float32", "shape": ["batch"], "familiar_from": 0.0, "share": KEPT}
    return {"familiarity": {**facts, "n": spec.certainty.familiarity.n}}
