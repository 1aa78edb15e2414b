"""A model as an ONNX file: one file without code, checked by onnx and compared with the model in onnxruntime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from learnkit.checks import missing_extra
from learnkit.errors import ExportError
from learnkit.persistence.deploy.capture import check_parity, export_graph, json_text, quiet, write_with_description
from learnkit.persistence.deploy.network import cause_of, check_inputs, describe, example_inputs, network_of
from learnkit.persistence.lk.manifest import versions
from learnkit.persistence.spec import ExportSpec

__all__ = ["OPSET", "export_onnx"]

OPSET = 20
MAX_BYTES = 2**31 - 2**24  # of weights: a protobuf message holds 2 GiB, the graph takes the rest


def export_onnx(path: Path, spec: ExportSpec, *, preprocessing: bool = False) -> None:
    """Write path and path.json, once onnxruntime has returned the numbers of the model on eight inputs.

    The input is named "input" and the output "output", their first dimension "batch". The properties of the file hold
    the description: task, classes, decode, input, output, preprocessing and transforms, those with parts as JSON.

    Args:
        path: path of the file.
        spec: the model.
        preprocessing: take images (N, H, W, C) in uint8, already at their size, and normalize them inside.

    Raises:
        UsageError: onnx, onnxscript or onnxruntime is not installed; inputs as `check_inputs` refuses them.
        ExportError: a model above 2 GB or without an ONNX equivalent, or an export with different numbers; nothing is
            written.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "onnx") from error
    check_inputs(spec, preprocessing=preprocessing)
    _check_size(spec.model)
    inputs = example_inputs(spec, preprocessing=preprocessing)
    network, output = network_of(spec, preprocessing=preprocessing)
    proto = _model_proto(export_graph(network, inputs))
    facts = {
        "format": "onnx",
        "opset": OPSET,
        "learnkit": versions()["learnkit"],
        **describe(spec, output, preprocessing=preprocessing),
    }
    _annotate(proto, facts)
    content: bytes = proto.SerializeToString()
    try:
        onnx.checker.check_model(content, full_check=True)
        run = _runner(content)
    except Exception as error:
        raise ExportError(
            f"the ONNX file would not be valid ({cause_of(error)})", fix='Export with to="pt2", or change the model.'
        ) from error
    parity = check_parity(network, run, inputs)
    packages = [module.__name__ for module in (onnx, onnxscript, onnxruntime)]
    write_with_description(path, content, {**facts, "parity": parity, "versions": versions(*packages)})


def _check_size(model: nn.Module) -> None:
    n_bytes = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    if n_bytes > MAX_BYTES:
        raise ExportError(
            f"the model's weights take {n_bytes:,} bytes, one ONNX file holds {MAX_BYTES:,}",
            fix='Export it with to="pt2", or a smaller model.',
        )


def _model_proto(program: ExportedProgram) -> Any:
    """The program as an onnx.ModelProto with its weights inside."""
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
            )
    except Exception as error:
        raise ExportError(
            f"the model cannot be written as ONNX ({cause_of(error)})", fix='Export it with to="pt2", or change it.'
        ) from error
    assert exported is not None  # only the old exporter returns None
    return exported.model_proto


def _annotate(model: Any, facts: dict[str, Any]) -> None:
    """Put the facts into the model's properties, name its batch dimension, and remove the paths of source code."""
    graph = model.graph
    for item in [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        del item.metadata_props[:]
    del graph.value_info[:]  # shapes in between, which every runtime infers
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for key, fact in facts.items():
        text = fact if isinstance(fact, str) else json_text(fact)
        model.metadata_props.add(key=key, value=text)


def _runner(content: bytes) -> Callable[[Tensor], Tensor]:
    """The model in onnxruntime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about speed
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(["output"], {"input": batch.numpy()})[0])
