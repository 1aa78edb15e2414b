"""Learners for images: cnn_learner and unet_learner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from learnkit.callbacks import Callback
from learnkit.checks import check_int, check_kind
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.errors import UsageError, warn
from learnkit.learner.class_weights import ClassWeights
from learnkit.learner.learner import Learner
from learnkit.models.architectures import torchvision_name
from learnkit.models.cnn import build_cnn
from learnkit.models.pretrained_cfg import differs, has_preprocessing, preprocessing_of
from learnkit.models.unet import build_unet
from learnkit.optim.optimizers import OptimizerFactory
from learnkit.persistence.lk.recipes import recipe_of
from learnkit.seeds import Stream, derive, preserve_rng
from learnkit.types import Activation, Loss, PathLike

__all__ = ["LearnerOptions", "cnn_learner", "unet_learner"]


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
    class_weights: ClassWeights | None


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
        base_arch: an architecture of `learnkit.models`, its name, "timm/NAME" for a network of timm, a torchvision
            builder, or a module.
        cut: how many children of the backbone to keep (an index, -2 for all but two), or a function that cuts it.
        pretrained: load ImageNet weights, and freeze all but the head (and the norm layers).
        lin_ftrs: widths of the head's hidden layers; None for one of 512.
        ps: dropout before the last layer (half of it before the others), or one number a layer.
        custom_head: a module instead of the head.
        split_on: the modules at which layer groups begin, or a function of the model that gives them.
        bn_final: batch norm after the last layer.
        init: how the head's weights begin, a function of torch.nn.init or its name; None for torch's own way.
        concat_pool: pool by maximum and average side by side.
        in_chans: channels of the input; None for those of the data. For 1 the pretrained planes of the first
            convolution are summed, for others repeated in turn and scaled by 3 / in_chans.
        weights: instead of the default ones: a file, a state dict, a torchvision weights entry or its name
            ("IMAGENET1K_V2"), or the tag of timm's ("a1_in1k").
        **learner_kwargs: passed to Learner.

    Returns:
        A Learner with two layer groups or more (three for the resnet family); frozen if the weights were trained
        before.

    Warns:
        LearnkitWarning: the data is normalised in another way than the pictures the weights were trained on.

    Raises:
        UsageError: data without a number of outputs or one answer a pixel; a network that is not known, cannot be cut,
            or does not take pictures of this size; see `learnkit.models.build_cnn`.
        DownloadError: pretrained weights that could not be fetched.
    """
    check_kind("dls", dls, DataBunch, "a DataBunch")
    if not dls.c:
        raise UsageError("cnn_learner: the data does not say how many outputs it needs", fix="Give the bunch classes=.")
    if isinstance(dls.task, Segmentation):
        raise UsageError("cnn_learner gives one answer an image, this data wants one a pixel", fix="Use unet_learner.")
    in_chans, image_size = _pictures(dls, in_chans)
    with _seeded(learner_kwargs.get("seed")):
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
            image_size=image_size,
        )
    is_trained = pretrained or weights is not None
    learn = _learner(dls, built.model, built.groups, base_arch, weights, learner_kwargs, is_trained=is_trained)
    if custom_head is None:
        learn.recipe = recipe_of(
            "cnn",
            base_arch,
            n_out=dls.c,
            in_chans=in_chans,
            cut=cut,
            image_size=image_size,
            lin_ftrs=lin_ftrs,
            ps=ps,
            concat_pool=concat_pool,
            bn_final=bn_final,
        )
    return learn


def unet_learner(
    dls: DataBunch,
    base_arch: Any,
    cut: int | Callable[[nn.Module], nn.Module] | None = None,
    pretrained: bool = True,
    split_on: Any = None,
    in_chans: int | None = None,
    weights: PathLike | Mapping[str, Tensor] | Any | None = None,
    **learner_kwargs: Unpack[LearnerOptions],
) -> Learner:
    """A learner for masks: a U-Net around a backbone, see `learnkit.models.unet.Unet`.

    Args:
        dls: data whose task is a Segmentation, or tensors (N, C, H, W) with class numbers (N, H, W) and `task=`.
        base_arch, cut, pretrained, split_on, in_chans, weights: as for `cnn_learner`; any convolutional backbone.
        **learner_kwargs: passed to Learner.

    Returns:
        A Learner whose last layer group is the decoder; frozen but for it if the weights were trained before.

    Raises:
        UsageError: data of another task, or a network without feature maps of several sizes.
    """
    check_kind("dls", dls, DataBunch, "a DataBunch")
    if not isinstance(dls.task, Segmentation):
        raise UsageError(
            f"unet_learner gives an answer a pixel, this data is of task {type(dls.task).__name__}",
            fix="Make it with from_folder_masks, or use cnn_learner.",
        )
    in_chans, image_size = _pictures(dls, in_chans)
    with _seeded(learner_kwargs.get("seed")):
        model, groups = build_unet(
            base_arch,
            dls.c,
            cut=cut,
            pretrained=pretrained,
            split_on=split_on,
            in_chans=in_chans,
            weights=weights,
            image_size=image_size,
        )
    is_trained = pretrained or weights is not None
    learn = _learner(dls, model, groups, base_arch, weights, learner_kwargs, is_trained=is_trained)
    learn.recipe = recipe_of("unet", base_arch, n_out=dls.c, in_chans=in_chans, cut=cut, image_size=image_size)
    return learn


def _pictures(dls: DataBunch, in_chans: int | None) -> tuple[int, tuple[int, int] | None]:
    """Channels and (height, width) of the pictures; those asked for (or 3) and None where they cannot be told."""
    shape = dls.input_shape
    if shape is None or len(shape) != 3:
        return 3 if in_chans is None else in_chans, None
    if in_chans not in (None, shape[0]):
        raise UsageError("in_chans", got=in_chans, expected=f"{shape[0]}, the channels of the data, or None")
    return shape[0], (shape[1], shape[2])


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """With a seed, what is drawn inside depends on it alone, and the global generator is put back."""
    if seed is None:
        yield
        return
    with preserve_rng():
        torch.default_generator.manual_seed(derive(check_int("seed", seed), Stream.INIT))
        yield


def _learner(
    dls: DataBunch,
    model: nn.Module,
    groups: list[nn.Module],
    base_arch: Any,
    weights: Any,
    options: LearnerOptions,
    *,
    is_trained: bool,
) -> Learner:
    if is_trained:
        _check_normalization(dls, base_arch, weights)
    learn = Learner(dls, model, groups=groups, **options)
    if is_trained:
        learn.freeze()
    return learn


def _check_normalization(dls: DataBunch, base_arch: Any, weights: Any) -> None:
    """Warn of pictures normalised otherwise than those the published weights of this network were trained on."""
    if dls.preprocess is None or not has_preprocessing(base_arch):
        return
    wanted = preprocessing_of(base_arch, weights)
    normalize = dls.preprocess.normalize
    n = dls.preprocess.channels
    mean, std = ((0.0,) * n, (1.0,) * n) if normalize is None else (normalize.mean, normalize.std)
    if not differs(wanted, mean, std):
        return
    wanted_mean, wanted_std = wanted.statistics(n)
    name = base_arch if isinstance(base_arch, str) else torchvision_name(base_arch)
    warn(
        f"the published weights of {name} were trained on pictures of mean {wanted_mean} and deviation {wanted_std}, "
        f"this data is normalised by mean {_rounded(mean)} and deviation {_rounded(std)}. Make the data with "
        f"normalize=({wanted_mean}, {wanted_std}), interpolation={wanted.interpolation!r}, unless your weights were "
        "trained on data like this."
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values)
