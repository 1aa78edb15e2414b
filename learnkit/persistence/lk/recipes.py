"""How a network was built: what an export says of it instead of its code, and how it is built again from that.

Names are looked up in learnkit's own table and in timm's register of models. Nothing is imported or looked up by a name
that a file gives.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from learnkit.checks import missing_extra
from learnkit.errors import CorruptFileError, LearnkitError, MissingModelError
from learnkit.models.architectures import ARCHITECTURES, Architecture, torchvision_name
from learnkit.models.cnn import build_cnn
from learnkit.models.timm import PREFIX, is_timm_name
from learnkit.models.unet import build_unet
from learnkit.persistence.lk.json_fields import Fields, shown
from learnkit.persistence.lk.manifest import Manifest
from learnkit.seeds import preserve_rng

__all__ = ["Recipe", "read_recipe", "recipe_of", "same_build", "sketched", "written_recipe"]

MAX_SIDE = 4096  # pixels of pictures that a network is built for
MAX_WIDTH = 1_000_000


@dataclass(frozen=True)
class Recipe:
    """The arguments of `build_cnn` or `build_unet` that shape the network.

    Args:
        name: in learnkit's table, or "timm/NAME".
        kind: "cnn" or "unet".
        n_out: outputs.
        in_chans: channels of the pictures.
        cut: how many children of the backbone are kept; None for the table's cut.
        image_size: (height, width), for networks of timm.
        lin_ftrs, ps, concat_pool, bn_final: of the head.
    """

    name: str
    kind: str
    n_out: int
    in_chans: int = 3
    cut: int | None = None
    image_size: tuple[int, int] | None = None
    lin_ftrs: tuple[int, ...] = (512,)
    ps: float | tuple[float, ...] = 0.5
    concat_pool: bool = True
    bn_final: bool = False

    def build(self) -> nn.Module:
        """The network, with random weights."""
        shape: dict[str, Any] = {"cut": self.cut, "in_chans": self.in_chans, "image_size": self.image_size}
        if self.kind == "unet":
            return build_unet(self.name, self.n_out, pretrained=False, **shape)[0]
        return build_cnn(
            self.name,
            self.n_out,
            pretrained=False,
            lin_ftrs=list(self.lin_ftrs),
            ps=self.ps if isinstance(self.ps, float | int) else list(self.ps),
            concat_pool=self.concat_pool,
            bn_final=self.bn_final,
            init=None,
            **shape,
        ).model

    def sketch(self) -> nn.Module:
        """The network on the meta device: shapes alone, no memory."""
        try:
            with preserve_rng(), torch.device("meta"):
                return self.build()
        except NotImplementedError:  # it reads numbers of tensors it makes: regnet computes its widths so
            with preserve_rng(), _WeightsOnMeta():
                return self.build()

    @property
    def source(self) -> str:
        """Whose table it is in."""
        return "timm" if is_timm_name(self.name) else "registry"


class _WeightsOnMeta(TorchFunctionMode):
    """Puts on the meta device what layers make their weights with, and leaves small numbers that are computed alone."""

    _MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        place = {"device": "meta"} if func in self._MAKERS else {}
        return func(*args, **(kwargs or {}) | place)


def recipe_of(
    kind: str,
    base_arch: Any,
    *,
    n_out: int,
    in_chans: int,
    cut: Any,
    image_size: tuple[int, int] | None,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    concat_pool: bool = True,
    bn_final: bool = False,
) -> Recipe | None:
    """The recipe of a network built with these arguments; None where only the user's own code can build it."""
    if not (cut is None or isinstance(cut, int)) or isinstance(base_arch, nn.Module):
        return None
    if is_timm_name(base_arch):
        name, side = base_arch.partition(".")[0], image_size
    else:
        found = base_arch if isinstance(base_arch, str) else torchvision_name(base_arch)
        is_own = isinstance(base_arch, Architecture) and ARCHITECTURES.get(base_arch.name) != base_arch
        if found not in ARCHITECTURES or is_own:
            return None
        name, side = str(found), None
    widths = (512,) if lin_ftrs is None else tuple(lin_ftrs)
    shares = tuple(map(float, ps)) if isinstance(ps, list | tuple) else float(ps)  # type: ignore[arg-type]
    return Recipe(name, kind, n_out, in_chans, cut, side, widths, shares, concat_pool, bn_final)


