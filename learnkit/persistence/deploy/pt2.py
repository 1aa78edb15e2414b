"""A model as a .pt2 file: the graph of torch.export. Opening one runs code, so learnkit writes them and reads none."""

import io
from pathlib import Path

import torch

from learnkit.persistence.deploy.capture import captured, check_parity, json_text, write_described
from learnkit.persistence.deploy.network import Deployment
from learnkit.persistence.lk.manifest import versions

__all__ = ["export_pt2"]


def export_pt2(path: Path, deployment: Deployment) -> None:
    """Write path and path.json, after the captured program gave the model's own numbers on eight inputs.

    The description is in the file too, as its extra file "learnkit.json".

    Raises:
        ExportError: a model that cannot be captured, or whose capture gives other numbers; nothing is written.
    """
    inputs = deployment.inputs()
    network, output = deployment.network()
    program = captured(network, inputs)
    parity = check_parity(network, program.module(), inputs)
    facts = {"format": "pt2", "learnkit": versions()["learnkit"], **deployment.facts(output)}
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"learnkit.json": json_text(facts)})
    write_described(path, buffer.getvalue(), {**facts, "parity": parity, "versions": versions()})
