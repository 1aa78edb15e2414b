"""The network in exports for other programs: preprocessing, model, temperature and activation in one module."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from learnkit.certainty.familiarity import Familiarity
from learnkit.certainty.fitted import sets_to_json
from learnkit.certainty.outputs import RawAndFeatures
from learnkit.checks import check_choice
from learnkit.data.image.preprocess import Preprocess
from learnkit.data.task_json import task_to_json
from learnkit.errors import ExportError, UsageError
from learnkit.losses.activations import at_temperature
from learnkit.losses.outputs import names_of, output_to_pass
from learnkit.models.misfit import misfit
from learnkit.persistence.deploy.familiarity import FamiliarityScore, familiarity_facts
from learnkit.persistence.deploy.resizing import ResizeImages
from learnkit.persistence.lk.schema import activation_to_json, inputs_to_json
from learnkit.persistence.spec import ExportSpec
from learnkit.persistence.weights import plain_model
from learnkit.types import Activation

__all__ = ["N_INPUTS", "Preprocessing", "activation_of", "cause_of", "check_inputs", "describe", "eager",
           "example_inputs", "free_sides", "network_of", "preparation_of"]  # fmt: skip

T = TypeVar("T", bound=nn.Module)
N_INPUTS = 8  # what an export is compared on
Preprocessing: TypeAlias = bool | Literal["full"]
"""False: the input is what the model sees; True: images uint8 (N, H, W, C) at its size; "full": of any size."""


def check_inputs(spec: ExportSpec, *, preprocessing: Preprocessing) -> None:
    """Refuse a model whose inputs cannot be described.

    Raises:
        UsageError: several inputs, or one of unknown shape; `preprocessing` of another kind, or without images.
    """
    check_choice("preprocessing", preprocessing, (False, True, "full"))
    if spec.several_inputs:
        raise UsageError(
            f"export: an item of this data gives the model {spec.several_inputs}, a file for other programs takes one",
            fix='Export with to="lk", or the network alone by torch: torch.export.export(learn.model.eval(), (a, b)).',
        )
    if spec.input_shape is None:
        raise UsageError(
            "export: the data does not specify the shape of an input", fix="Make it from tensors, datasets or images."
        )
    if preprocessing and (spec.preprocess is None or len(spec.input_shape) != 3):
        raise UsageError(
            f"preprocessing={preprocessing!r} requires image data",
            fix="Export without it, and feed what the model sees.",
        )
    if preprocessing and spec.preprocess is not None and spec.preprocess.depth not in (None, 8):
        raise UsageError(
            f"preprocessing={preprocessing!r} takes images of 8 bits; the depth of this data",
            got=spec.preprocess.depth, fix="Export without it, and feed what the model sees.",
        )  # fmt: skip


def network_of(spec: ExportSpec, *, preprocessing: Preprocessing = False) -> tuple[nn.Module, Tensor]:
    """From the input of the exported file to its output: a copy on the CPU in eval mode, sharing weights already there.

    Args:
        spec: the model.
        preprocessing: what is done inside.

    Returns:
        The network, and its output for `example_inputs`. Where familiarity was fitted, the network returns a tuple,
        (output, score).

    Raises:
        ExportError: a model that cannot be copied, or does not return one tensor with a row per input.
    """
    inputs = example_inputs(spec, preprocessing=preprocessing)
    network: nn.Module | None = None
    try:
        network = eager(spec, preprocessing)
        with torch.no_grad():
            found = network(inputs)
            output = found[0] if isinstance(network, _Scored) else found
    except Exception as error:
        plain = network.network if isinstance(network, _Scored) else network
        if isinstance(plain, _Network) and (refused := misfit(error, plain.model, [inputs])) is not None:
            raise ExportError(refused.message) from error
        raw = _raw_of(plain, inputs)
        if raw is not None and not isinstance(raw, Tensor):
            raise _several(raw, spec, f"the activation fails on {names_of(raw)} ({cause_of(error)})") from error
        raise ExportError(
            f"the model fails on inputs of shape {('batch', *inputs.shape[1:])} on the CPU ({cause_of(error)})",
            fix="Only a model that runs on a single batch can be exported.",
        ) from error
    if not isinstance(output, Tensor):
        raise _several(output, spec, f"the model's output for {N_INPUTS} inputs is {names_of(output)}")
    if output.ndim < 1 or len(output) != N_INPUTS:
        raise ExportError(
            f"the model's output for {N_INPUTS} inputs", got=tuple(output.shape), expected="a row per input",
            fix="Return one row per input, or pass the learner an activation= that makes them.",
        )  # fmt: skip
    return network, output


def _raw_of(plain: nn.Module | None, inputs: Tensor) -> Any:
    """The raw outputs, those that the activation of a network of `eager` takes; None if the model fails."""
    if not isinstance(plain, _Network):
        return None
    try:
        with torch.no_grad():
            return plain.raw(plain.model(plain.prepared(inputs)))
    except Exception:
        return None


def _several(outputs: Any, spec: ExportSpec, what: str) -> ExportError:
    """The error for several outputs where a file has one."""
    one = output_to_pass(outputs)
    if spec.activation is None:
        fix = (
            f"Leave activation=False out if the learner's activation= combines them; its {one} exports that one alone."
        )
    else:
        fix = f"Pass the learner {one}, or an activation= that makes one tensor of them."
    return ExportError(what, expected="one tensor with a row per input", fix=fix)


def eager(spec: ExportSpec, preprocessing: Preprocessing) -> nn.Module:
    """The network of `network_of`, which has not run yet."""
    plain = _copy(_Network(spec, preprocessing)).eval()
    if spec.certainty is None or spec.certainty.familiarity is None:
        return plain
    return _Scored(plain, spec.certainty.familiarity, spec.certainty.layer).eval()


def example_inputs(spec: ExportSpec, *, preprocessing: Preprocessing = False) -> Tensor:
    """Inputs of the exported file, always the same random ones: normal floats, pixels, or zeros and ones."""
    shape, generator = spec.input_shape or (), torch.Generator().manual_seed(0)
    if preprocessing:
        channels, height, width = shape
        if preprocessing == "full":
            height, width = 3 * height // 2 + 1, 5 * width // 4 + 2
        return torch.randint(0, 256, (N_INPUTS, height, width, channels), dtype=torch.uint8, generator=generator)
    if spec.dtype.is_floating_point:
        return torch.randn(N_INPUTS, *shape, generator=generator).to(spec.dtype)
    return torch.randint(0, 2, (N_INPUTS, *shape), generator=generator).to(spec.dtype)


def describe(spec: ExportSpec, output: Tensor, *, preprocessing: Preprocessing = False) -> dict[str, Any]:
    """The description of an exported file in plain types; `output` is that of the network for `example_inputs`.

    The parts task, classes, decode, task_args and transforms are those of learnkit's own exports.

    Raises:
        UsageError: a custom task.
    """
    inputs, free = example_inputs(spec, preprocessing=preprocessing), free_sides(preprocessing)
    layout = {"layout": "NHWC" if preprocessing else "NCHW"} if inputs.ndim == 4 else {}
    n_out = output.shape[1] if output.ndim > 1 else 1
    return {
        **task_to_json(spec.task),
        "input": {"name": "input", **_batch_facts(inputs, free), **layout},
        "output": {
            "name": "output",
            **_batch_facts(output),
            "activation": activation_to_json(spec.activation, n_out),
            "temperature": 1.0 if spec.activation is None else float(spec.temperature),
        },
        "preprocessing": preprocessing if isinstance(preprocessing, str) else ("outside", "inside")[preprocessing],
        "transforms": inputs_to_json(spec.preprocess, spec.input_shape, spec.dtype),
        **_sets(spec),
        **familiarity_facts(spec),
    }


def _sets(spec: ExportSpec) -> dict[str, Any]:
    """The part `sets`, for the activated outputs; none for raw ones."""
    if spec.certainty is None or spec.activation is None:
        return {}
    return {"sets": sets_to_json(spec.certainty.conformal)}


def free_sides(preprocessing: Preprocessing) -> tuple[str, ...]:
    """The names of the first dimensions of the input, those that may have any size."""
    return ("batch", "height", "width") if preprocessing == "full" else ("batch",)


def _batch_facts(batch: Tensor, free: Sequence[str] = ("batch",)) -> dict[str, Any]:
    return {"type": str(batch.dtype).removeprefix("torch."), "shape": [*free, *batch.shape[len(free) :]]}


def preparation_of(spec: ExportSpec, preprocessing: Preprocessing) -> nn.Module | None:
    """From images to what the model sees; None if that is outside."""
    return _Preparation(spec.preprocess, preprocessing) if preprocessing and spec.preprocess else None


def activation_of(spec: ExportSpec) -> nn.Module | None:
    """From raw outputs to predictions, a copy on the CPU; None for raw outputs."""
    return None if spec.activation is None else _copy(_Activation(spec.activation, spec.temperature)).eval()


class _Preparation(nn.Module):
    """Images uint8 (N, H, W, C) -> float32 (N, C, height, width), normalized."""

    def __init__(self, preprocess: Preprocess, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.resize = ResizeImages(preprocess.resize) if preprocessing == "full" else None

    def forward(self, input: Tensor) -> Tensor:
        pixels = input.permute(0, 3, 1, 2).contiguous() if self.resize is None else self.resize(input)
        return self.preprocess.batch(pixels)


class _Activation(nn.Module):
    """activation(raw / temperature), where raw may be several outputs."""

    def __init__(self, activation: Activation, temperature: float) -> None:
        super().__init__()
        self.activation = activation
        self.temperature = temperature

    def forward(self, raw: Any) -> Tensor:
        return self.activation(at_temperature(raw, self.temperature))


class _Network(nn.Module):
    """Preprocessing, model, temperature and activation, one after the other."""

    def __init__(self, spec: ExportSpec, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = plain_model(spec.model)
        self.prepare = preparation_of(spec, preprocessing)
        self.output = spec.output
        self.activate = None if spec.activation is None else _Activation(spec.activation, spec.temperature)

    def forward(self, input: Tensor) -> Tensor:
        return self.predictions(self.raw(self.model(self.prepared(input))))

    def prepared(self, input: Tensor) -> Tensor:
        """What the model sees."""
        return input if self.prepare is None else self.prepare(input)

    def raw(self, outputs: Any) -> Any:
        """Of what the model returns, the one that is the prediction; all of them without a choice."""
        return outputs if self.output is None else self.output(outputs)

    def predictions(self, raw: Any) -> Tensor:
        """Raw outputs at the temperature, activated."""
        return raw if self.activate is None else self.activate(raw)  # type: ignore[no-any-return]


class _Scored(nn.Module):
    """A network, and how familiar its inputs are: (output, score)."""

    def __init__(self, network: _Network, familiarity: Familiarity, layer: str | None) -> None:
        super().__init__()
        self.both = RawAndFeatures(network.model, layer)
        self.network = network
        self.score = FamiliarityScore(familiarity)

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        outputs, features = self.both.all_outputs(self.network.prepared(input))
        raw = self.network.raw(outputs)
        return self.network.predictions(raw), self.score(raw, features)


def _copy(network: T) -> T:
    """A copy without gradients that shares parameters on the CPU; buffers are copied."""
    known: dict[int, Any] = {}
    for parameter in network.parameters():
        known[id(parameter)] = nn.Parameter(parameter.detach().cpu(), requires_grad=False)
    for buffer in network.buffers():
        known[id(buffer)] = buffer.detach().cpu().clone()
    preprocess = getattr(getattr(network, "prepare", None), "preprocess", None)
    known[id(preprocess)] = preprocess  # its reader may be any function, and is not called
    return copy.deepcopy(network, known)


def cause_of(error: BaseException) -> str:
    """The type of the error at the root of this one, and the first line of its message."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *(line[:300] for line in lines[:1])])
