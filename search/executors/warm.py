"""Imported by the fork server: what every worker needs, paid for once.

Importing has one effect on purpose: the first count on meta tensors loads torch's decompositions
(1.3 s), which workers then inherit.
"""

import onnxruntime
import onnxruntime.quantization
import scipy.special
import torch
import torch_pruning
from torch import nn

import search.evaluate
from objectives.complexity import count_flops

__all__ = ["onnxruntime", "scipy", "search", "torch_pruning"]

torch.set_num_threads(1)
count_flops(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU()), (1, 2, 2))
