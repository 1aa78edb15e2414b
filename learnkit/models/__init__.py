"""Convolutional networks: known bodies, the head put on them, pretrained weights, layer groups."""

from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture
from learnkit.models.body import Cut, count_features, create_body
from learnkit.models.cnn import BaseArch, Cnn, build_cnn
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import AdaptiveConcatPool2d, Init, create_head, init_weights
from learnkit.models.pretrained import Weights

__all__ = [  # noqa: RUF022 - plain sorted() order
    "ARCHITECTURES",
    "AdaptiveConcatPool2d",
    "Architecture",
    "BaseArch",
    "Cnn",
    "Cut",
    "Init",
    "SplitOn",
    "Weights",
    "build_cnn",
    "count_features",
    "create_body",
    "create_head",
    "find_architecture",
    "init_weights",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    "split_groups",
    "wide_resnet101_2",
    "wide_resnet50_2",
]

resnet18 = ARCHITECTURES["resnet18"]
resnet34 = ARCHITECTURES["resnet34"]
resnet50 = ARCHITECTURES["resnet50"]
resnet101 = ARCHITECTURES["resnet101"]
resnet152 = ARCHITECTURES["resnet152"]
resnext50_32x4d = ARCHITECTURES["resnext50_32x4d"]
resnext101_32x8d = ARCHITECTURES["resnext101_32x8d"]
resnext101_64x4d = ARCHITECTURES["resnext101_64x4d"]
wide_resnet50_2 = ARCHITECTURES["wide_resnet50_2"]
wide_resnet101_2 = ARCHITECTURES["wide_resnet101_2"]
