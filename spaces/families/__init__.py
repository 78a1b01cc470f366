"""Kinds of networks: one file a family, one table."""

from spaces.families.convnet import ConvNet
from spaces.families.family import Family
from spaces.families.lenet import LeNet
from spaces.families.mobilenet import MobileNet
from spaces.families.own import Own
from spaces.families.resnet import ResNet
from spaces.families.squeezenet import SqueezeNet
from spaces.families.vit import ViT

__all__ = ["FAMILIES", "Family", "Own"]

FAMILIES: dict[str, type[Family]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "mobilenet": MobileNet,
    "resnet": ResNet,
    "squeezenet": SqueezeNet,
    "vit": ViT,
}
