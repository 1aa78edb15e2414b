"""The part of a manifest about weights that are not in the file, as they are published or the user has them; and back.

The SHA-256 of these weights decides whether others are the same.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from learnkit.errors import MissingModelError, UsageError
from learnkit.json_fields import Fields, JsonObject, brief, corrupt
from learnkit.models.lora import name_without_adapter
from learnkit.models.pretrained import Weights
from learnkit.models.pretrained_cfg import published_name
from learnkit.models.spec import BackboneSpec
from learnkit.persistence.base_weights import OWN, BaseWeights
from learnkit.persistence.lk.tensors import plain_tensors, tensors_sha256

__all__ = ["LORA", "base_from_json", "base_to_json", "left_out", "read_base", "takes_base"]

LORA = "lora"  # in `requires`: a network with adapters, perhaps without what is beside them
BASE = "base"


def base_to_json(base: BaseWeights | None, model: nn.Module) -> JsonObject:
    """The part `base`: where the weights come from that are not in the file, and their digest; none without a base."""
    if base is None:
        return {}
    state = model.state_dict()
    kept = plain_tensors({name: state[name] for name in base.unchanged(state)})
    return {BASE: {"weights": base.source or OWN, "sha256": tensors_sha256(kept)}}


def left_out(manifest: JsonObject, base: BaseWeights | None, model: nn.Module) -> Collection[str]:
    """The names in a state dict of the weights that the file of this manifest is without."""
    return [] if base is None or BASE not in manifest else base.unchanged(model.state_dict())


def takes_base(manifest: JsonObject) -> bool:
    """Whether a file is without the weights beside its adapters."""
    return BASE in manifest


def base_from_json(manifest: JsonObject, model: nn.Module, held: Collection[str]) -> BaseWeights | None:
    """The base of a model from a file that is without it; None for another file.

    Args:
        manifest: of the file; its base was read.
        model: with all weights.
        held: the names of those in the file.
    """
    if BASE not in manifest:
        return None
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in held}
    return BaseWeights.of(state, manifest[BASE]["weights"])


def read_base(
    manifest: JsonObject, path: Path, backbone: BackboneSpec, missing: Collection[str], weights: Weights | None
) -> dict[str, Tensor]:
    """The weights that a file is without, by their names in the network with adapters.

    Args:
        manifest: of the file.
        path: the file.
        backbone: the network with adapters.
        missing: the names of these weights.
        weights: a file or a state dict that has them; None to fetch the published ones.

    Raises:
        MissingModelError: weights that are not published, and no `weights`.
        UsageError: other weights than those that the adapters were trained with.
        DownloadError: published weights that could not be fetched.
        MissingFileError, CorruptFileError, UnsafeFileError: a file of weights that cannot be used.
    """
    fields = Fields(manifest, "the manifest", path).part(BASE, ("weights", "sha256"))
    source, wanted = fields.string("weights", 200), fields.string("sha256", 64)
    if source != OWN and published_name(backbone.base_arch, source) != source:  # not a path from a file
        raise corrupt(path, "the manifest base weights", got=brief(source), expected="the name of published weights")
    if weights is None and source == OWN:
        raise MissingModelError(
            f"{path} holds adapters without the weights of {backbone.name} that they were trained with, from a file "
            "or a state dict",
            fix="Pass these: load_learner(file, weights=...). A file of export(..., merge=True) has all weights in it.",
        )
    chosen = source if weights is None else weights
    plain = replace(backbone, lora=None).build(weights=chosen, init=None).model.state_dict()
    names = {name: name_without_adapter(name) for name in missing}
    if unknown := sorted(name for name, own in names.items() if own not in plain):
        raise corrupt(path, f"the tensor {unknown[0]} is missing")
    found = {name: plain[own] for name, own in names.items()}
    if tensors_sha256(plain_tensors(found)) != wanted:
        given = f"the published weights {source!r} of {backbone.name}" if weights is None else "the given weights"
        raise UsageError(
            f"{path}: its adapters were trained with other weights of {backbone.name} than {given}",
            fix="Pass those: load_learner(file, weights=...).",
        )
    return found
