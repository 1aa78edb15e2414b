"""Convolutional networks and transformers: known bodies, the head put on them, pretrained weights, layer groups."""

from learnkit.models.architectures import ARCHITECTURES, Architecture, find_architecture
from learnkit.models.backbone import BaseArch
from learnkit.models.build import build_cnn, build_unet
from learnkit.models.cut import Cut, count_features, create_body
from learnkit.models.groups import SplitOn, split_groups
from learnkit.models.head import AdaptiveConcatPool2d, Init, create_head, init_weights
from learnkit.models.layers import append_layer, find_layer, replace_layer
from learnkit.models.pretrained import Weights
from learnkit.models.pretrained_cfg import Preprocessing, preprocessing_of
from learnkit.models.spec import BackboneSpec, BuiltModel
from learnkit.models.summary import ModelSummary, model_summary
from learnkit.models.unet import Unet

__all__ = [  # noqa: RUF022 - plain sorted() order
    "ARCHITECTURES",
    "AdaptiveConcatPool2d",
    "Architecture",
    "BackboneSpec",
    "BaseArch",
    "BuiltModel",
    "Cut",
    "Init",
    "ModelSummary",
    "Preprocessing",
    "SplitOn",
    "Unet",
    "Weights",
    "alexnet",
    "append_layer",
    "build_cnn",
    "build_unet",
    "convnext_base",
    "convnext_large",
    "convnext_small",
    "convnext_tiny",
    "count_features",
    "create_body",
    "create_head",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_l",
    "efficientnet_v2_m",
    "efficientnet_v2_s",
    "find_architecture",
    "find_layer",
    "googlenet",
    "inception_v3",
    "init_weights",
    "mnasnet0_5",
    "mnasnet0_75",
    "mnasnet1_0",
    "mnasnet1_3",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "model_summary",
    "preprocessing_of",
    "regnet_x_16gf",
    "regnet_x_1_6gf",
    "regnet_x_32gf",
    "regnet_x_3_2gf",
    "regnet_x_400mf",
    "regnet_x_800mf",
    "regnet_x_8gf",
    "regnet_y_128gf",
    "regnet_y_16gf",
    "regnet_y_1_6gf",
    "regnet_y_32gf",
    "regnet_y_3_2gf",
    "regnet_y_400mf",
    "regnet_y_800mf",
    "regnet_y_8gf",
    "replace_layer",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "split_groups",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_b",
    "swin_s",
    "swin_t",
    "swin_v2_b",
    "swin_v2_s",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vit_b_16",
    "vit_b_32",
    "vit_h_14",
    "vit_l_16",
    "vit_l_32",
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
alexnet = ARCHITECTURES["alexnet"]
vgg11 = ARCHITECTURES["vgg11"]
vgg13 = ARCHITECTURES["vgg13"]
vgg16 = ARCHITECTURES["vgg16"]
vgg19 = ARCHITECTURES["vgg19"]
vgg13_bn = ARCHITECTURES["vgg13_bn"]
vgg11_bn = ARCHITECTURES["vgg11_bn"]
vgg16_bn = ARCHITECTURES["vgg16_bn"]
vgg19_bn = ARCHITECTURES["vgg19_bn"]
squeezenet1_0 = ARCHITECTURES["squeezenet1_0"]
squeezenet1_1 = ARCHITECTURES["squeezenet1_1"]
densenet121 = ARCHITECTURES["densenet121"]
densenet161 = ARCHITECTURES["densenet161"]
densenet169 = ARCHITECTURES["densenet169"]
densenet201 = ARCHITECTURES["densenet201"]
googlenet = ARCHITECTURES["googlenet"]
inception_v3 = ARCHITECTURES["inception_v3"]
shufflenet_v2_x0_5 = ARCHITECTURES["shufflenet_v2_x0_5"]
shufflenet_v2_x1_0 = ARCHITECTURES["shufflenet_v2_x1_0"]
shufflenet_v2_x1_5 = ARCHITECTURES["shufflenet_v2_x1_5"]
shufflenet_v2_x2_0 = ARCHITECTURES["shufflenet_v2_x2_0"]
mobilenet_v2 = ARCHITECTURES["mobilenet_v2"]
mobilenet_v3_small = ARCHITECTURES["mobilenet_v3_small"]
mobilenet_v3_large = ARCHITECTURES["mobilenet_v3_large"]
mnasnet0_5 = ARCHITECTURES["mnasnet0_5"]
mnasnet0_75 = ARCHITECTURES["mnasnet0_75"]
mnasnet1_0 = ARCHITECTURES["mnasnet1_0"]
mnasnet1_3 = ARCHITECTURES["mnasnet1_3"]
efficientnet_b0 = ARCHITECTURES["efficientnet_b0"]
efficientnet_b1 = ARCHITECTURES["efficientnet_b1"]
efficientnet_b2 = ARCHITECTURES["efficientnet_b2"]
efficientnet_b3 = ARCHITECTURES["efficientnet_b3"]
efficientnet_b4 = ARCHITECTURES["efficientnet_b4"]
efficientnet_b5 = ARCHITECTURES["efficientnet_b5"]
efficientnet_b6 = ARCHITECTURES["efficientnet_b6"]
efficientnet_b7 = ARCHITECTURES["efficientnet_b7"]
efficientnet_v2_s = ARCHITECTURES["efficientnet_v2_s"]
efficientnet_v2_m = ARCHITECTURES["efficientnet_v2_m"]
efficientnet_v2_l = ARCHITECTURES["efficientnet_v2_l"]
convnext_tiny = ARCHITECTURES["convnext_tiny"]
convnext_small = ARCHITECTURES["convnext_small"]
convnext_base = ARCHITECTURES["convnext_base"]
convnext_large = ARCHITECTURES["convnext_large"]
regnet_x_400mf = ARCHITECTURES["regnet_x_400mf"]
regnet_x_800mf = ARCHITECTURES["regnet_x_800mf"]
regnet_x_1_6gf = ARCHITECTURES["regnet_x_1_6gf"]
regnet_x_3_2gf = ARCHITECTURES["regnet_x_3_2gf"]
regnet_x_8gf = ARCHITECTURES["regnet_x_8gf"]
regnet_x_16gf = ARCHITECTURES["regnet_x_16gf"]
regnet_x_32gf = ARCHITECTURES["regnet_x_32gf"]
regnet_y_400mf = ARCHITECTURES["regnet_y_400mf"]
regnet_y_800mf = ARCHITECTURES["regnet_y_800mf"]
regnet_y_1_6gf = ARCHITECTURES["regnet_y_1_6gf"]
regnet_y_3_2gf = ARCHITECTURES["regnet_y_3_2gf"]
regnet_y_8gf = ARCHITECTURES["regnet_y_8gf"]
regnet_y_16gf = ARCHITECTURES["regnet_y_16gf"]
regnet_y_32gf = ARCHITECTURES["regnet_y_32gf"]
regnet_y_128gf = ARCHITECTURES["regnet_y_128gf"]
swin_t = ARCHITECTURES["swin_t"]
swin_s = ARCHITECTURES["swin_s"]
swin_b = ARCHITECTURES["swin_b"]
swin_v2_t = ARCHITECTURES["swin_v2_t"]
swin_v2_s = ARCHITECTURES["swin_v2_s"]
swin_v2_b = ARCHITECTURES["swin_v2_b"]
vit_b_16 = ARCHITECTURES["vit_b_16"]
vit_b_32 = ARCHITECTURES["vit_b_32"]
vit_l_16 = ARCHITECTURES["vit_l_16"]
vit_l_32 = ARCHITECTURES["vit_l_32"]
vit_h_14 = ARCHITECTURES["vit_h_14"]
