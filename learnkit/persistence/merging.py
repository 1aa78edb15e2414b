"""The form in which a model with adapters is exported: these alone, or multiplied into its weights."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from learnkit.checks import check_kind
from learnkit.errors import UsageError
from learnkit.models.lora import has_peft_layers, merge_adapters
from learnkit.persistence.base_weights import RANDOM
from learnkit.persistence.setup import TrainingSetup
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model
from learnkit.training.weights import copied

__all__ = ["chosen_form", "is_adapted", "merged", "whole"]


def chosen_form(spec: ExportSpec, merge: bool | None) -> ExportSpec:
    """The spec as it is to be written.

    Args:
        spec: of a model, perhaps with adapters.
        merge: True for a model without adapters that computes the same; False for the adapters without the weights of a
            network that `cnn_learner(lora=)` built; None for False, except that a network whose weights were random,
            and are nowhere else, is written merged.

    Raises:
        UsageError: True for a model without adapters; False for one that was not built with `lora=`.
    """
    check_kind("merge", merge, bool | None, "True, False or None")
    if merge is None:
        return whole(spec) if spec.base is not None and spec.base.source is RANDOM else spec
    if not merge and not is_adapted(spec):
        raise UsageError("merge", got=merge, expected="None for a model that cnn_learner(lora=...) did not build")
    return merged(spec) if merge else spec


def whole(spec: ExportSpec) -> ExportSpec:
    """The spec with all weights: merged, if it is one of adapters."""
    return merged(spec) if is_adapted(spec) else spec


def is_adapted(spec: ExportSpec) -> bool:
    """Whether the network was built with adapters."""
    return spec.backbone is not None and spec.backbone.lora is not None


def merged(spec: ExportSpec) -> ExportSpec:
    """The spec of a copy of the model with the adapters of PEFT multiplied into its weights.

    Raises:
        UsageError: no layer is PEFT's.
    """
    model = plain_model(spec.model)
    if not has_peft_layers(model):
        raise UsageError("merge", got=True, expected="None for a model without adapters")
    adapted = copied(model)
    places = {id(parameter): place for place, parameter in enumerate(adapted.parameters())}
    certainty = spec.certainty
    of_head = (
        [] if certainty is None or certainty.layer is None else [*adapted.get_submodule(certainty.layer).modules()]
    )
    plain = merge_adapters(adapted)
    if certainty is not None and of_head:
        certainty = replace(certainty, layer=_first_name(plain, of_head))
    backbone = None if spec.backbone is None else replace(spec.backbone, lora=None)
    setup = None if spec.setup is None else _setup_of(spec.setup, [places.get(id(p)) for p in plain.parameters()])
    return replace(spec, model=plain, backbone=backbone, setup=setup, base=None, certainty=certainty)


def _first_name(model: nn.Module, layers: Sequence[nn.Module]) -> str:
    """The name of the first of these layers, such as that without an adapter, that is in a model."""
    names: dict[nn.Module, str] = {layer: name for name, layer in model.named_modules()}
    return next(names[layer] for layer in layers if layer in names)


def _setup_of(setup: TrainingSetup, places: Sequence[int | None]) -> TrainingSetup | None:
    """The setup of the parameters at these places in it; None if one has none."""
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        return None
    return replace(
        setup,
        groups=tuple(setup.groups[place] for place in known),
        trained=tuple(setup.trained[place] for place in known),
    )
