"""A model as an ONNX file: one file without code, checked by onnx and compared with the model in onnxruntime."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from learnkit.checks import check_choice, missing_extra
from learnkit.errors import ExportError, UsageError, warn
from learnkit.persistence.deploy import int8
from learnkit.persistence.deploy.capture import write_with_description
from learnkit.persistence.deploy.familiarity import has_familiarity, output_names, without_familiarity
from learnkit.persistence.deploy.flat_outputs import Flat, FlatOutputs, FromFlat
from learnkit.persistence.deploy.network import (
    Preprocessing,
    activation_of,
    cause_of,
    check_inputs,
    describe,
    eager,
    example_inputs,
    free_sides,
    network_of,
    preparation_of,
)
from learnkit.persistence.deploy.onnx_graph import OPSET, annotate, graph_of, joined, runner
from learnkit.persistence.deploy.parity import check_outputs, tolerance_of
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.lk.manifest import versions
from learnkit.persistence.spec import ExportSpec

__all__ = ["OPSET", "Quantize", "export_onnx"]

MAX_BYTES = 2**31 - 2**24  # of weights: a protobuf message holds 2 GiB, the graph takes the rest
Quantize: TypeAlias = Literal["int8"] | None
INT8_TOLERANCE = 0.02  # a difference in the last bit of a float may be one of a level of 256
Run = Callable[[Tensor], Tensor]


def export_onnx(
    path: Path,
    spec: ExportSpec,
    *,
    preprocessing: Preprocessing = False,
    quantize: Quantize = None,
    data: RealData | None = None,
) -> None:
    """Write path and path.json, once onnxruntime has returned the numbers of the model on eight inputs.

    The input is named "input" and the output "output", their first dimension "batch"; where familiarity was fitted,
    there is a second output, "familiarity". The properties of the file hold the description: task, classes, decode,
    input, output, preprocessing and transforms, those with parts as JSON.

    Args:
        path: path of the file.
        spec: the model.
        preprocessing: True to take images (N, H, W, C) in uint8, already at their size, and normalize them inside;
            "full" to take them at any size, and resize them inside too.
        quantize: "int8" for weights of 8 bits.
        data: to calibrate, and to check on.

    Raises:
        UsageError: onnx, onnxscript or onnxruntime is not installed; inputs as `check_inputs` refuses them; no training
            items to calibrate on.
        ExportError: a model above 2 GB, in bfloat16 or without an ONNX equivalent, or an export with different numbers;
            nothing is written.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "onnx") from error
    check_choice("quantize", quantize, (None, "int8"))
    check_inputs(spec, preprocessing=preprocessing)
    _check_numbers(spec)
    _check_size(spec.model)
    if quantize is not None and (data is None or not data.has_inputs):
        raise UsageError(
            'quantize="int8" is calibrated on training items, and this learner has none',
            fix="Give it its data: learn.dls = dls.",
        )
    if quantize is not None and has_familiarity(spec):
        warn('quantize="int8": the file does not return familiarity, whose threshold is that of the network before')
        spec = without_familiarity(spec)
    inputs = example_inputs(spec, preprocessing=preprocessing)
    network, output = network_of(spec, preprocessing=preprocessing)
    facts = {
        "format": "onnx",
        "opset": OPSET,
        "learnkit": versions()["learnkit"],
        **describe(spec, output, preprocessing=preprocessing),
    }
    if quantize is None or data is None:
        reference: Callable[[Preprocessing], Run] = partial(eager, spec)
        model = graph_of(network, inputs, free_sides(preprocessing), output_names(spec))
    else:
        model, reference, facts["quantization"] = _int8(spec, preprocessing, data)
    annotate(model, facts, free_sides(preprocessing))
    content: bytes = model.SerializeToString()
    try:
        onnx.checker.check_model(content, full_check=True)
        run = runner(content)
    except Exception as error:
        raise ExportError(
            f"the ONNX file would not be valid ({cause_of(error)})", fix='Export with to="pt2", or change the model.'
        ) from error
    tolerance = max(tolerance_of(spec), 0.0 if quantize is None else INT8_TOLERANCE)
    parity = check_outputs(spec, run, reference, preprocessing=preprocessing, data=data, tolerance=tolerance)
    packages = [module.__name__ for module in (onnx, onnxscript, onnxruntime)]
    write_with_description(path, content, {**facts, "parity": parity, "versions": versions(*packages)})


def _int8(
    spec: ExportSpec, preprocessing: Preprocessing, data: RealData
) -> tuple[Any, Callable[[Preprocessing], Run], dict[str, Any]]:
    """The quantized model between preprocessing and activation in float32; what it has to return; what it lost."""
    raw = replace(spec, activation=None)
    network, made, activate = eager(raw, preprocessing=False), example_inputs(raw), activation_of(spec)
    flat = Flat(network, made)
    plain = graph_of(FlatOutputs(network).eval(), made, outputs=flat.names)

    def run(model: Any) -> Run:
        returned = runner(model)
        return lambda inputs: flat.filled(returned(inputs))

    inputs = [*data.inputs(int8.N_CALIBRATION)]
    model = int8.corrected(int8.quantized(plain, inputs), run(plain), inputs, flat)
    small = run(model)
    facts = {"bits": 8, "calibration_items": len(inputs), **int8.changes(run(plain), small, data, made)}

    def reference(preprocessing: Preprocessing) -> Run:
        prepare = preparation_of(spec, preprocessing) or nn.Identity()
        return lambda inputs: (activate or nn.Identity())(small(prepare(inputs)))

    if (prepare := preparation_of(spec, preprocessing)) is not None:
        images = example_inputs(spec, preprocessing=preprocessing)
        model = joined(graph_of(prepare, images, free_sides(preprocessing)), model, "model/")
    if activate is not None:
        model = joined(model, graph_of(FromFlat(activate, flat).eval(), flat.examples, flat.free), "activation/")
    return model, reference, facts


def _check_numbers(spec: ExportSpec) -> None:
    tensors = [*spec.model.parameters(), *spec.model.buffers()]
    if torch.bfloat16 in {spec.dtype, *(tensor.dtype for tensor in tensors)}:
        raise ExportError(
            "the model is in bfloat16, in which onnxruntime computes neither convolutions nor matrix products",
            fix='Export with to="pt2", or a copy in another type: Learner(dls, model.float()), with data of that type.',
        )


def _check_size(model: nn.Module) -> None:
    n_bytes = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    if n_bytes > MAX_BYTES:
        raise ExportError(
            f"the model's weights take {n_bytes:,} bytes, one ONNX file holds {MAX_BYTES:,}",
            fix='Export it with to="pt2", or a smaller model.',
        )
