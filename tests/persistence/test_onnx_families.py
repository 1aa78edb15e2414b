"""Every family of networks as ONNX, in channels first and last memory."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from learnkit.data.image.preprocess import IMAGENET, Normalize, Preprocess
from learnkit.data.image.resize import Resize
from learnkit.models.build import build_cnn
from learnkit.persistence.export import export
from learnkit.persistence.spec import ExportSpec

pytest.importorskip("onnxruntime")

FAMILIES = {
    "resnet18": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64, "convnext_tiny": 64, "vit_b_16": 224, "swin_t": 64,
    "densenet121": 64, "squeezenet1_1": 64,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), FAMILIES.items())
def test_every_family_returns_the_same_numbers_in_onnxruntime(name: str, size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_cnn(name, 5, pretrained=False, image_size=(size, size)).model.eval()
    preprocess = Preprocess(Resize((size, size)), Normalize(*IMAGENET))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.train().momentum = None  # signals neither fade nor grow
    with torch.no_grad():
        model(preprocess.batch(torch.randint(0, 256, (32, 3, size, size), dtype=torch.uint8)))
    model.to(memory_format=torch.channels_last)
    path = export(tmp_path / name, ExportSpec(model, (3, size, size), None, preprocess), "onnx", preprocessing=True)
    facts = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    assert facts["parity"]["max_abs_output"] > 0.05
    assert facts["parity"]["max_abs_diff"] <= 1e-4 * max(1, facts["parity"]["max_abs_output"])
    assert b"site-packages" not in path.read_bytes()
