"""BackboneSpec: the arguments that shape a network, how it is built from them, and their form in an export.

Names in a file are looked up in learnkit's own table and in timm's register of models. Nothing is imported or looked up
by a name from a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from learnkit.checks import check_choice, check_int, is_int, is_number
from learnkit.errors import UsageError
from learnkit.models.architectures import ARCHITECTURES, Architecture, torchvision_name
from learnkit.models.backbone import Backbone, BaseArch, find_backbone, load_pretrained
from learnkit.models.cut import Cut, count_features
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import Init, check_range, create_head
from learnkit.models.json_checks import check_json, json_int, json_ints, json_object, only_keys
from learnkit.models.lora import add_lora, lora_layers
from learnkit.models.meta import built_on_meta
from learnkit.models.pretrained import Weights
from learnkit.models.spec_fields import dropout, known_name, output_range
from learnkit.models.stem import check_in_chans, first_conv
from learnkit.models.timm import PREFIX, is_timm_name
from learnkit.models.unet import Unet

__all__ = ["BackboneSpec", "BuiltModel"]

HEADS = ("concat_pool", "avg_pool", "unet")  # their names in a file

MAX_SIDE = 4096  # pixels of images that a network out of a file is built for
MAX_WIDTH = 1_000_000  # units of one of its layers
MAX_HIDDEN = 16  # hidden layers of its head
MAX_CHANS = 10_000
MAX_CUT = 1000
MAX_RANK = 10_000


class BuiltModel(NamedTuple):
    """A network and its layer groups, from input to head; the groups share the layers of the model."""

    model: nn.Module  # (N, in_chans, H, W) -> (N, n_out), of a U-Net -> (N, n_out, H, W)
    groups: list[nn.Module]


@dataclass(frozen=True)
class BackboneSpec:
    """The arguments that shape a network.

    Args:
        base_arch: an architecture, its name, "timm/NAME" (or "timm/NAME.TAG") for a network of timm, a torchvision
            builder, an nn.Module (used as is, not copied; its weights are kept), or a function without
            arguments that returns one.
        n_out: number of outputs; of a U-Net, classes per pixel.
        kind: "cnn" for a body with a head, "unet" for one with a decoder, see `Unet`.
        in_chans: channels of the images. Other than 3, the first convolution is adapted: pretrained planes are summed
            for 1 channel, else repeated and scaled by 3 / in_chans; from scratch it is drawn at random.
        cut: where the body ends, see `create_body`; None for the default cut of the architecture.
        image_size: (height, width) of the images, for networks that accept only some sizes.
        lin_ftrs, ps, concat_pool, bn_final, y_range: the head, see `create_head`.
        lora: rank of the adapters beside the layers of the body, which are frozen, see `add_lora`; None for none.

    >>> BackboneSpec("resnet18", 10).build().model[1][-1]
    Linear(in_features=512, out_features=10, bias=True)
    """

    base_arch: BaseArch
    n_out: int
    kind: str = "cnn"
    in_chans: int = 3
    cut: Cut | None = None
    image_size: tuple[int, int] | None = None
    lin_ftrs: Sequence[int] | None = None
    ps: float | Sequence[float] = 0.5
    concat_pool: bool = True
    bn_final: bool = False
    y_range: tuple[float, float] | None = None
    lora: int | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("cnn", "unet"))
        if self.y_range is not None:
            object.__setattr__(self, "y_range", check_range("y_range", self.y_range))
        if self.lora is not None:
            object.__setattr__(self, "lora", check_int("lora", self.lora, 1, expected="a rank of 1 or more, or None"))
            if self.kind == "unet":
                raise UsageError("lora", got=self.lora, expected="None for a U-Net")

    @property
    def source(self) -> str:
        """Which list of networks the name is in: "timm" or "registry" (learnkit's own table)."""
        return "timm" if is_timm_name(self.base_arch) else "registry"

    @property
    def name(self) -> str:
        """The name of the network in error messages."""
        if isinstance(self.base_arch, str):
            return self.base_arch
        return torchvision_name(self.base_arch) or type(self.base_arch).__name__

    def build(
        self,
        *,
        pretrained: bool = False,
        weights: Weights | None = None,
        custom_head: nn.Module | None = None,
        split_on: SplitOn | None = None,
        init: Init = "kaiming_normal_",
    ) -> BuiltModel:
        """The network and its layer groups.

        Args:
            pretrained: load the default weights of torchvision or timm; without effect for a custom nn.Module.
            weights: a path, a state dict, torchvision weights ("IMAGENET1K_V2") or the tag of timm's ("a1_in1k");
                takes precedence over `pretrained`.
            custom_head: used instead of the head, (N, C, H, W) -> (N, n_out); not for a U-Net.
            split_on: layer groups, see `split_groups`. Known architectures have three (the body in two parts, the
                head; squeezenet has four), others two (body, head).
            init: initialization of the head, see `init_weights`; not for a U-Net.

        Raises:
            UsageError: an unknown architecture, images too small for it, a cut that leaves no features, weights of
                another network, groups that do not hold every parameter exactly once; for a U-Net a network without
                feature maps of several sizes.
            DownloadError: pretrained weights that could not be fetched.
            MissingFileError, CorruptFileError, UnsafeFileError: a file of weights that cannot be used.
        """
        backbone = find_backbone(self.base_arch, self.cut, self.in_chans, self.image_size)
        if weights is None and pretrained and backbone.name is not None:
            weights = "DEFAULT"
        if self.kind == "unet":
            return self._unet(backbone, weights, split_on)
        check_in_chans(backbone.body, self.in_chans)
        head = self._head(backbone, init) if custom_head is None else custom_head
        if not isinstance(head, nn.Module):
            raise UsageError(
                "custom_head", got=head, expected="an nn.Module", fix="Pass for example nn.Sequential(...)."
            )
        model = nn.Sequential(backbone.body, head)
        groups = split_groups(model, _default_groups(backbone, head) if split_on is None else split_on)
        adapted = (
            [] if self.lora is None else lora_layers(backbone.body, self.in_chans, backbone.label, self.image_size)
        )
        load_pretrained(backbone, self.in_chans, weights)  # late, so that mistakes above cost no download
        if self.lora is not None:
            groups = add_lora(model, groups, backbone.body, adapted, self.lora)
        return BuiltModel(model, groups)

    def _head(self, backbone: Backbone, init: Init) -> nn.Module:
        stem = first_conv(backbone.body)
        in_chans = self.in_chans if stem is None else stem.in_channels
        n_features = count_features(backbone.body, in_chans, name=backbone.label, size=backbone.image_size)
        return create_head(
            n_features,
            self.n_out,
            lin_ftrs=self.lin_ftrs,
            ps=self.ps,
            concat_pool=self.concat_pool and not backbone.pooled,
            bn_final=self.bn_final,
            y_range=self.y_range,
            init=init,
        )

    def _unet(self, backbone: Backbone, weights: Weights | None, split_on: SplitOn | None) -> BuiltModel:
        if backbone.pooled:
            raise UsageError(
                f"unet: {backbone.label} outputs one value per channel, not a feature map",
                fix="Choose a convolutional network.",
            )
        check_in_chans(backbone.body, self.in_chans)
        load_pretrained(backbone, self.in_chans, weights)
        model = Unet(backbone.body, self.n_out, self.in_chans)
        groups = split_groups(model, _default_groups(backbone, model.decoder) if split_on is None else split_on)
        return BuiltModel(model, groups)

    def on_meta(self) -> nn.Module:
        """The network on the meta device: shapes without memory; draws no random numbers."""
        return built_on_meta(lambda: self.build(init=None).model)

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` has the layers of this spec, with the same settings and shapes, whatever its weights."""
        return _outline(self.on_meta()) == _outline(model)

    def portable(self) -> "BackboneSpec | None":
        """The same with only names and plain numbers; None if only the user's code can build the network."""
        arch = self.base_arch
        if isinstance(arch, nn.Module) or not (self.cut is None or is_int(self.cut)):
            return None
        if isinstance(arch, str) and is_timm_name(arch):
            name, image_size = arch.partition(".")[0], self.image_size  # the tag names weights, not a network
        else:
            found = arch if isinstance(arch, str) else torchvision_name(arch)
            if found not in ARCHITECTURES or (isinstance(arch, Architecture) and ARCHITECTURES[found] != arch):
                return None
            name, image_size = found, None  # these accept images of any size
        cut = None if self.cut is None else int(self.cut)
        n_out, in_chans = int(self.n_out), int(self.in_chans)
        plain = replace(self, base_arch=name, n_out=n_out, in_chans=in_chans, cut=cut, image_size=image_size)
        if self.kind == "unet":
            return plain
        lin_ftrs = (512,) if self.lin_ftrs is None else tuple(map(int, self.lin_ftrs))
        ps = float(self.ps) if is_number(self.ps) else tuple(map(float, self.ps))  # type: ignore[arg-type]
        return replace(plain, lin_ftrs=lin_ftrs, ps=ps)

    def to_json(self) -> dict[str, Any]:
        """The parts `arch` and `head` of an export's manifest.

        Raises:
            UsageError: a network that is not portable.
        """
        spec = self.portable()
        if spec is None:
            raise UsageError("base_arch", got=self.name, expected="the name of a known network, with a cut by number")
        config = {
            "in_ch": spec.in_chans,
            "cut": spec.cut,
            "image_size": None if spec.image_size is None else list(spec.image_size),
            **({} if spec.lora is None else {"lora": spec.lora}),
        }
        head: dict[str, Any] = {"kind": "unet", "n_out": spec.n_out}
        if spec.kind == "cnn":
            head = {
                "kind": "concat_pool" if spec.concat_pool else "avg_pool",
                "hidden": list(spec.lin_ftrs or ()),
                "dropout": list(spec.ps) if isinstance(spec.ps, tuple) else spec.ps,
                "bn_final": spec.bn_final,
                "n_out": spec.n_out,
            }
            head |= {} if spec.y_range is None else {"y_range": list(spec.y_range)}
        return {"arch": {"source": spec.source, "name": spec.name.removeprefix(PREFIX), "config": config}, "head": head}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "BackboneSpec":
        """The spec that `to_json` wrote, from an untrusted file.

        Every error has what, got and expected, but not the file: the caller adds its name.

        Args:
            fields: with the objects "arch" and "head"; others are ignored.

        Raises:
            MissingModelError: an architecture or fields that this version does not know.
            CorruptFileError: values of the wrong type, or out of bounds.
            UsageError: timm is not installed.
        """
        arch, head = json_object("arch", fields.get("arch")), json_object("head", fields.get("head"))
        config = json_object("config", arch.get("config"))
        only_keys("arch", arch, {"source", "name", "config"})
        only_keys("config", config, {"in_ch", "cut", "image_size", "lora"})
        cut, kind, image_size, rank = config.get("cut"), head.get("kind"), config.get("image_size"), config.get("lora")
        if image_size is not None:
            height, width = json_ints("config image_size", image_size, [2], MAX_SIDE)
            image_size = height, width
        spec = cls(
            known_name(arch),
            json_int("head n_out", head.get("n_out"), 1, MAX_WIDTH),
            in_chans=json_int("config in_ch", config.get("in_ch"), 1, MAX_CHANS),
            cut=None if cut is None else json_int("config cut", cut, -MAX_CUT, MAX_CUT),
            image_size=image_size,
            lora=None if rank is None or kind == "unet" else json_int("config lora", rank, 1, MAX_RANK),
        )
        check_json("head kind", kind, f"one of {', '.join(HEADS)}", is_right=kind in HEADS)
        if kind == "unet":
            only_keys("head", head, {"kind", "n_out"})
            return replace(spec, kind=kind)
        only_keys("head", head, {"kind", "hidden", "dropout", "bn_final", "n_out", "y_range"})
        hidden = json_ints("head hidden", head.get("hidden"), range(MAX_HIDDEN + 1), MAX_WIDTH)
        bn_final = head.get("bn_final")
        bn_final = check_json("head bn_final", bn_final, "true or false", is_right=isinstance(bn_final, bool))
        ps, y_range = dropout(head.get("dropout"), len(hidden) + 1), output_range(head.get("y_range"))
        is_concat = kind == "concat_pool"
        return replace(spec, lin_ftrs=hidden, ps=ps, concat_pool=is_concat, bn_final=bn_final, y_range=y_range)


def _default_groups(backbone: Backbone, head: nn.Module) -> list[nn.Module]:
    return [*backbone.starts, head] if backbone.starts else [backbone.body, head]


def _outline(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """The layers with their settings, and the shapes of what the state dict holds."""
    layers = [(name, type(layer), layer.extra_repr()) for name, layer in model.named_modules()]
    return layers, [(name, getattr(value, "shape", None)) for name, value in model.state_dict().items()]
