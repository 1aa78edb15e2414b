"""A model as a .pt2 file: the graph of torch.export. Opening one runs code, so learnkit never reads one."""

import io
from functools import partial
from pathlib import Path

import torch

from learnkit.persistence.deploy.capture import export_graph, json_text, write_with_description
from learnkit.persistence.deploy.network import (
    Preprocessing,
    check_inputs,
    describe,
    eager,
    example_inputs,
    free_sides,
    network_of,
)
from learnkit.persistence.deploy.parity import check_outputs, tolerance_of
from learnkit.persistence.deploy.real_data import RealData
from learnkit.persistence.lk.manifest import versions
from learnkit.persistence.spec import ExportSpec

__all__ = ["export_pt2"]


def export_pt2(
    path: Path, spec: ExportSpec, *, preprocessing: Preprocessing = False, data: RealData | None = None
) -> None:
    """Write path and path.json, once the captured program has returned the numbers of the model on eight inputs.

    The description is in the file too, as its extra file "learnkit.json".

    Args:
        path: path of the file.
        spec: the model.
        preprocessing: True to take images (N, H, W, C) in uint8, already at their size, and normalize them inside;
            "full" to take them at any size, and resize them inside too.
        data: to check on.

    Raises:
        UsageError: inputs as `check_inputs` refuses them.
        ExportError: a model that cannot be captured, or whose graph returns different numbers; nothing is written.
    """
    check_inputs(spec, preprocessing=preprocessing)
    inputs = example_inputs(spec, preprocessing=preprocessing)
    network, output = network_of(spec, preprocessing=preprocessing)
    program = export_graph(network, inputs, free_sides(preprocessing))
    parity = check_outputs(
        spec, program.module(), partial(eager, spec),
        preprocessing=preprocessing, data=data, tolerance=tolerance_of(spec),
    )  # fmt: skip
    facts = {"format": "pt2", "learnkit": versions()["learnkit"], **describe(spec, output, preprocessing=preprocessing)}
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"learnkit.json": json_text(facts)})
    write_with_description(path, buffer.getvalue(), {**facts, "parity": parity, "versions": versions()})
