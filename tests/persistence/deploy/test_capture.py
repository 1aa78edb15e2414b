"""What every exporter does: the graph, the comparison, and two files or none."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learnkit.errors import ExportError
from learnkit.persistence.deploy.capture import check_parity, export_graph, json_text, quiet
from learnkit.persistence.export import export
from learnkit.persistence.spec import ExportSpec

INPUTS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def test_what_was_compared_is_reported() -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([5.0, -7.0]))
        report = check_parity(model, lambda x: model(x) + 1e-5, INPUTS)
    assert (report["inputs"], report["batch_sizes"], report["tolerance"]) == (8, [1, 8], 1e-4)
    assert report["max_abs_diff"] == pytest.approx(1e-5, rel=0.1)
    assert report["max_abs_output"] == 7.0


@pytest.mark.parametrize(
    ("largest", "gap", "is_fine"), [(0.5, 0.9e-4, True), (0.5, 1.1e-4, False), (20, 1.9e-3, True), (20, 2.1e-3, False)]
)
def test_a_difference_is_measured_by_the_largest_output(largest: float, gap: float, is_fine: bool) -> None:
    def constant(x: Tensor) -> Tensor:
        return torch.full((len(x), 2), largest, dtype=torch.float64)

    network = nn.Identity()
    network.forward = constant  # type: ignore[method-assign]
    if is_fine:
        check_parity(network, lambda x: constant(x) - gap, INPUTS)
    else:
        with pytest.raises(ExportError) as caught:
            check_parity(network, lambda x: constant(x) - gap, INPUTS)
        assert caught.value.got == pytest.approx(gap, rel=0.01)


def test_infinite_outputs_are_equal_where_both_are() -> None:
    network = nn.Threshold(-9.0, float("inf"))
    report = check_parity(network, lambda x: network(x), INPUTS - 10)
    assert report["max_abs_diff"] == 0
    with pytest.raises(ExportError, match="got inf"):
        check_parity(network, lambda x: x, INPUTS - 10)


def test_an_export_that_fails_for_one_batch_size_is_refused() -> None:
    def fixed(x: Tensor) -> Tensor:
        if len(x) == 1:
            raise RuntimeError("expected a batch of 8")
        return x

    with pytest.raises(ExportError, match=r"fails on a batch of 1 \(RuntimeError: expected a batch of 8\)"):
        check_parity(nn.Identity(), fixed, INPUTS)
    with pytest.raises(ExportError, match=r"for a batch of 1: got \(1, 2\), expected \(1, 3\)"):
        check_parity(nn.Identity(), lambda x: x[:, :2], INPUTS)


def test_what_the_exporters_print_is_not_shown(capfd: Any, logged: list[logging.LogRecord]) -> None:
    with quiet():
        print("step 1")
        logging.getLogger("torch.onnx").warning("slow")
    logging.getLogger("mine").warning("shown")
    assert capfd.readouterr().out == ""
    assert [record.getMessage() for record in logged] == ["shown"]


def test_json_is_utf_8_and_surrogates_are_escaped() -> None:
    assert json_text({"a": "ção", "b": "\udcff"}) == '{"a": "ção", "b": "\\udcff"}'


@pytest.mark.slow
def test_both_files_or_neither(tmp_path: Path, monkeypatch: Any) -> None:
    spec = ExportSpec(nn.Linear(2, 2), (2,))
    (tmp_path / "a.pt2.json").mkdir()  # where the description would go
    with pytest.raises(OSError, match=r"a\.pt2\.json"):
        export(tmp_path / "a", spec, "pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2.json"]

    export(tmp_path / "b", spec, "pt2")
    before = {path: path.read_bytes() for path in tmp_path.glob("b*")}
    real = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export(tmp_path / "b", ExportSpec(nn.Linear(3, 1), (3,)), "pt2")
    monkeypatch.setattr(os, "fsync", real)
    assert calls
    assert {path: path.read_bytes() for path in tmp_path.glob("*b*")} == before


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, torch.ones(2, 3))])
def test_a_torchscript_program_is_refused_with_advice_that_works(make: Any) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    program = nn.Sequential(make(module), nn.Softmax(1)).eval()
    with pytest.raises(ExportError, match=r"is a TorchScript program, .* Export the module"):
        export_graph(program, torch.ones(4, 3))
    module.load_state_dict(program[0].state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(export_graph(module, x).module()(x), module(x))
