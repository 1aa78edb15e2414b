"""What is deployed: a trained model with what goes in, what comes out, and what both mean, as one network."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from learnkit.data.image.preprocess import Preprocess
from learnkit.data.tasks import Task
from learnkit.errors import ExportError, UsageError
from learnkit.persistence.lk.schema import Inputs, activation_name, written_inputs, written_task
from learnkit.persistence.weights import plain_model
from learnkit.types import Activation

__all__ = ["Deployment", "cause_of"]

N_INPUTS = 8  # what an artefact is compared on


@dataclass(frozen=True)
class Deployment:
    """A model and what a program that runs it must know.

    Args:
        model: it is only looked at: its mode, weights, gradients and device stay as they are.
        input_shape: of one input as the model sees it, without the batch: (C, H, W) for pictures.
        task: what the outputs mean; None when that is not known.
        preprocess: how pictures are prepared; None for data that is none of pictures.
        activation: put behind the model; None for its raw outputs.
        temperature: the raw outputs are divided by it before the activation.
        preprocessing: take pictures (N, H, W, C) in uint8, already at their size, and normalise them inside.
        dtype: of the inputs as the model sees them.

    Raises:
        UsageError: preprocessing without pictures, or a temperature that is not above 0.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    task: Task | None = None
    preprocess: Preprocess | None = None
    activation: Activation | None = None
    temperature: float = 1.0
    preprocessing: bool = False
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise UsageError("temperature", got=self.temperature, expected="a finite number above 0")
        if self.preprocessing and (self.preprocess is None or len(self.input_shape) != 3):
            raise UsageError(
                "preprocessing=True: this data is none of pictures, there is nothing to put inside",
                fix="Export without it, and feed what the model sees.",
            )

    def network(self) -> tuple[nn.Module, Tensor]:
        """From the input of the artefact to its output: a copy on the CPU in eval mode, sharing weights already there.

        Returns:
            The network, and what it gives for `inputs`.

        Raises:
            ExportError: a model that cannot be copied, or does not give one tensor, an answer an input.
        """
        try:
            network = _copied(_Network(plain_model(self.model), self)).eval()
            with torch.no_grad():
                output = network(self.inputs())
        except Exception as error:
            raise ExportError(
                f"the model fails on inputs of shape {('batch', *self.input_shape)} on the CPU ({cause_of(error)})",
                fix="Only a model that runs by itself on one batch can be exported.",
            ) from error
        if not isinstance(output, Tensor) or output.ndim < 1 or len(output) != N_INPUTS:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ExportError(
                f"the model's output for {N_INPUTS} inputs", got=got, expected="one tensor, a row an input",
                fix="Wrap it in a module whose forward returns the tensor that matters.",
            )  # fmt: skip
        return network, output

    def inputs(self) -> Tensor:
        """Inputs of the artefact, drawn and always the same: normal floats, any pixels, or zeros and ones."""
        drawn = torch.Generator().manual_seed(0)
        if self.preprocessing:
            channels, height, width = self.input_shape
            return torch.randint(0, 256, (N_INPUTS, height, width, channels), dtype=torch.uint8, generator=drawn)
        if self.dtype.is_floating_point:
            return torch.randn(N_INPUTS, *self.input_shape, generator=drawn).to(self.dtype)
        return torch.randint(0, 2, (N_INPUTS, *self.input_shape), generator=drawn).to(self.dtype)

    def facts(self, output: Tensor) -> dict[str, Any]:
        """What goes beside the artefact, in plain types; `output` is what the network gives for `inputs`.

        The parts task, classes, decode, task_args and transforms are those of learnkit's own exports.

        Raises:
            UsageError: a task of the user's own.
        """
        inputs = self.inputs()
        layout = {"layout": "NHWC" if self.preprocessing else "NCHW"} if len(self.input_shape) == 3 else {}
        n_out = output.shape[1] if output.ndim > 1 else 1
        is_raw = self.activation is None
        return {
            **written_task(self.task),
            "input": {"name": "input", **_said(inputs), **layout},
            "output": {
                "name": "output",
                **_said(output),
                "activation": "identity" if is_raw else activation_name(self.activation, n_out),
                "temperature": 1.0 if is_raw else float(self.temperature),
            },
            "preprocessing": "inside" if self.preprocessing else "outside",
            "transforms": written_inputs(Inputs(self.preprocess, self.input_shape)),
        }


class _Network(nn.Module):
    """Preprocessing, model, temperature and activation, one after the other."""

    def __init__(self, model: nn.Module, deployment: Deployment) -> None:
        super().__init__()
        self.model = model
        self.preprocess = deployment.preprocess if deployment.preprocessing else None
        self.activation = deployment.activation
        self.temperature = deployment.temperature

    def forward(self, input: Tensor) -> Tensor:
        x = input
        if self.preprocess is not None:
            x = self.preprocess.batch(x.permute(0, 3, 1, 2).contiguous())
        raw: Tensor = self.model(x)
        return raw if self.activation is None else self.activation(raw / self.temperature)


def cause_of(error: BaseException) -> str:
    """The type of the error at the root of this one, and the first line of what it says."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *(line[:300] for line in lines[:1])])


def _copied(network: _Network) -> _Network:
    """A copy without gradients that shares the parameters where they are on the CPU; buffers are its own."""
    known: dict[int, Any] = {}
    for parameter in network.parameters():
        known[id(parameter)] = nn.Parameter(parameter.detach().cpu(), requires_grad=False)
    for buffer in network.buffers():
        known[id(buffer)] = buffer.detach().cpu().clone()
    known[id(network.preprocess)] = network.preprocess  # its reader may be anything, and is not called
    return copy.deepcopy(network, known)


def _said(batch: Tensor) -> dict[str, Any]:
    return {"type": str(batch.dtype).removeprefix("torch."), "shape": ["batch", *batch.shape[1:]]}
