"""Grad-CAM: where in an image a network sees the class it predicts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.checks import check_int
from learnkit.errors import UsageError
from learnkit.models.layers import find_layer
from learnkit.modes import eval_mode

__all__ = ["grad_cam"]

MAX_EXTRA_TOKENS = 16  # class, distillation and register tokens, which precede those of the patches
MIN_MAPS = 2  # of different resolutions, if there are as many
MIN_PLACES = 8  # places along the shorter side: if the last maps are coarser, the next finer ones are used too
NORMS = (nn.LayerNorm, nn.RMSNorm)
MAX_STRETCH = 1.6  # of a map against its image: rounding makes 1 x 2 of 32 x 48 pixels at a stride of 32

AsMap = Callable[[Tensor], Tensor]  # (1, ...) -> (C, h, w)


def grad_cam(
    model: nn.Module,
    x: Tensor,
    class_index: int | None = None,
    layer: nn.Module | str | None = None,
    *,
    output: Callable[[Any], Any] | None = None,
) -> npt.NDArray[np.float32]:
    """Heat map of one image: gradient-weighted class activation mapping (Selvaraju et al. 2017).

    The channels of a layer's output are added up, each weighted by the mean over all places of the gradient of the
    class's raw output, and what is below 0 is cut off. Layers that have places output (N, C, h, w), or (N, h, w, C) as
    swin does.

    One map is not enough. The last one may be as coarse as 2 x 2, and attention in shifted windows carries evidence
    from one place to another. So the last map of each resolution is taken, from the last layer back to ever finer ones:
    at least 2 if they exist, and more until one has 8 x 8 places; none as fine as the image itself. They are
    drawn at the image's size, each divided by its highest value, and added. LayerCAM fuses the maps of several stages
    too (Jiang et al. 2021), by their maximum and with other weights. Where a resolution has layer norms, their maps are
    added to its last one: after attention the evidence may have moved on.

    The places of a vision transformer are tokens (N, L, C), class and register tokens first. What one of them adds
    depends on the attention it gets, which a mean over places would hide, and blocks of all depths mix them. There
    gradient and output are multiplied place by place (Draelos and Carin 2020), what is above 0 is added up over the
    channels, as in LayerCAM, and then over all layer norms. The positions of the patches' borders affect such
    a map. So it is the mean of three: of the image, and of it shifted by a quarter of a patch toward either corner,
    where what leaves at one side comes in at the other; the heat is moved back.

    A map shows where layers hold their evidence, which may be next to what it was made from.

    The model is run in eval mode; its modes, its parameters and their gradients do not change.

    Args:
        model: returns raw outputs (1, n classes), perhaps among others.
        x: one image as the model sees it, (1, channels, H, W), on its device.
        class_index: the class whose evidence is shown; None for the predicted one.
        layer: only the map of this layer, or of the layer of this name in the model ("0.7" for layer 7 of the body of
            a cnn_learner).
        output: picks the raw outputs of the classes; None for a model without others.

    Returns:
        float32 (H, W), from 0 to 1; all 0 without evidence for the class.

    Raises:
        UsageError: inputs or outputs of the wrong shape, an unknown class, or no layer that has places.
    """
    if not isinstance(x, Tensor) or x.ndim != 4 or len(x) != 1 or not x.is_floating_point():
        got = (x.dtype, tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__
        raise UsageError("x", got=got, expected="one image, float (1, channels, H, W)", fix="Use dls.one_input.")
    chosen = find_layer(model, layer) if isinstance(layer, str) else layer
    heat, class_index, patch = _seen(model, x, class_index, chosen, output)
    if patch is not None:
        for sign in (1, -1):
            step = [sign * max(1, side // 4) for side in patch]
            moved, _, _ = _seen(model, x.roll(step, (2, 3)), class_index, chosen, output)
            heat = heat + moved.roll([-size for size in step], (0, 1))
    shown: npt.NDArray[np.float32] = _to_one(heat).cpu().numpy()
    return shown


def _seen(
    model: nn.Module,
    x: Tensor,
    class_index: int | None,
    chosen: nn.Module | None,
    output: Callable[[Any], Any] | None,
) -> tuple[Tensor, int, tuple[int, int] | None]:
    """The heat (H, W) of an image, the class it is of, and the height and width of a patch if places are tokens."""
    # The input asks for gradients, so that frozen layers have them too; a copy, as a first layer may work in place.
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        with _recorded(model) as outputs:
            raw = model(x.detach().clone().requires_grad_().clone())
        raw = raw if output is None else output(raw)
        class_index = _checked_class(raw, class_index)
        maps = _maps(outputs, x.shape[2:])
        if chosen is not None:
            maps = [found for found in maps if found.layer is chosen][-1:]
        if not maps:
            what = "the layers of this model have" if chosen is None else f"{type(chosen).__name__}: this layer has"
            raise UsageError(
                f"grad_cam: {what} no output with places, (1, C, h, w), (1, h, w, C) or (1, tokens, C)",
                fix="Pass layer= with one that has.",
            )
        gradients = torch.autograd.grad(raw[0, class_index], [found.output for found in maps], allow_unused=True)
    heats, are_tokens = _heats(maps, gradients, x.shape[2:])
    patch = (x.shape[2] // heats[0].shape[0], x.shape[3] // heats[0].shape[1]) if are_tokens else None
    drawn = [
        F.interpolate(heat[None, None], size=x.shape[2:], mode="bilinear", align_corners=False)[0, 0] for heat in heats
    ]
    return _to_one(torch.stack([_to_one(heat) for heat in drawn]).sum(0)), class_index, patch


@dataclass(frozen=True)
class _Map:
    """An output of a layer that can be read as a map."""

    layer: nn.Module
    output: Tensor
    as_map: AsMap

    @property
    def is_tokens(self) -> bool:
        return self.output.ndim == 3

    def values(self) -> Tensor:
        """(C, h, w)"""
        return self.as_map(self.output.detach()).float()


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """The layers that have run inside, and their outputs, in the order in which they finished."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            outputs.append((module, output))

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _checked_class(raw: object, class_index: int | None) -> int:
    """The class whose output is explained: the requested one, or that of the highest output."""
    if not isinstance(raw, Tensor) or raw.ndim != 2 or len(raw) != 1:
        got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        raise UsageError("grad_cam: the output of the model", got=got, expected="(1, n classes)")
    n = raw.shape[1]
    if class_index is None:
        return int(raw[0].argmax())
    return check_int("class_index", class_index, 0, n - 1, expected=f"a class index from 0 to {n - 1}")


