"""Kinds of networks: one file a family, one table."""

from spaces.families.control import Control
from spaces.families.convnet import ConvNet
from spaces.families.family import Family
from spaces.families.lenet import LeNet
from spaces.families.mlp import MLP
from spaces.families.own import Own
from spaces.families.recommender import Recommender
from spaces.families.speech import Speech
from spaces.families.text import Text

__all__ = ["FAMILIES", "Family", "Own"]

FAMILIES: dict[str, type[Family]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "text": Text,
    "recommender": Recommender,
    "speech": Speech,
    "control": Control,
}
