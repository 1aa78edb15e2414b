"""Frozen batch norm layers that keep their statistics."""

from torch import nn

from learnkit.training.callback import Callback
from learnkit.training.state import TrainState

__all__ = ["BnFreeze", "freeze_statistics"]


def freeze_statistics(model: nn.Module) -> list[nn.Module]:
    """Put every batch norm layer whose weight is frozen in eval mode, and return those layers.

    They normalize by their running statistics and no longer update them. Layers without a weight are not changed.

    >>> frozen, free = nn.BatchNorm1d(2).requires_grad_(False), nn.BatchNorm1d(2)
    >>> freeze_statistics(nn.Sequential(frozen, free)) == [frozen], frozen.training, free.training
    (True, False, True)
    """
    frozen: list[nn.Module] = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.weight is not None
        and not module.weight.requires_grad
    ]
    for module in frozen:
        module.eval()
    return frozen


class BnFreeze(Callback):
    """Keep the statistics of frozen batch norm layers during training; see `freeze_statistics`.

    For fine-tuning a frozen body on few items or small batches. By default a learner trains the normalization layers
    of frozen groups, so nothing is frozen: pass the learner `train_bn=False`.
    """

    in_lr_find = True

    def before_epoch(self, state: TrainState) -> None:
        freeze_statistics(state.model)
