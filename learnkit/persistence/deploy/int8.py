"""Static quantization to 8 bits: calibrated on training items, measured on the validation set."""

import copy
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.checks import missing_extra
from learnkit.errors import ExportError, LearnkitError, warn
from learnkit.metrics.metric import Metric, results
from learnkit.persistence.deploy.capture import description_path, quiet
from learnkit.persistence.deploy.flat_outputs import Flat, tensors_in
from learnkit.persistence.deploy.network import cause_of
from learnkit.persistence.deploy.onnx_graph import graph_of, joined, runner
from learnkit.persistence.deploy.real_data import RealData

__all__ = ["N_CALIBRATION", "changes", "corrected", "quantization_line", "quantized"]

N_CALIBRATION = 128  # training items, evenly spaced; all if there are fewer
MUCH = 0.01  # one point of an accuracy, or of another metric whose higher values are better
MUCH_MORE = 1.1  # times as much of an error, whatever its unit
Run = Callable[[Tensor], Any]


def quantized(model: Any, inputs: Iterable[Tensor]) -> Any:
    """A model whose convolutions and matrix products have weights and inputs of 8 bits, as an onnx.ModelProto.

    Weights are quantized by output channel, to 7 of the 8 bits: sums of two products then fit into the 16 bits that
    processors without VNNI have for them. The range of what is in between is what the inputs made of it.

    Args:
        model: an onnx.ModelProto in float32.
        inputs: batches to calibrate on.

    Raises:
        UsageError: onnxruntime is not complete.
        ExportError: onnxruntime cannot quantize the model, or quantizes nothing in it.
    """
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "onnx") from error

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.inputs = iter(inputs)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.inputs, None)
            return None if batch is None else {"input": batch.numpy()}

    try:
        with tempfile.TemporaryDirectory() as folder, quiet():
            plain, fused, small = (str(Path(folder, f"{name}.onnx")) for name in ("plain", "fused", "small"))
            Path(plain).write_bytes(model.SerializeToString())
            quant_pre_process(plain, fused, skip_symbolic_shape=True)
            quantization.quantize_static(
                fused, small, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True, reduce_range=True,
                activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            )  # fmt: skip
            made = onnx.load(small)
    except LearnkitError:  # of an item that cannot be read
        raise
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot quantize the model ({cause_of(error)})", fix="Export it without quantize=."
        ) from error
    if not any(node.op_type == "DequantizeLinear" for node in made.graph.node):
        raise ExportError(
            "onnxruntime finds nothing in the model to quantize",
            expected="convolutions or matrix products in float32",
            fix="Train a model in float64 in float32, or export it without quantize=.",
        )
    return made


def corrected(model: Any, before: Run, inputs: Iterable[Tensor], flat: Flat) -> Any:
    """The quantized model, as an onnx.ModelProto, with the mean error of each raw output on the inputs taken off.

    Nagel et al., Data-free quantization through weight equalization and bias correction (2019), here of the end alone.

    Args:
        model: an onnx.ModelProto, which is changed; its outputs are (N,) or (N, C, ...). Of several, those without a
            row per input, and those that are not floats, stay as they are.
        before: the model in float32.
        inputs: the batches it was calibrated on.
        flat: the outputs.
    """
    after, n = runner(model), 0
    totals = [torch.zeros((), dtype=torch.float64) for _ in flat.examples]
    for x in inputs:
        n += len(x)
        for place, (expected, found) in enumerate(zip(tensors_in(before(x)), tensors_in(after(x)), strict=True)):
            if flat.free[place] and expected.is_floating_point():
                totals[place] = totals[place] + (expected - found).double().sum(0)
    means = [(total / n).to(one.dtype) for total, one in zip(totals, flat.examples, strict=True)]
    shift = _Shift([_by_class(mean) for mean in means]).eval()
    return joined(model, graph_of(shift, flat.examples, flat.free, flat.names), "shift/")


def _by_class(mean: Tensor) -> Tensor:
    """One number for all positions of a class, of means (C, ...)."""
    return mean.flatten(1).mean(1).view(-1, *[1] * (mean.ndim - 1)) if mean.ndim > 1 else mean


class _Shift(nn.Module):
    """input + by, of each input that has floats."""

    def __init__(self, by: Sequence[Tensor]) -> None:
        super().__init__()
        self.by = nn.ParameterList(nn.Parameter(one, requires_grad=False) for one in by)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(inputs, self.by, strict=True)
        return [one + by if one.is_floating_point() else one.clone() for one, by in pairs]


