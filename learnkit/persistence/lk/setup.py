"""The part of a manifest about how the model was trained, and back."""

from itertools import groupby
from pathlib import Path

from torch import nn

from learnkit.json_fields import Fields, JsonObject, corrupt
from learnkit.persistence.setup import TrainingSetup

__all__ = ["setup_from_json", "setup_to_json"]

NAMES = ("groups", "metrics", "optimizer", "wd", "wd_bn_bias", "train_bn", "lost")
MAX_GROUPS = 10_000
MAX_METRICS = 1000


def setup_to_json(setup: TrainingSetup | None) -> JsonObject:
    """The part `learner`; none without a setup.

    `groups` counts the parameters in their order: [[60, 0, false], [2, 1, true]] are 60 frozen ones of group 0, then
    two of group 1 that are trained.
    """
    if setup is None:
        return {}
    runs = groupby(zip(setup.groups, setup.trained, strict=True))
    learner = {
        "groups": [[len(list(run)), number, is_trained] for (number, is_trained), run in runs],
        "metrics": list(setup.metrics),
        "optimizer": setup.optimizer or "",
        **({} if setup.wd is None else {"wd": float(setup.wd)}),
        "wd_bn_bias": setup.wd_bn_bias,
        "train_bn": setup.train_bn,
        "lost": list(dict.fromkeys(setup.lost)),
    }
    return {"learner": learner}


def setup_from_json(manifest: JsonObject, path: Path | str, model: nn.Module) -> TrainingSetup | None:
    """Back from `setup_to_json`, for the model with its weights; None for a file that says nothing.

    Raises:
        CorruptFileError: values out of bounds, or for another number of parameters.
    """
    if "learner" not in manifest:
        return None
    fields = Fields(manifest, "the manifest", path).part("learner", NAMES)
    runs = fields.value(
        "groups", lambda v: isinstance(v, list) and all(map(_is_run, v)), "a list of [count, group, true or false]"
    )
    n = sum(1 for _ in model.parameters())
    if sum(count for count, _, _ in runs) != n:
        raise corrupt(path, "the manifest learner groups", expected=f"{n} parameters")
    of_each = [(number, is_trained) for count, number, is_trained in runs for _ in range(count)]
    return TrainingSetup(
        tuple(number for number, _ in of_each),
        tuple(is_trained for _, is_trained in of_each),
        fields.strings("metrics", MAX_METRICS),
        fields.string("optimizer") or None,
        fields.number("wd", 0.0, 1e6) if "wd" in manifest["learner"] else None,
        fields.value("wd_bn_bias", _is_flag, "true or false"),
        fields.value("train_bn", _is_flag, "true or false"),
        fields.strings("lost", MAX_METRICS),
    )


def _is_run(run: object) -> bool:
    match run:
        case [int(count), int(number), bool()] if not isinstance(count, bool) and not isinstance(number, bool):
            return count > 0 and 0 <= number < MAX_GROUPS
    return False


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)
