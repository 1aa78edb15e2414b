"""Graphs that are joined compute one after the other, also where the first has branches."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.data.image.resize import Resize
from learnkit.models.head import AdaptiveConcatPool2d
from learnkit.persistence.deploy.onnx_graph import annotate, graph_of, joined, runner
from learnkit.persistence.deploy.resizing import ResizeImages
from tests.doubles import slow

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Halves(nn.Module):
    """(N, C, H, W) in uint8 -> the same in float32, divided by two."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float() / 2


@pytest.mark.slow
def test_a_joined_graph_takes_any_size_and_names_it() -> None:
    resize, images = ResizeImages(Resize((9, 12), "squish")), torch.zeros(2, 20, 31, 3, dtype=torch.uint8)
    model = joined(graph_of(resize, images, ("batch", "height", "width")), graph_of(Halves(), resize(images)), "half/")
    annotate(model, {"about": {"n": 2}}, ("batch", "height", "width"))
    onnx.checker.check_model(model, full_check=True)
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", "height", "width", 3,
    ]  # fmt: skip
    assert {prop.key: prop.value for prop in model.metadata_props} == {"about": '{"n": 2}'}
    assert ([one.name for one in model.graph.input], [one.name for one in model.graph.output]) == (
        ["input"],
        ["output"],
    )
    run = runner(model)
    for shape in ((3, 40, 11, 3), (1, 5, 90, 3), (1, 90, 13, 3)):
        x = torch.randint(0, 256, shape, dtype=torch.uint8)
        assert torch.equal(run(x), resize(x).float() / 2)
    assert b"site-packages" not in model.SerializeToString()


class Largest(nn.Module):
    """Max pooling as a function: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_max_pool2d(x, 1).flatten(1)


@pytest.mark.parametrize(
    "pool",
    [AdaptiveConcatPool2d(), slow(nn.AdaptiveMaxPool2d((1, 1))), slow(Largest())],
    ids=["concat", "layer", "function"],
)
def test_max_pooling_to_one_feature_is_a_maximum(pool: nn.Module) -> None:
    """As torch 2.11 writes no other form of it."""
    network, x = nn.Sequential(nn.Conv2d(3, 4, 3), pool, nn.Flatten()).eval(), torch.randn(3, 3, 8, 8)
    graph = graph_of(network, x)
    assert "ReduceMax" in {node.op_type for node in graph.graph.node}
    torch.testing.assert_close(runner(graph.SerializeToString())(x), network(x))
