"""Artefacts for other programs, by the name of their format."""

from pathlib import Path

from learnkit.errors import UsageError
from learnkit.persistence.deploy.network import Deployment
from learnkit.persistence.deploy.onnx import export_onnx
from learnkit.persistence.deploy.pt2 import export_pt2

__all__ = ["FORMATS", "deploy"]

FORMATS = {"onnx": export_onnx, "pt2": export_pt2}


def deploy(path: Path, deployment: Deployment, to: str) -> Path:
    """Write a model for other programs, and a description of it beside.

    Args:
        path: the file; the ending of the format is added where it is missing.
        deployment: the model and what it means.
        to: "onnx", or "pt2" for torch.export's format, which runs code when it is opened.

    Returns:
        The path of the file; its description is at that path and ".json".

    Raises:
        UsageError: another format, or packages that are not installed.
        ExportError: a model that cannot be exported as it is; nothing is written.
    """
    if to not in FORMATS:
        raise UsageError("to", got=to, expected=" or ".join(map(repr, FORMATS)), fix="Leave it out for learnkit's own.")
    path = path if path.suffix == f".{to}" else path.with_name(f"{path.name}.{to}")
    FORMATS[to](path, deployment)
    return path