def changes(before: Run, after: Run, data: RealData, made: Tensor) -> dict[str, Any]:
    """What quantization changed: the metrics on the validation set before and after, and the raw outputs.

    Args:
        before, after: from inputs (N, ...) to raw outputs, one tensor or a structure of several.
        data: its validation set is measured, if it has one with labels.
        made: inputs to compare the outputs on, if it has none.

    Returns:
        `on`, "validation set" or "made inputs"; `items`, how many; `metrics`, of each {"float32": ..., "int8": ...},
        by the type of the outputs before;
        `mean_abs_diff`, `max_abs_diff` and `max_abs_output` of the raw outputs that are floats; of several also one by
        one in their order, as `outputs`.
    """
    batches, targets = data.batches(), None
    first = next(batches, (made, None))
    measured: tuple[list[Metric], list[Metric]] = ([], [])
    items, gaps, plain = 0, list[_Gap](), ""
    for x, targets in chain([first], batches):
        outputs = before(x), after(x)
        floats = _floats(outputs[0]), _floats(outputs[1])
        if not items:
            gaps, plain = [_Gap() for _ in floats[0]], str(floats[0][0].dtype).removeprefix("torch.")
            if isinstance(outputs[0], Tensor) or data.are_chosen:
                measured = _new(data.metrics), _new(data.metrics)
        for metrics, of_one in zip(measured, outputs, strict=True) if targets is not None else ():
            for metric in metrics:
                metric.update(of_one, targets)
        for gap, expected, found in zip(gaps, *floats, strict=True):
            gap.add(expected, found)
        items += len(x)
    return {
        "on": "made inputs" if targets is None else "validation set",
        "items": items,
        "metrics": {} if targets is None else _side_by_side(plain, *measured),
        **_Gap.of_all(gaps).facts,
        **({"outputs": [gap.facts for gap in gaps]} if len(gaps) > 1 else {}),
    }


def _new(metrics: Iterable[Metric]) -> list[Metric]:
    """Copies that have seen nothing."""
    made = copy.deepcopy(list(metrics))
    for metric in made:
        metric.reset()
    return made


def _floats(outputs: Any) -> list[Tensor]:
    return [tensor for tensor in tensors_in(outputs) if tensor.is_floating_point()]


@dataclass
class _Gap:
    """How far a raw output of the quantized model is from that of the model."""

    n: int = 0
    total: float = 0.0
    most: float = 0.0
    largest: float = 0.0

    @classmethod
    def of_all(cls, gaps: Sequence["_Gap"]) -> "_Gap":
        n, total = sum(gap.n for gap in gaps), sum(gap.total for gap in gaps)
        return cls(n, total, max(gap.most for gap in gaps), max(gap.largest for gap in gaps))

    def add(self, expected: Tensor, found: Tensor) -> None:
        apart = (found - expected).abs().double()
        self.n, self.total = self.n + apart.numel(), self.total + apart.sum().item()
        self.most = max(self.most, apart.max().item())
        self.largest = max(self.largest, expected.abs().max().item())

    @property
    def facts(self) -> dict[str, float]:
        return {"mean_abs_diff": self.total / self.n, "max_abs_diff": self.most, "max_abs_output": self.largest}


def _side_by_side(kind: str, plain: list[Metric], small: list[Metric]) -> dict[str, dict[str, float]]:
    """Each number of each metric before, under the type it was computed in, and after; a warning names those that
    became clearly worse.
    """
    found: dict[str, dict[str, float]] = {}
    for metric, of_small in zip(plain, small, strict=True):
        before, after = results(metric), results(of_small)
        for name in before:
            found[name] = {kind: before[name], "int8": after[name]}
            if _is_worse(before[name], after[name], metric.higher_is_better):
                verb = "rises" if after[name] > before[name] else "falls"
                warn(f"int8: {name} {verb} from {before[name]:.4g} to {after[name]:.4g} on the validation set")
    return found


def _is_worse(before: float, after: float, higher_is_better: bool | None) -> bool:
    """Whether to warn of it; where nothing is known of the direction, only of a number that is lost."""
    if math.isnan(before) or math.isnan(after):
        return math.isnan(after) and not math.isnan(before)
    if higher_is_better is None:
        return False
    return before - after > MUCH if higher_is_better else after > MUCH_MORE * before


def quantization_line(path: Path) -> str:
    """What a quantized file lost, read from its description, as a sentence."""
    facts = json.loads(description_path(path).read_text("utf-8"))["quantization"]
    pairs = {name: tuple(values.values()) for name, values in facts["metrics"].items()}
    numbers = ", ".join(f"{name} {before:.4f} before and {after:.4f} after" for name, (before, after) in pairs.items())
    gap = f"raw outputs differ by {facts['mean_abs_diff']:.2g} on average"
    return f"int8: {numbers}{'; ' if numbers else ''}{gap} ({facts['on']}, {facts['items']} items)"
