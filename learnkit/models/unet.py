"""A U-Net around any convolutional body: its feature maps of each size are combined, from small to large."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learnkit.errors import UsageError
from learnkit.modes import eval_mode

__all__ = ["Unet"]

MIN_WIDTH = 32  # channels of a decoder block


class Unet(nn.Module):
    """(N, C, H, W) -> (N, n_out, H, W), for images of any size.

    Ronneberger, Fischer, Brox: U-Net, 2015. Starting from the body's output, each block of the decoder upsamples to the
    size of an earlier feature map (bilinear), concatenates that map, and convolves twice; the last block concatenates
    the image itself.

    Args:
        body: a network whose output is a feature map, (N, C, H / k, W / k).
        n_out: classes per pixel.
        in_chans: channels of the images.
        size: height and width of the blank image that finds the sizes of the feature maps, in pixels.

    Raises:
        UsageError: a body that does not downsample.
    """

    def __init__(self, body: nn.Module, n_out: int, in_chans: int = 3, size: int = 128) -> None:
        super().__init__()
        self.body = body
        self._skips: dict[str, Tensor] = {}
        names, widths = _last_of_each_size(body, in_chans, size)
        if not names:
            raise UsageError("body", got=type(body).__name__, expected="a convolutional network that downsamples")
        self._names = names  # of the modules whose outputs are used, from the smallest to the largest
        for name in names[1:]:
            body.get_submodule(name).register_forward_hook(partial(self._keep, name))
        blocks, width = [], widths[0]
        for skip in [*widths[1:], in_chans]:
            narrower = max(MIN_WIDTH, width // 2)
            blocks.append(_Block(width, skip, narrower))
            width = narrower
        self.decoder: nn.Sequential = nn.Sequential(*blocks, nn.Conv2d(width, n_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to scores of their pixels (N, n_out, H, W)."""
        self._skips.clear()
        out = self.body(x)
        *blocks, last = self.decoder
        for block, name in zip(blocks, [*self._names[1:], ""], strict=True):
            out = block(out, self._skips.pop(name) if name else x)
        outputs: Tensor = last(out)
        return outputs

    def _keep(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._skips[name] = output


class _Block(nn.Module):
    """Upsamples to the size of an earlier feature map, and combines the two."""

    def __init__(self, width: int, skip: int, n_out: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(skip)
        self.convs = nn.Sequential(_conv(width + skip, n_out), _conv(n_out, n_out))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.convs(torch.cat([x, self.norm(skip)], 1))
        return out


def _conv(n_in: int, n_out: int) -> nn.Sequential:
    conv = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def _last_of_each_size(body: nn.Module, in_chans: int, size: int) -> tuple[list[str], list[int]]:
    """For each size of feature map the last of the outermost modules that output it, and its channels.

    The smallest size, the body's own output, comes first. Layers within a block (wide expansions, channels last) are
    skipped if the block itself has an output of that size.
    """
    names = {module: name for name, module in body.named_modules()}
    last: dict[int, tuple[str, int]] = {}

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] != output.shape[3]:
            return
        side, name = output.shape[2], names[module]
        if side not in last or name.count(".") <= last[side][0].count("."):
            last[side] = (name, output.shape[1])

    hooks = [module.register_forward_hook(record) for module in names]
    try:
        device = next((parameter.device for parameter in body.parameters()), torch.device("cpu"))
        with eval_mode(body):
            output = body(torch.zeros(1, in_chans, size, size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    smallest = output.shape[2]
    if smallest >= size:
        return [], []
    skips = [found for side, found in sorted(last.items()) if smallest < side < size]
    return ["", *(name for name, _ in skips)], [output.shape[1], *(width for _, width in skips)]
