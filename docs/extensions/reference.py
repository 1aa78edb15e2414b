"""The pages of the API, written from `__all__` of the public namespaces: one per name, one for all known networks."""

import inspect
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.config import Config

import learnkit
from learnkit.models import Architecture

FOLDER = Path(__file__).parents[1] / "reference"
SPACES = (learnkit, *learnkit._NAMESPACES)

# What has no docstring of its own.
VALUES = {
    "ARCHITECTURES": "The known networks by name, a dict of str to :class:`learnkit.models.Architecture`.",
    "BaseArch": "What ``arch`` may be: a known network, its name, a module, or what makes one.",
    "Cut": "Where a network is cut: an index of its children, or a function of the network that returns the body.",
    "FACTORIES": "Metrics that are called first, such as ``f_beta(beta=2)``, a dict of str to function.",
    "IMAGENET": "The (mean, standard deviation) of ImageNet's pixels, in [0, 1], of red, green and blue.",
    "Init": "How the weights of a head are drawn: a name in ``torch.nn.init``, a function of a tensor, or None.",
    "METRICS": "The metrics by the name that ``metrics=`` takes, a dict of str to function.",
    "Schedule": "A function of the share of training that is done, in [0, 1], to a value.",
    "Split": "A function of the table of samples to True (validation), False, or the name of a split, for each row.",
    "SplitOn": "Where layer groups begin: a list of modules, or a function of the model that returns one.",
    "Weights": "Pretrained weights: a file, tensors by name, or a member of a weights enum of torchvision.",
    "world": "This process among those that train together: its rank, their number, and what they exchange.",
}


def underlined(text: str, mark: str = "=") -> str:
    """A heading."""
    return f"{text}\n{mark * len(text)}\n\n"


def kind_of(value: object) -> str:
    """The section of a namespace's page that a value is in."""
    if inspect.isclass(value):
        return "Classes"
    if inspect.isfunction(value):
        return "Functions"
    return "Networks" if isinstance(value, Architecture) else "Values"


def is_elsewhere(space: ModuleType, name: str) -> bool:
    """Whether the page of a name is that of `learnkit` itself."""
    return space is not learnkit and name in learnkit.__all__


def summary_of(space: ModuleType) -> str:
    """The first sentence about a namespace."""
    return (space.__doc__ or "").partition("\n\n")[0]


def page_of(path: str, value: object) -> str:
    """The page of one name."""
    name = path.rpartition(".")[2]
    directive = {"Classes": "autoclass", "Functions": "autofunction"}.get(kind_of(value))
    if directive:
        return underlined(name) + f".. {directive}:: {path}\n"
    return underlined(name) + f".. py:data:: {path}\n\n   {VALUES[name]}\n"


def networks_page(names: list[str]) -> str:
    """One table of all known networks."""
    rows = "".join(f"   * - ``{name}``\n     - ``{learnkit.models.ARCHITECTURES[name]!r}``\n" for name in names)
    return (
        underlined("Networks")
        + "Each can be passed to :func:`learnkit.cnn_learner` and :func:`learnkit.unet_learner`, itself or by its name;\n"
        + "called, it makes the torchvision network. The names of timm are accepted, too.\n\n"
        + f".. list-table::\n   :header-rows: 1\n\n   * - name\n     - what it is\n{rows}"
    )


def pages() -> dict[str, str]:
    """The pages by name, without suffix."""
    found = {}
    for space in SPACES:
        by_kind: dict[str, list[str]] = {}
        for name in sorted(space.__all__, key=str.casefold):
            by_kind.setdefault(kind_of(getattr(space, name)), []).append(name)
        parts = [underlined(space.__name__), f"{summary_of(space)}\n\n"]
        hidden = []
        for kind, names in sorted(by_kind.items()):
            if kind == "Networks":
                found["networks"] = networks_page(names)
                hidden.append("networks")
                continue
            paths = [f"{(learnkit if is_elsewhere(space, name) else space).__name__}.{name}" for name in names]
            parts.append(underlined(kind, "-"))
            if kind == "Values":
                parts += [f":data:`~{path}`\n    {VALUES[name]}\n\n" for name, path in zip(names, paths, strict=True)]
            else:
                parts += [".. autosummary::\n   :nosignatures:\n\n", *(f"   {path}\n" for path in paths), "\n"]
            for name, path in zip(names, paths, strict=True):
                if not is_elsewhere(space, name):
                    found[path] = page_of(path, getattr(space, name))
                    hidden.append(path)
        if "Networks" in by_kind:
            parts.append(f":doc:`networks`: all {len(by_kind['Networks'])} known networks in one table.\n\n")
        found[space.__name__] = "".join([*parts, ".. toctree::\n   :hidden:\n\n", *(f"   {one}\n" for one in hidden)])
    return found


def write(app: Sphinx, config: Config) -> None:
    """Write the pages that changed, and remove those of names that are gone."""
    made = pages()
    for old in FOLDER.glob("*.rst"):
        if old.stem not in made:
            old.unlink()
    for name, text in made.items():
        file = FOLDER / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before they are looked for."""
    app.connect("config-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
