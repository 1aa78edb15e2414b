"""Learners for images: cnn_learner."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from learnkit.callbacks import Callback
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError
from learnkit.learner.learner import Learner
from learnkit.models.cnn import build_cnn
from learnkit.optim.optimizers import OptimizerFactory
from learnkit.seeds import Stream, derive, kept_rng
from learnkit.types import Activation, Loss, PathLike

__all__ = ["LearnerOptions", "cnn_learner"]


class LearnerOptions(TypedDict, total=False):
    """The keywords of Learner that a factory passes on."""

    loss_func: Loss | None
    opt_func: str | OptimizerFactory
    metrics: Any
    callbacks: Callback | Sequence[Callback]
    wd: float
    wd_bn_bias: bool
    train_bn: bool
    path: PathLike | None
    model_dir: PathLike
    seed: int | None
    activation: Activation | None


def cnn_learner(
    dls: DataBunch,
    base_arch: Any,
    cut: int | Callable[[nn.Module], nn.Module] | None = None,
    pretrained: bool = True,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    custom_head: nn.Module | None = None,
    split_on: Any = None,
    bn_final: bool = False,
    init: str | Callable[[Tensor], Any] | None = "kaiming_normal_",
    concat_pool: bool = True,
    in_chans: int | None = None,
    weights: PathLike | Mapping[str, Tensor] | Any | None = None,
    **learner_kwargs: Unpack[LearnerOptions],
) -> Learner:
    """A learner around a backbone cut before its pooling, with a new head for the data's classes.

    Args:
        dls: the data; it gives the number of outputs and of channels.
        base_arch: an architecture of `learnkit.models`, its name, a torchvision builder, or a module.
        cut: how many children of the backbone to keep (an index, -2 for all but two), or a function that cuts it.
        pretrained: load ImageNet weights, and freeze all but the head (and the norm layers).
        lin_ftrs: widths of the head's hidden layers; None for one of 512.
        ps: dropout before the last layer (half of it before the others), or one number a layer.
        custom_head: a module instead of the head.
        split_on: the modules at which layer groups begin, or a function of the model that gives them.
        bn_final: batch norm after the last layer.
        init: how the head's weights begin, a function of torch.nn.init or its name; None for torch's own way.
        concat_pool: pool by maximum and average side by side.
        in_chans: channels of the input; None for those of the data.
        weights: instead of the ImageNet ones: a file, a state dict, or a torchvision weights entry.
        **learner_kwargs: passed to Learner.

    Returns:
        A Learner with three layer groups for the resnet family; frozen if the weights were trained before.
    """
    if not dls.c:
        raise UsageError("cnn_learner: the data does not say how many outputs it needs", fix="Give the bunch classes=.")
    if isinstance(dls.task, Segmentation):
        raise UsageError("cnn_learner gives one answer an image, this data wants one a pixel",
                         fix="Pass a segmentation model to Learner(dls, model).")  # fmt: skip
    if in_chans is None:
        in_chans = dls.input_shape[0] if dls.input_shape is not None and len(dls.input_shape) == 3 else 3
    seed = learner_kwargs.get("seed")
    with kept_rng() if seed is not None else nullcontext():
        if seed is not None:
            torch.default_generator.manual_seed(derive(seed, Stream.INIT))
        built = build_cnn(
            base_arch,
            dls.c,
            cut=cut,
            pretrained=pretrained,
            lin_ftrs=lin_ftrs,
            ps=ps,
            custom_head=custom_head,
            split_on=split_on,
            bn_final=bn_final,
            init=init,
            concat_pool=concat_pool,
            in_chans=in_chans,
            weights=weights,
        )
    learn = Learner(dls, built.model, groups=built.groups, **learner_kwargs)
    if pretrained or weights is not None:
        learn.freeze()
    return learn
