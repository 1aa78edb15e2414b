"""Learners for images: cnn_learner and unet_learner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from learnkit.arguments import checks_keywords
from learnkit.callbacks import Callback
from learnkit.checks import check_int, check_kind
from learnkit.data.bunch import DataBunch
from learnkit.data.segmentation import Segmentation
from learnkit.data.tasks import Regression
from learnkit.errors import UsageError, warn
from learnkit.learner.checks import rounded
from learnkit.learner.class_weights import ClassWeights
from learnkit.learner.learner import Learner
from learnkit.losses.outputs import OutputKey
from learnkit.models.architectures import torchvision_name
from learnkit.models.pretrained_cfg import get_pretrained_cfg, has_pretrained_cfg
from learnkit.models.spec import BackboneSpec
from learnkit.optim.optimizers import OptimizerFactory
from learnkit.persistence.base_weights import BaseWeights, frozen_layers, source_of
from learnkit.seeds import Stream, derive, preserve_rng
from learnkit.types import Activation, Loss, PathLike

__all__ = ["LearnerOptions", "cnn_learner", "unet_learner"]


class LearnerOptions(TypedDict, total=False):
    """The keywords of Learner that a factory passes on."""

    loss_func: Loss | None
    opt_func: str | OptimizerFactory
    metrics: Any
    callbacks: Callback | Sequence[Callback]
    wd: float | None
    wd_bn_bias: bool
    train_bn: bool
    path: PathLike | None
    model_dir: PathLike
    seed: int | None
    activation: Activation | None
    class_weights: ClassWeights | None
    output: OutputKey | None


@checks_keywords
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
    *,
    y_range: tuple[float, float] | None = None,
    lora: int | None = None,
    **learner_kwargs: Unpack[LearnerOptions],
) -> Learner:
    """A learner with a backbone cut before its pooling, and a new head for the data's classes.

    Args:
        dls: the data; it determines the number of outputs and of channels.
        base_arch: an architecture of `learnkit.models`, its name, "timm/NAME" for a network of timm, a torchvision
            builder, or a module.
        cut: how many children of the backbone to keep (an index, -2 for all but two), or a function that cuts it.
        pretrained: load ImageNet weights, and freeze all but the head (and the norm layers).
        lin_ftrs: widths of the head's hidden layers; None for one of 512.
        ps: dropout before the last layer (half of it before the others), or one number per layer.
        custom_head: a module instead of the head: (N, C, H, W), the feature map of the body, -> (N, outputs).
        split_on: the modules at which layer groups begin, or a function of the model that returns them.
        bn_final: batch norm after the last layer.
        init: how the head is initialized, a function of torch.nn.init or its name; None for torch's default.
        concat_pool: concatenate maximum and average pooling; otherwise average only.
        in_chans: channels of the input; None for those of the data. For 1 the pretrained planes of the first
            convolution are summed, for others repeated in turn and scaled by 3 / in_chans.
        weights: overrides the default ones: a file, a state dict, a torchvision weights entry or its name
            ("IMAGENET1K_V2"), or the tag of timm's ("a1_in1k").
        y_range: of a regression: all predictions are between these two numbers, see `learnkit.models.SigmoidRange`.
        lora: train pairs of matrices of this rank beside the linear layers and convolutions of the body (LoRA, Hu et
            al. 2021), and the head, instead of everything: `unfreeze` keeps the body frozen. Needs PEFT.
        **learner_kwargs: passed to Learner.

    Returns:
        A Learner with two layer groups or more (three for the resnet family); all but the head is frozen if the weights
        are pretrained; with `lora`, its matrices and the head are trained from the start.

    Warns:
        LearnkitWarning: the data is normalized differently from the images the weights were trained on.

    Raises:
        UsageError: data without a number of outputs or with masks; a network that is unknown, cannot be cut,
            or does not accept images of this size; see `learnkit.models.BackboneSpec`.
        DownloadError: pretrained weights that could not be fetched.
    """
    check_kind("dls", dls, DataBunch, "a DataBunch")
    if not dls.c:
        raise UsageError("cnn_learner: the data has no number of outputs", fix="Pass classes= to the bunch.")
    if isinstance(dls.task, Segmentation):
        raise UsageError("cnn_learner: this data has masks, one class per pixel", fix="Use unet_learner.")
    if y_range is not None and not (isinstance(dls.task, Regression) and custom_head is None):
        expected = "None, except for a regression with learnkit's head"
        raise UsageError("y_range", got=y_range, expected=expected, fix="A custom_head can end in SigmoidRange.")
    in_chans, image_size = _input_shape(dls, in_chans)
    spec = BackboneSpec(
        base_arch,
        dls.c,
        in_chans=in_chans,
        cut=cut,
        image_size=image_size,
        lin_ftrs=lin_ftrs,
        ps=ps,
        concat_pool=concat_pool,
        bn_final=bn_final,
        y_range=y_range,
        lora=lora,
    )
    return _learner(
        dls,
        spec,
        learner_kwargs,
        pretrained=pretrained,
        weights=weights,
        custom_head=custom_head,
        split_on=split_on,
        init=init,
    )


@checks_keywords
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
    """A learner for masks: a U-Net around a backbone, see `learnkit.models.Unet`.

    Args:
        dls: data whose task is a Segmentation, or tensors (N, C, H, W) with class indices (N, H, W) and `task=`.
        base_arch, cut, pretrained, split_on, in_chans, weights: as for `cnn_learner`; any convolutional backbone.
        **learner_kwargs: passed to Learner.

    Returns:
        A Learner whose last layer group is the decoder; all others are frozen if the weights are pretrained.

    Raises:
        UsageError: data of another task, or a network without feature maps of several sizes.
    """
    check_kind("dls", dls, DataBunch, "a DataBunch")
    if not isinstance(dls.task, Segmentation):
        raise UsageError(
            "dls",
            got=type(dls.task).__name__,
            expected="data of the task Segmentation",
            fix="Make it with from_folder_masks, or use cnn_learner.",
        )
    in_chans, image_size = _input_shape(dls, in_chans)
    spec = BackboneSpec(base_arch, dls.c, "unet", in_chans=in_chans, cut=cut, image_size=image_size)
    return _learner(dls, spec, learner_kwargs, pretrained=pretrained, weights=weights, split_on=split_on)


def _input_shape(dls: DataBunch, in_chans: int | None) -> tuple[int, tuple[int, int] | None]:
    """Channels and (height, width) of the images; `in_chans` (or 3) and None for data that has no images."""
    shape = dls.input_shape
    if shape is None or len(shape) != 3:
        return 3 if in_chans is None else in_chans, None
    if in_chans not in (None, shape[0]):
        raise UsageError("in_chans", got=in_chans, expected=f"{shape[0]}, the channels of the data, or None")
    return shape[0], (shape[1], shape[2])


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """With a seed, what is drawn inside depends only on it, and the global generator is restored."""
    if seed is None:
        yield
        return
    with preserve_rng():
        torch.default_generator.manual_seed(derive(check_int("seed", seed), Stream.INIT))
        yield


def _learner(
    dls: DataBunch,
    spec: BackboneSpec,
    options: LearnerOptions,
    *,
    pretrained: bool,
    weights: Any,
    custom_head: nn.Module | None = None,
    **build: Any,
) -> Learner:
    with _seeded(options.get("seed")):
        model, groups = spec.build(pretrained=pretrained, weights=weights, custom_head=custom_head, **build)
    is_trained = pretrained or weights is not None
    if is_trained:
        _check_normalization(dls, spec.base_arch, weights)
    learn = Learner(dls, model, groups=groups, **options)
    learn.spec = spec.portable() if custom_head is None else None
    if spec.lora is not None and learn.spec is not None:
        learn.base = BaseWeights.of(frozen_layers(model), source_of(spec, pretrained=pretrained, weights=weights))
    elif is_trained and spec.lora is None:
        learn.freeze()
    return learn


def _check_normalization(dls: DataBunch, base_arch: Any, weights: Any) -> None:
    """Warn about data normalized differently from the images of the network's published weights."""
    if dls.preprocess is None or not has_pretrained_cfg(base_arch):
        return
    cfg = get_pretrained_cfg(base_arch, weights)
    mean, std = dls.preprocess.mean_and_std
    if cfg.agrees(mean, std):
        return
    cfg_mean, cfg_std = cfg.statistics(dls.preprocess.channels)
    name = base_arch if isinstance(base_arch, str) else torchvision_name(base_arch)
    warn(
        f"the published weights of {name} were trained on images of mean {cfg_mean} and std {cfg_std}, "
        f"this data is normalized by mean {rounded(mean)} and std {rounded(std)}. Make the data with "
        f"normalize=({cfg_mean}, {cfg_std}), interpolation={cfg.interpolation!r}, unless your weights were "
        "trained on data like this."
    )
