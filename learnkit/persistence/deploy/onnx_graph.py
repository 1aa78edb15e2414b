"""ONNX graphs in memory: made of a network, joined, described, and run by onnxruntime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.errors import ExportError
from learnkit.persistence.deploy.capture import export_graph, json_text, quiet
from learnkit.persistence.deploy.familiarity import OUTPUT
from learnkit.persistence.deploy.network import cause_of

__all__ = ["OPSET", "annotate", "graph_of", "joined", "runner"]

OPSET = 20


def graph_of(
    network: nn.Module,
    inputs: Tensor | Sequence[Tensor],
    free: Sequence[Any] = ("batch",),
    outputs: Sequence[str] = (OUTPUT,),
) -> Any:
    """A network as an onnx.ModelProto with its weights inside; its input is "input", of several "input0" and so on.

    Args:
        network: in eval mode; takes one tensor, or a list of them.
        inputs, free: as for `export_graph`.
        outputs: the names of its outputs.

    Raises:
        ExportError: a network that cannot be captured, or that ONNX has no operators for.
    """
    program = _with_maxima(export_graph(network, inputs, free))
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=OPSET,
                input_names=["input"] if isinstance(inputs, Tensor) else [f"input{n}" for n in range(len(inputs))],
                output_names=list(outputs),
            )
    except Exception as error:
        raise ExportError(
            f"the model cannot be written as ONNX ({cause_of(error)})", fix='Export it with to="pt2", or change it.'
        ) from error
    assert exported is not None  # only the old exporter returns None
    _clean(exported.model_proto.graph)
    return exported.model_proto


def _with_maxima(program: "torch.export.ExportedProgram") -> "torch.export.ExportedProgram":
    """Max pooling to one feature as a maximum: of adaptive max pooling, older versions of torch know no ONNX."""
    pooling = torch.ops.aten.adaptive_max_pool2d.default

    def maximum(x: Tensor, output_size: Sequence[int]) -> Any:
        if list(output_size) != [1, 1]:
            return NotImplemented
        return x.amax((-2, -1), keepdim=True), x.new_zeros((*x.shape[:-2], 1, 1), dtype=torch.int64)

    is_used = any(node.target is pooling for node in program.graph.nodes)
    return program.run_decompositions({pooling: maximum}) if is_used else program


def joined(first: Any, second: Any, prefix: str) -> Any:
    """Two graphs as one: the outputs of the first, which is changed, are the inputs of the second, in their order.

    Args:
        first: an onnx.ModelProto.
        second: another, without branches: of those onnx cannot rename the values.
        prefix: of the names of the second.
    """
    from onnx import compose

    pairs = zip(first.graph.output, second.graph.input, strict=True)
    between = {output.name: f"{prefix}{input.name}" for output, input in pairs}
    for node in first.graph.node:
        node.output[:] = [between.get(name, name) for name in node.output]
        node.input[:] = [between.get(name, name) for name in node.input]
    for output in first.graph.output:
        output.name = between[output.name]
    second = compose.add_prefix(second, prefix, rename_outputs=False)
    return compose.merge_models(first, second, io_map=[(name, name) for name in between.values()])


def annotate(model: Any, facts: Mapping[str, Any], free: Sequence[str]) -> None:
    """Put the facts into a model's properties, and name the dimensions that may have any size."""
    for value, names in ((model.graph.input[0], free), *((output, free[:1]) for output in model.graph.output)):
        for place, name in enumerate(names):
            value.type.tensor_type.shape.dim[place].dim_param = name
    for key, fact in facts.items():
        model.metadata_props.add(key=key, value=fact if isinstance(fact, str) else json_text(fact))


def runner(model: Any) -> Callable[[Tensor], Any]:
    """A model, or its bytes, in onnxruntime on the CPU: returns its output, or all of several as a tuple."""
    import onnxruntime

    content = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about speed
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> Any:
        found = tuple(map(torch.from_numpy, session.run(None, {"input": batch.numpy()})))
        return found if len(found) > 1 else found[0]

    return run


def _clean(graph: Any) -> None:
    """Remove the paths of source code, and the shapes in between, which every runtime infers."""
    for part in _graphs(graph):
        for item in [part, *part.node, *part.input, *part.output, *part.initializer]:
            del item.metadata_props[:]
        del part.value_info[:]


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph, and those in its branches."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
