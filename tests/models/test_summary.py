"""The table of a model's layers."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from learnkit.errors import UsageError
from learnkit.models.summary import model_summary
from tests.doubles import refused


def small() -> nn.Sequential:
    """Parameters: 4 * 3 * 9 + 4 = 112, 8, none, none, 4 * 4 * 4 * 2 + 2 = 130."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 2)
    )


def test_every_layer_has_its_shape_and_parameters() -> None:
    summary = model_summary(small(), (3, 8, 8))
    assert [(row.name, row.layer, row.output, row.n_params) for row in summary.rows] == [
        ("0", "Conv2d", "N x 4 x 8 x 8", 112),
        ("1", "BatchNorm2d", "N x 4 x 8 x 8", 8),
        ("2", "MaxPool2d", "N x 4 x 4 x 4", 0),
        ("3", "Flatten", "N x 64", 0),
        ("4", "Linear", "N x 2", 130),
    ]
    assert (summary.n_params, summary.n_trainable) == (250, 250)


def test_sizes_are_for_one_item() -> None:
    summary = model_summary(small(), (3, 8, 8))
    assert summary.input_mb == pytest.approx(3 * 64 * 4 / 1e6)
    assert summary.output_mb == pytest.approx((256 + 256 + 64 + 64 + 2) * 4 / 1e6)
    assert summary.params_mb == pytest.approx((250 * 4 + 8 * 4 + 8) / 1e6)  # and the batch norm's buffers


def test_the_trainable_parameters_of_each_layer_are_counted() -> None:
    model = small()
    model[0].requires_grad_(False)
    summary = model_summary(model, (3, 8, 8))
    assert (summary.n_params, summary.n_trainable) == (250, 138)
    assert "of them trainable 138, frozen 112" in str(summary)
    assert [line.split()[-1] for line in str(summary).splitlines()[2:4]] == ["0", "8"]  # of 112 and of 8


def test_an_interactive_session_shows_the_text() -> None:
    summary = model_summary(small(), (3, 8, 8))
    assert repr(summary) == str(summary)


def test_the_totals_of_resnet18_are_the_known_ones() -> None:
    summary = model_summary(torchvision.models.resnet18(), (3, 64, 64))
    assert summary.n_params == 11_689_512 == sum(row.n_params for row in summary.rows)


def test_the_model_is_not_changed() -> None:
    model = small().train()
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    model_summary(model, (3, 8, 8))
    assert [layer.training for layer in model] == [True, False, True, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not model[0]._forward_hooks


def test_parameters_of_the_model_itself_are_counted() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.inner = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) * self.scale  # type: ignore[no-any-return]

    summary = model_summary(Scaled(), (3,))
    assert [(row.name, row.n_params) for row in summary.rows] == [("inner", 12), ("(whole)", 3)]


def test_it_is_a_table_in_a_notebook_and_a_frame() -> None:
    class Loud(nn.ReLU):
        pass

    Loud.__name__ = "Re<LU>"
    summary = model_summary(nn.Sequential(nn.Linear(2, 2), Loud()), (2,))
    html = summary._repr_html_()
    assert html.count("<tr>") == 3
    assert "Re&lt;LU&gt;" in html
    assert summary.frame()["n_params"].tolist() == [6, 0]


@pytest.mark.parametrize("shape", [(), (0, 3), "3x8", 8, (3.0, 8)])
def test_a_wrong_shape_is_refused(shape: object) -> None:
    with refused("input_shape", got=shape, expected="the shape of one item"):
        model_summary(small(), shape)  # type: ignore[arg-type]


def test_a_model_that_does_not_run_is_named() -> None:
    model = small()
    with pytest.raises(UsageError, match=r"Sequential does not run on an item of shape \(1, 8, 8\) \(RuntimeError: "):
        model_summary(model, (1, 8, 8))
    assert model.training
    assert not model[0]._forward_hooks


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_model_says_that_it_shows_no_layers() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(UsageError, match="does not show its outputs"):
        model_summary(scripted, (2,))
