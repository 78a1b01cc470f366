"""Kinds of networks: one file a family, one table."""

from spaces.families.convnet import ConvNet
from spaces.families.family import Family
from spaces.families.lenet import LeNet
from spaces.families.module import Module
from spaces.families.own import Own

__all__ = ["FAMILIES", "Family", "Module", "Own"]

FAMILIES: dict[str, type[Family]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "module": Module,
}