def same_build(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks have the same layers of the same kinds and settings, whatever their weights."""
    layers, others = ([(name, type(m), m.extra_repr()) for name, m in net.named_modules()] for net in (first, second))
    return layers == others


def written_recipe(recipe: Recipe | None, label: str, n_out: int) -> Manifest:
    """The parts `arch` and `head` of a manifest; without a recipe `label` is what the user calls the model."""
    if recipe is None:
        return {"arch": {"source": "custom", "name": label, "config": {}}, "head": {"kind": "none", "n_out": n_out}}
    size = None if recipe.image_size is None else list(recipe.image_size)
    config = {"in_ch": recipe.in_chans, "cut": recipe.cut, "image_size": size}
    arch = {"source": recipe.source, "name": recipe.name.removeprefix(PREFIX), "config": config}
    if recipe.kind == "unet":
        return {"arch": arch, "head": {"kind": "unet", "n_out": recipe.n_out}}
    head = {
        "kind": "concat_pool" if recipe.concat_pool else "avg_pool",
        "hidden": list(recipe.lin_ftrs),
        "dropout": list(recipe.ps) if isinstance(recipe.ps, tuple) else recipe.ps,
        "bn_final": recipe.bn_final,
        "n_out": recipe.n_out,
    }
    return {"arch": arch, "head": head}


def read_recipe(manifest: Manifest, path: Path | str) -> Recipe | None:
    """The recipe in a manifest; None for a model of the user's own.

    Raises:
        MissingModelError: an architecture or fields that are not known.
        CorruptFileError: values out of bounds.
    """
    whole = Fields(manifest, "the manifest", path)
    arch, head = whole.part("arch", ("source", "name", "config")), whole.part("head")
    if arch.choice("source", ("registry", "timm", "custom")) == "custom":
        return None
    name = _known_name(arch, path, manifest)
    config = arch.part("config", ("in_ch", "cut", "image_size"))
    n_out = head.whole("n_out", 1, MAX_WIDTH)
    kind = head.choice("kind", ("concat_pool", "avg_pool", "unet"))
    in_chans = config.whole("in_ch", 1, 10_000)
    cut = None if config.content.get("cut") is None else config.whole("cut", -1000, 1000)
    has_size = config.content.get("image_size") is not None
    size = config.wholes("image_size", (2,), 1, MAX_SIDE) if has_size else None
    place = (name, "unet" if kind == "unet" else "cnn", n_out, in_chans, cut, (size[0], size[1]) if size else None)
    if kind == "unet":
        head.only(("kind", "n_out"))
        return Recipe(*place)
    head.only(("kind", "hidden", "dropout", "bn_final", "n_out"))
    hidden = head.wholes("hidden", range(17), 1, MAX_WIDTH)
    is_list = isinstance(head.content.get("dropout"), list)
    ps = head.numbers("dropout", len(hidden) + 1, 0, 1) if is_list else head.number("dropout", 0, 1)
    return Recipe(*place, hidden, ps, kind == "concat_pool", head.flag("bn_final"))


def _known_name(arch: Fields, path: Path | str, manifest: Manifest) -> str:
    name, of_timm = arch.text("name", 200), arch.content["source"] == "timm"
    if of_timm:
        try:
            import timm
        except ImportError as error:
            raise missing_extra("timm", "timm") from error
    if re.fullmatch(r"[A-Za-z0-9_]{1,100}", name) and (timm.is_model(name) if of_timm else name in ARCHITECTURES):
        return f"{PREFIX}{name}" if of_timm else name
    of = Fields(manifest.get("versions"), "versions", path).text("timm" if of_timm else "learnkit", default="unknown")
    package = "timm" if of_timm else "learnkit"
    raise MissingModelError(
        f"{path} holds weights for the architecture {shown(name)}, which this {package} does not know. "
        "Nothing was imported.",
        fix=f"The file was written with {package} {shown(of)}; or pass model= with a network of your own.",
    )


def sketched(recipe: Recipe, path: Path | str) -> nn.Module:
    """The sketch of a recipe out of a file.

    Raises:
        CorruptFileError: nothing can be built from it.
    """
    try:
        return recipe.sketch()
    except (LearnkitError, RuntimeError, ValueError, TypeError, AssertionError, IndexError, OverflowError) as error:
        raise CorruptFileError(
            f"{path}: {recipe.name} cannot be built as the manifest says ({shown(str(error))})",
            fix="Export again or copy it again.",
        ) from error
