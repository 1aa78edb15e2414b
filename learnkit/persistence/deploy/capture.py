"""What every exporter does: capture the network as a graph, compare the export with it, write both files."""

import hashlib
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from learnkit.atomic_files import write_atomically
from learnkit.errors import ExportError
from learnkit.persistence.deploy.network import N_INPUTS, cause_of

__all__ = [
    "TOLERANCE",
    "check_parity",
    "description_path",
    "export_graph",
    "json_text",
    "largest_gap",
    "largest_output",
    "quiet",
    "write_with_description",
]

TOLERANCE = 1e-4  # of the largest output if that is above 1
BATCH_SIZES = (1, N_INPUTS)


def export_graph(
    network: nn.Module, inputs: Tensor | Sequence[Tensor], free: Sequence[Any] = ("batch",)
) -> ExportedProgram:
    """The network as a graph that takes batches of any size, without the paths of its source code.

    Args:
        network: in eval mode; takes one tensor, or a list of them.
        inputs: a batch (N, ...) of two or more; or the tensors of the list, for a batch of two.
        free: the names of the first dimensions of the input that may have any size; or one such list per tensor.

    Raises:
        ExportError: a network that torch.export cannot follow, or that works for one batch size only.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise ExportError(
            "the model is a TorchScript program, which torch.export cannot capture",
            fix="Export the module that it was made of, after module.load_state_dict(program.state_dict()).",
        )
    try:
        with torch.no_grad(), quiet():
            names = [free] if isinstance(inputs, Tensor) else free
            sides = {name: Dim(name) for name in chain(*names)}
            shapes = [{place: sides[name] for place, name in enumerate(one)} for one in names]
            one_input, shape = (inputs[:2], shapes[0]) if isinstance(inputs, Tensor) else (list(inputs), shapes)
            program = torch.export.export(network, (one_input,), dynamic_shapes=(shape,))
    except Exception as error:
        raise ExportError(
            f"torch.export cannot capture the model with a batch of any size ({cause_of(error)})",
            fix="In its forward, write x.shape[0] for len(x), and avoid branches and shapes that depend on values.",
        ) from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress what torch's exporters print, log and warn about their internals: a caller can do nothing about it."""
    own = r"torch\.|onnx\.|onnxscript|onnx_ir|copyreg"
    logged = logging.root.manager.disable
    logging.disable(max(logged, logging.WARNING))
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=own)
            warnings.filterwarnings("ignore", category=FutureWarning, module=own)
            yield
    finally:
        logging.disable(logged)


def check_parity(
    network: Callable[[Tensor], Tensor],
    run: Callable[[Tensor], Tensor],
    inputs: Tensor,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Compare the export with the network itself, on a batch of one and on all the inputs.

    Args:
        network: the eager model, in eval mode.
        run: the export: inputs (N, ...) -> outputs (N, ...).
        inputs: inputs of the export.
        tolerance: of the largest output if that is above 1.

    Returns:
        What was compared, and the largest absolute difference.

    Raises:
        ExportError: the export fails, or returns different shapes or numbers.
    """
    difference = largest = 0.0
    for n in BATCH_SIZES:
        batch = inputs[:n]
        with torch.no_grad():
            expected = network(batch)
        if bool(expected.isnan().any()):
            raise ExportError(
                f"the model's outputs for {n} random inputs are nan",
                fix="Look for nan in its weights, and for roots, logarithms and divisions in its forward.",
            )
        try:
            found = run(batch)
        except Exception as error:
            raise ExportError(
                f"the exported model fails on a batch of {n} ({cause_of(error)})",
                fix="Remove what fixes the batch size from the model's forward.",
            ) from error
        if found.shape != expected.shape:
            raise ExportError(
                f"the exported model's output for a batch of {n}", got=tuple(found.shape),
                expected=f"{tuple(expected.shape)}, as the model's",
            )  # fmt: skip
        difference = max(difference, largest_gap(found, expected))
        largest = max(largest, largest_output(expected))
    if not difference <= tolerance * max(1.0, largest):
        raise ExportError(
            "difference between the outputs of the exported model and the model", got=float(f"{difference:.3g}"),
            expected=f"at most {tolerance * max(1.0, largest):.3g}, {tolerance:g} of the largest output",
            fix="Look for random numbers, counters or infinite values in the model's forward. Nothing was written.",
        )  # fmt: skip
    return {
        "inputs": len(inputs),
        "batch_sizes": list(BATCH_SIZES),
        "max_abs_diff": difference,
        "max_abs_output": largest,
        "tolerance": tolerance,
    }


def largest_gap(found: Tensor, expected: Tensor) -> float:
    """The largest absolute difference: 0 where both are infinite alike, infinite for nan.

    >>> largest_gap(torch.tensor([0.5, torch.inf]), torch.tensor([0.25, torch.inf]))
    0.25
    >>> largest_gap(torch.tensor([0.5, torch.nan]), torch.tensor([0.5, 0.5]))
    inf
    """
    gap = (found.double() - expected.double()).where(found != expected, 0).abs().max().item()
    return math.inf if math.isnan(gap) else gap


def largest_output(expected: Tensor) -> float:
    """The largest absolute value of those that are finite, which a tolerance is of."""
    return expected.double().where(expected.isfinite(), 0).abs().max().item()


def description_path(path: Path) -> Path:
    """The path of the description: model.onnx.json for model.onnx."""
    return path.with_name(f"{path.name}.json")


def json_text(content: Any, indent: int | None = None) -> str:
    """JSON in UTF-8, not ASCII; only bytes of file names that are not UTF-8 are escaped."""
    return json.dumps(content, indent=indent, ensure_ascii=False).encode(errors="backslashreplace").decode()


def write_with_description(path: Path, content: bytes, facts: dict[str, Any]) -> None:
    """Write a file and its description, both or neither; the description has the size and sha256 of the file."""
    described = {**facts, "file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    text = json_text(described, indent=2).encode()
    is_written = False

    def write(file: Any) -> None:
        nonlocal is_written
        file.write(text)
        file.flush()  # a full disk shows before the other file is touched
        write_atomically(path, lambda exported: exported.write(content))
        is_written = True

    try:
        write_atomically(description_path(path), write)
    except BaseException:
        if is_written:  # useless without its description
            path.unlink(missing_ok=True)
        raise
