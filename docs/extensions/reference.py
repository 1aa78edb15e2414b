"""The pages of the API, written from `__all__` of the public namespaces.

One per name of `learnkit` and of its callbacks; one each for the small names of the other namespaces, which are read
side by side; and one for all known networks.
"""

import inspect
from pathlib import Path
from types import ModuleType

import docstrings
from sphinx.application import Sphinx
from sphinx.config import Config

import learnkit
from learnkit.data.options import ImageSettings
from learnkit.models import Architecture

FOLDER = Path(__file__).parents[1] / "reference"
SPACES = (learnkit, *learnkit._NAMESPACES)

OWN_PAGES = {"learnkit", "learnkit.callbacks"}  # one per name

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


def entry(path: str, value: object) -> str:
    """The description of one name."""
    directive = {"Classes": "autoclass", "Functions": "autofunction"}.get(kind_of(value))
    if directive:
        bases = "   :show-inheritance:\n" if isinstance(value, type) and docstrings.public_bases(value) else ""
        return f".. {directive}:: {path}\n{bases}\n"
    return f".. py:data:: {path}\n\n   {VALUES[path.rpartition('.')[2]]}\n\n"


def keywords() -> str:
    """What the keywords of all factories of an ImageDataBunch mean, below its description."""
    heading = underlined("Keywords of every factory", "-")
    return f"{heading}.. autoclass:: {docstrings.path_of(ImageSettings)}\n   :exclude-members: sides, splitter\n\n"


def networks_page(names: list[str]) -> str:
    """One table of all known networks."""
    rows = "".join(f"   * - ``{name}``\n     - ``{learnkit.models.ARCHITECTURES[name]!r}``\n" for name in names)
    return (
        underlined("Networks")
        + "Each can be passed to :func:`learnkit.cnn_learner` and :func:`learnkit.unet_learner`,\n"
        + "itself or by its name; called, it makes the torchvision network. The names of timm are accepted, too.\n\n"
        + f".. list-table::\n   :header-rows: 1\n\n   * - name\n     - what it is\n{rows}"
    )


def table(paths: list[str], kind: str) -> str:
    """The names of a section, each with its first line."""
    if kind == "Values":
        return "".join(f":data:`~{path}`\n    {VALUES[path.rpartition('.')[2]]}\n\n" for path in paths)
    return ".. autosummary::\n   :nosignatures:\n\n" + "".join(f"   {path}\n" for path in paths) + "\n"


def pages_of(space: ModuleType) -> dict[str, str]:
    """The page of a namespace by its name, and those of its names."""
    found: dict[str, str] = {}
    names = sorted(space.__all__, key=str.casefold)
    parts = [underlined(space.__name__), f"{summary_of(space)}\n\n"]
    for kind in ("Classes", "Functions", "Values"):
        own = [name for name in names if kind_of(getattr(space, name)) == kind]
        paths = {name: f"{(learnkit if is_elsewhere(space, name) else space).__name__}.{name}" for name in own}
        if not own:
            continue
        parts += [underlined(kind, "-"), table(list(paths.values()), kind)]
        entries = {
            path: entry(path, getattr(space, name)) for name, path in paths.items() if not is_elsewhere(space, name)
        }
        if space.__name__ not in OWN_PAGES:
            parts += entries.values()
        else:
            found |= {path: underlined(path.rpartition(".")[2]) + text for path, text in entries.items()}
    networks = [name for name in names if kind_of(getattr(space, name)) == "Networks"]
    if networks:
        parts.append(f":doc:`networks`: all {len(networks)} known networks in one table.\n\n")
        found["networks"] = networks_page(networks)
    if found:
        parts.append(".. toctree::\n   :hidden:\n\n" + "".join(f"   {name}\n" for name in found))
    if space is learnkit:
        found["learnkit.ImageDataBunch"] += keywords()
    return {space.__name__: "".join(parts), **found}


def pages() -> dict[str, str]:
    """All pages by name, without suffix."""
    return {name: text for space in SPACES for name, text in pages_of(space).items()}


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