def _maps(outputs: list[tuple[nn.Module, Tensor]], size: tuple[int, ...]) -> list[_Map]:
    """The outputs that can be read as maps of an image of that size (H, W), in their order."""
    maps: list[_Map] = []
    grids: list[tuple[int, int]] = []
    for layer, output in outputs:
        if len(output) != 1:  # windows
            continue
        as_map: AsMap | None = None
        if output.ndim == 4:
            _, a, b, c = output.shape
            stretches = {(b, c): _stretch((b, c), size), (a, b): _stretch((a, b), size)}
            grid = min(stretches, key=stretches.__getitem__)  # the first of equals: channels first
            if stretches[grid] <= MAX_STRETCH and max(grid) > 1:
                grids.append(grid)
                as_map = _channels_first if grid == (b, c) else _channels_last
        elif output.ndim == 3:
            as_map = _tokens(output.shape[1], grids)
        if as_map is not None:
            maps.append(_Map(layer, output, as_map))
    return maps


def _stretch(grid: tuple[int, int], size: tuple[int, ...]) -> float:
    """By how much a cell of the grid is longer than wide, or wider than long; infinite if it is finer than pixels."""
    if grid[0] > size[0] or grid[1] > size[1]:
        return float("inf")
    ratio = (size[0] / grid[0]) / (size[1] / grid[1])
    return max(ratio, 1 / ratio)


def _channels_first(output: Tensor) -> Tensor:
    return output[0]


def _channels_last(output: Tensor) -> Tensor:
    return output[0].permute(2, 0, 1)


def _tokens(n: int, grids: list[tuple[int, int]]) -> AsMap | None:
    """The arrangement of n tokens in the last of the grids that they can have come from."""
    for height, width in reversed(grids):
        extra = n - height * width
        if 0 <= extra <= MAX_EXTRA_TOKENS:
            return lambda output: output[0, extra:].T.reshape(-1, height, width)
    return None


def _heats(maps: list[_Map], gradients: tuple[Tensor | None, ...], size: tuple[int, ...]) -> tuple[list[Tensor], bool]:
    """The heats (h, w) to be added, and whether they are of tokens: one for tokens, else one per resolution.

    They begin with the last map whose places affect the score, one of the very last's shape if there is one.
    Inside a block of layers there are outputs of other shapes, hidden layers, queries and keys; and where only a class
    token reaches the head, no other token of the last block affects the score.
    """
    last = maps[-1]
    pairs = [
        (found, found.as_map(slope).float()) for found, slope in zip(maps, gradients, strict=True) if slope is not None
    ]
    pairs = [(found, slopes) for found, slopes in pairs if slopes.any()]
    alike = [(found, slopes) for found, slopes in pairs if found.output.shape == last.output.shape] or pairs[-1:]
    if not alike:
        return [torch.zeros_like(last.values()[0])], False
    if alike[-1][0].is_tokens:
        norms = [pair for pair in alike if isinstance(pair[0].layer, NORMS)] or alike[-1:]
        return [torch.stack([(slopes * found.values()).relu().sum(0) for found, slopes in norms]).sum(0)], True
    taken = alike[-1:]
    for found, slopes in reversed(pairs):
        if len(taken) >= MIN_MAPS and min(taken[-1][1].shape[1:]) >= MIN_PLACES:
            break
        if not found.is_tokens and taken[-1][1][0].numel() < slopes[0].numel() < size[0] * size[1]:
            taken.append((found, slopes))
    heats = []
    for latest, like in taken:
        norms = [pair for pair in pairs if pair[1].shape == like.shape and isinstance(pair[0].layer, NORMS)]
        added = [pair for pair in norms if pair[0] is not latest] + [(latest, like)]
        weighted = [(slopes.mean((1, 2), keepdim=True) * found.values()).sum(0).relu() for found, slopes in added]
        heats.append(torch.stack(weighted).sum(0))
    return heats, False


def _to_one(heat: Tensor) -> Tensor:
    """Divided by its highest value; all 0 stays so."""
    highest = heat.max()
    return heat / highest if highest > 0 else heat
