"""The part of a manifest about weights that are not in the file; test_merging.py has whole files."""

from pathlib import Path

import pytest
import torch
from torch import nn

from learnkit.errors import CorruptFileError, MissingModelError
from learnkit.models import BackboneSpec
from learnkit.persistence.base_weights import RANDOM, BaseWeights
from learnkit.persistence.lk.base import base_from_json, base_to_json, left_out, read_base, takes_base


def test_the_part_names_the_source_and_what_is_left_out() -> None:
    model = nn.Linear(2, 2)
    base = BaseWeights.of({"weight": model.weight}, "IMAGENET1K_V1")
    manifest = base_to_json(base, model)
    assert takes_base(manifest)
    assert manifest["base"]["weights"] == "IMAGENET1K_V1"
    assert left_out(manifest, base, model) == ["weight"]
    again = base_from_json(manifest, model, ["bias"])
    assert again == base
    with torch.no_grad():
        model.weight += 1
    assert left_out(manifest, base, model) == []
    assert base_to_json(base, model)["base"]["sha256"] != manifest["base"]["sha256"]
    assert base_to_json(None, model) == {}
    assert not takes_base({})
    assert left_out({}, base, model) == []
    assert base_from_json({}, model, []) is None


def test_a_source_that_is_a_path_is_refused_and_one_without_a_name_asks_for_weights() -> None:
    spec, path = BackboneSpec("resnet18", 2, lora=2), Path("m.lk")
    part = {"base": {"weights": "../other.pth", "sha256": "0" * 64}}
    with pytest.raises(CorruptFileError, match=r"got '../other.pth', expected the name of published weights"):
        read_base(part, path, spec, [], None)
    own = base_to_json(BaseWeights.of({}, RANDOM), nn.Linear(2, 2))
    with pytest.raises(MissingModelError, match="holds adapters without the weights of resnet18"):
        read_base(own, path, spec, [], None)
