"""A table of a model's layers: their output shapes and parameters, and the memory of all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from learnkit.checks import is_int
from learnkit.errors import UsageError
from learnkit.modes import eval_mode
from learnkit.seeds import preserve_rng

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerRow", "ModelSummary", "model_summary"]

_MB = 1e6  # bytes


@dataclass(frozen=True)
class LayerRow:
    """One layer: its own parameters (not those of layers inside it), and the shape of its output, N items first."""

    name: str
    layer: str
    output: str
    n_params: int
    n_trainable: int


@dataclass(frozen=True)
class ModelSummary:
    """The layers of a model in the order they ran, and totals; printed as text, shown as a table in a notebook.

    Attributes:
        rows: one of each layer.
        n_params: parameters.
        n_trainable: those that are trained.
        input_mb: of one item, in MB of 10^6 bytes.
        output_mb: of the outputs of all layers for one item, which training keeps for the gradients, in MB.
        params_mb: of parameters and buffers, in MB.
    """

    rows: tuple[LayerRow, ...]
    n_params: int
    n_trainable: int
    input_mb: float
    output_mb: float
    params_mb: float

    def frame(self) -> "pd.DataFrame":
        """One row per layer: name, layer, output, n_params, n_trainable."""
        import pandas as pd

        return pd.DataFrame([vars(row) for row in self.rows])

    def __str__(self) -> str:
        return "\n".join([*_aligned(_cells(self.rows)), *self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        head, *body = _cells(self.rows)
        lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"]
        lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in body]
        return f"<table>{''.join(lines)}</table><p>{'<br>'.join(map(escape, self._totals()))}</p>"

    def _totals(self) -> list[str]:
        frozen = self.n_params - self.n_trainable
        return [
            f"parameters: {self.n_params:,}, of them trainable {self.n_trainable:,}, frozen {frozen:,}",
            f"MB per item: input {self.input_mb:.2f}, outputs {self.output_mb:.2f}, "
            f"weights {self.params_mb:.2f}, total {self.input_mb + self.output_mb + self.params_mb:.2f}",
        ]


def model_summary(model: nn.Module, input_shape: Sequence[int]) -> ModelSummary:
    """The output of each layer for one item, by one forward pass; the model is not changed.

    Args:
        model: takes a float tensor `(N, *input_shape)`.
        input_shape: the shape of one item without the batch, (3, 224, 224).

    Raises:
        UsageError: a shape that is not of positive integers, a model that does not run on it.

    >>> summary = model_summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,))
    >>> summary.n_params, [row.output for row in summary.rows]
    (15, ['N x 3', 'N x 3'])
    """
    shape = _checked(input_shape)
    outputs: dict[str, Tensor] = {}
    with _recording(model, outputs):
        _run(model, shape)
    rows = tuple(_row(name, model.get_submodule(name), output) for name, output in outputs.items())
    tensors = [*model.parameters(), *model.buffers()]
    return ModelSummary(
        rows,
        n_params=sum(p.numel() for p in model.parameters()),
        n_trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        input_mb=torch.empty(shape, device="meta").nbytes / _MB,
        output_mb=sum(output.nbytes for output in outputs.values()) / _MB,
        params_mb=sum(tensor.nbytes for tensor in tensors) / _MB,
    )


def _checked(input_shape: Sequence[int]) -> tuple[int, ...]:
    are_sides = isinstance(input_shape, Sequence | np.ndarray) and not isinstance(input_shape, str)
    shape = tuple(input_shape) if are_sides else ()
    if not shape or any(not is_int(side) or side < 1 for side in shape):
        raise UsageError(
            "input_shape", got=input_shape, expected="the shape of one item", fix="Pass for example (3, 224, 224)."
        )
    return shape


@contextmanager
def _recording(model: nn.Module, outputs: dict[str, Tensor]) -> Iterator[None]:
    """Record the output shapes of layers without layers inside, or with their own parameters."""

    def record(name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = torch.empty_like(output, device="meta")

        return hook

    shown = [
        (name, layer)
        for name, layer in model.named_modules()
        if not list(layer.children()) or list(layer.parameters(recurse=False))
    ]
    handles = []
    try:
        for name, layer in shown:
            handles.append(_hooked(layer, record(name)))
        with preserve_rng(), eval_mode(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _hooked(layer: nn.Module, hook: Any) -> RemovableHandle:
    try:
        return layer.register_forward_hook(hook)
    except RuntimeError as error:  # a ScriptModule
        fix = "Look at it before torch.jit.script."
        raise UsageError(f"summary: {type(layer).__name__} does not show its outputs", fix=fix) from error


def _run(model: nn.Module, shape: tuple[int, ...]) -> None:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        model(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"input_shape: {type(model).__name__} does not run on an item of shape {shape} "
            f"({type(error).__name__}: {first})",
            fix="Check the sizes of its layers; a shape is that of one item, without the batch.",
        ) from error


def _row(name: str, layer: nn.Module, output: Tensor) -> LayerRow:
    own = list(layer.parameters(recurse=False))
    return LayerRow(
        name=name or "(whole)",
        layer=type(layer).__name__,
        output=" x ".join(["N", *map(str, output.shape[1:])]),
        n_params=sum(p.numel() for p in own),
        n_trainable=sum(p.numel() for p in own if p.requires_grad),
    )


def _cells(rows: Sequence[LayerRow]) -> list[list[str]]:
    table = [["name", "layer", "output", "parameters", "trainable"]]
    for row in rows:
        table.append([row.name, row.layer, row.output, f"{row.n_params:,}", f"{row.n_trainable:,}"])
    return table


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:], "-" * max(map(len, lines))]
