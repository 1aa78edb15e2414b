"""The first convolution of a network, and how it is adapted to another number of channels."""

import torch
from torch import Tensor, nn

from learnkit.checks import check_int
from learnkit.errors import UsageError

__all__ = ["adapt_planes", "check_in_chans", "first_conv", "set_in_chans"]


def first_conv(module: nn.Module) -> nn.Conv2d | None:
    """The first 2-d convolution in the order in which the layers were registered."""
    return next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)


def check_in_chans(module: nn.Module, in_chans: int) -> None:
    """Refuse a number of channels that `set_in_chans` cannot adapt to.

    Raises:
        UsageError: not a positive integer; no convolution to adapt; one that is grouped, or of neither 3 nor `in_chans`
            channels.
    """
    check_int("in_chans", in_chans, 1)
    conv = first_conv(module)
    if conv is None:
        if in_chans != 3:
            expected = "3, as this network has no convolution to adapt"
            raise UsageError("in_chans", got=in_chans, expected=expected, fix="Adapt the network first.")
    elif conv.in_channels != in_chans and (conv.in_channels != 3 or conv.groups != 1):
        expected = f"{conv.in_channels}, the channels of the first convolution"
        fix = "Only an ungrouped convolution of 3 channels can be adapted."
        raise UsageError("in_chans", got=in_chans, expected=expected, fix=fix)


def set_in_chans(module: nn.Module, in_chans: int, *, keep_weights: bool) -> None:
    """Adapt the first convolution of `module` to `in_chans` channels, in place.

    Args:
        module: a network whose first convolution has 3 channels; one that already has `in_chans` is not changed.
        in_chans: channels of the images.
        keep_weights: compute the new weights from the old ones by `adapt_planes`; otherwise they are drawn at random.

    Raises:
        UsageError: as `check_in_chans`.
    """
    check_in_chans(module, in_chans)
    conv = first_conv(module)
    if conv is None or conv.in_channels == in_chans:
        return
    old = conv.weight
    conv.in_channels = in_chans
    conv.weight = nn.Parameter(adapt_planes(old.detach(), in_chans), requires_grad=old.requires_grad)
    if not keep_weights:
        conv.reset_parameters()


def adapt_planes(weight: Tensor, in_chans: int) -> Tensor:
    """Weights (out, 3, h, w) of a convolution adapted to `in_chans` channels: (out, in_chans, h, w).

    For 1 channel the three planes are summed, which equals the old network on the gray image repeated three times.
    Otherwise the planes are repeated in turn and scaled by 3 / in_chans, so the sum over channels keeps its scale.

    >>> adapt_planes(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1), 6).flatten().tolist()
    [0.5, 1.0, 1.5, 0.5, 1.0, 1.5]
    """
    if in_chans == 1:
        return weight.sum(dim=1, keepdim=True)
    planes = torch.arange(in_chans, device=weight.device) % 3
    return weight[:, planes] * (3 / in_chans)
