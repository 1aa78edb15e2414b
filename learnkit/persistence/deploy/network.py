"""The network in exports for other programs: preprocessing, model, temperature and activation in one module."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.certainty.fitted import sets_to_json
from learnkit.data.task_json import task_to_json
from learnkit.errors import ExportError, UsageError
from learnkit.losses.outputs import output_to_pass
from learnkit.persistence.lk.schema import activation_to_json, inputs_to_json
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model

__all__ = ["N_INPUTS", "cause_of", "check_inputs", "describe", "example_inputs", "network_of"]

N_INPUTS = 8  # what an export is compared on


def check_inputs(spec: ExportSpec, *, preprocessing: bool) -> None:
    """Refuse a model whose inputs cannot be described.

    Raises:
        UsageError: the shape of an input is unknown, or `preprocessing` without images.
    """
    if spec.input_shape is None:
        raise UsageError(
            "export: the data does not specify the shape of an input", fix="Make it from tensors, datasets or images."
        )
    if preprocessing and (spec.preprocess is None or len(spec.input_shape) != 3):
        raise UsageError(
            "preprocessing=True requires image data", fix="Export without it, and feed what the model sees."
        )
    if preprocessing and spec.preprocess is not None and spec.preprocess.depth not in (None, 8):
        raise UsageError(
            "preprocessing=True takes images of 8 bits; the depth of this data", got=spec.preprocess.depth,
            fix="Export without it, and feed what the model sees.",
        )  # fmt: skip


def network_of(spec: ExportSpec, *, preprocessing: bool = False) -> tuple[nn.Module, Tensor]:
    """From the input of the exported file to its output: a copy on the CPU in eval mode, sharing weights already there.

    Args:
        spec: the model.
        preprocessing: take images (N, H, W, C) in uint8, already at their size, and normalize them inside.

    Returns:
        The network, and its output for `example_inputs`.

    Raises:
        ExportError: a model that cannot be copied, or does not return one tensor with a row per input.
    """
    inputs = example_inputs(spec, preprocessing=preprocessing)
    try:
        network = _copy(_Network(spec, preprocessing)).eval()
        with torch.no_grad():
            output = network(inputs)
    except Exception as error:
        raise ExportError(
            f"the model fails on inputs of shape {('batch', *inputs.shape[1:])} on the CPU ({cause_of(error)})",
            fix="Only a model that runs on a single batch can be exported.",
        ) from error
    if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != N_INPUTS:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ExportError(
            f"the model's output for {N_INPUTS} inputs", got=got, expected="one tensor with a row per input",
            fix=f"Pass the learner {output_to_pass(output)}, the one that matters.",
        )  # fmt: skip
    return network, output


def example_inputs(spec: ExportSpec, *, preprocessing: bool = False) -> Tensor:
    """Inputs of the exported file, always the same random ones: normal floats, pixels, or zeros and ones."""
    shape, generator = spec.input_shape or (), torch.Generator().manual_seed(0)
    if preprocessing:
        channels, height, width = shape
        return torch.randint(0, 256, (N_INPUTS, height, width, channels), dtype=torch.uint8, generator=generator)
    if spec.dtype.is_floating_point:
        return torch.randn(N_INPUTS, *shape, generator=generator).to(spec.dtype)
    return torch.randint(0, 2, (N_INPUTS, *shape), generator=generator).to(spec.dtype)


def describe(spec: ExportSpec, output: Tensor, *, preprocessing: bool = False) -> dict[str, Any]:
    """The description of an exported file in plain types; `output` is that of the network for `example_inputs`.

    The parts task, classes, decode, task_args and transforms are those of learnkit's own exports.

    Raises:
        UsageError: a custom task.
    """
    inputs = example_inputs(spec, preprocessing=preprocessing)
    layout = {"layout": "NHWC" if preprocessing else "NCHW"} if inputs.ndim == 4 else {}
    n_out = output.shape[1] if output.ndim > 1 else 1
    return {
        **task_to_json(spec.task),
        "input": {"name": "input", **_batch_facts(inputs), **layout},
        "output": {
            "name": "output",
            **_batch_facts(output),
            "activation": activation_to_json(spec.activation, n_out),
            "temperature": 1.0 if spec.activation is None else float(spec.temperature),
        },
        "preprocessing": "inside" if preprocessing else "outside",
        "transforms": inputs_to_json(spec.preprocess, spec.input_shape),
        **_sets(spec),
    }


def _sets(spec: ExportSpec) -> dict[str, Any]:
    """The part `sets`, for the activated outputs; none for raw ones."""
    if spec.certainty is None or spec.activation is None:
        return {}
    return {"sets": sets_to_json(spec.certainty.conformal)}


def _batch_facts(batch: Tensor) -> dict[str, Any]:
    return {"type": str(batch.dtype).removeprefix("torch."), "shape": ["batch", *batch.shape[1:]]}


class _Network(nn.Module):
    """Preprocessing, model, temperature and activation, one after the other."""

    def __init__(self, spec: ExportSpec, preprocessing: bool) -> None:
        super().__init__()
        self.model = plain_model(spec.model)
        self.preprocess = spec.preprocess if preprocessing else None
        self.output = spec.output
        self.activation = spec.activation
        self.temperature = spec.temperature

    def forward(self, input: Tensor) -> Tensor:
        x = input
        if self.preprocess is not None:
            x = self.preprocess.batch(x.permute(0, 3, 1, 2).contiguous())
        outputs = self.model(x)
        raw: Tensor = outputs if self.output is None else self.output(outputs)
        return raw if self.activation is None else self.activation(raw / self.temperature)


def _copy(network: _Network) -> _Network:
    """A copy without gradients that shares parameters on the CPU; buffers are copied."""
    known: dict[int, Any] = {}
    for parameter in network.parameters():
        known[id(parameter)] = nn.Parameter(parameter.detach().cpu(), requires_grad=False)
    for buffer in network.buffers():
        known[id(buffer)] = buffer.detach().cpu().clone()
    known[id(network.preprocess)] = network.preprocess  # its reader may be any function, and is not called
    return copy.deepcopy(network, known)


def cause_of(error: BaseException) -> str:
    """The type of the error at the root of this one, and the first line of its message."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *(line[:300] for line in lines[:1])])
