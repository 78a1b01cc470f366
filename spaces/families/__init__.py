"""Kinds of networks: one file a family, one table."""

from spaces.families.control import Control
from spaces.families.convnet import ConvNet
from spaces.families.family import Family
from spaces.families.lenet import LeNet
from spaces.families.mlp import MLP
from spaces.families.mobilenet import MobileNet
from spaces.families.module import Module
from spaces.families.own import Own
from spaces.families.recommender import Recommender
from spaces.families.resnet import ResNet
from spaces.families.speech import Speech
from spaces.families.squeezenet import SqueezeNet
from spaces.families.text import Text
from spaces.families.vit import ViT

__all__ = ["FAMILIES", "Family", "Module", "Own"]

FAMILIES: dict[str, type[Family]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "mobilenet": MobileNet,
    "resnet": ResNet,
    "squeezenet": SqueezeNet,
    "vit": ViT,
    "mlp": MLP,
    "text": Text,
    "recommender": Recommender,
    "speech": Speech,
    "control": Control,
    "module": Module,
}
