"""Where other projects document what our signatures name: lists stored in docs/inventories, so that a build is offline.

A line of a list is `name kind place`, such as `torch.Tensor class tensors.html`; its anchor is the name.
"""

import importlib.metadata
import zlib
from pathlib import Path

STORED = Path(__file__).parents[1] / "inventories"
MADE = Path(__file__).parents[2] / "build" / "inventories"
SITES = {
    "python": "https://docs.python.org/3",
    "torch": "https://docs.pytorch.org/docs/stable",
    "torchvision": "https://docs.pytorch.org/vision/stable",
    "numpy": "https://numpy.org/doc/stable",
    "pandas": "https://pandas.pydata.org/docs",
    "matplotlib": "https://matplotlib.org/stable",
    "PIL": "https://pillow.readthedocs.io/en/stable",
}


def mapping(*, online: bool) -> dict[str, tuple[str, str | None]]:
    """`intersphinx_mapping`: of the whole inventories of the sites, or of the stored lists."""
    if online:
        return {project: (site, None) for project, site in SITES.items()}
    MADE.mkdir(parents=True, exist_ok=True)
    return {project: (site, str(_compressed(project))) for project, site in SITES.items()}


def _compressed(project: str) -> Path:
    lines = (STORED / f"{project}.txt").read_text(encoding="utf-8").splitlines()
    version = importlib.metadata.version("pillow" if project == "PIL" else project) if project != "python" else "3"
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: {version}\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    body = "".join(_entry(*line.split()) for line in lines if line)
    made = MADE / f"{project}.inv"
    made.write_bytes(head.encode() + zlib.compress(body.encode()))
    return made


def _entry(name: str, kind: str, place: str) -> str:
    return f"{name} py:{kind} 1 {place}#$ -\n"
