"""Choices that every family is tried with, beyond its defaults."""

from typing import Any

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("convnet", {"block": "residual", "blocks": 2}),
    ("convnet", {"block": "residual", "pool_kind": "stride", "se": 4, "width": (16, 24)}),
    ("convnet", {"block": "separable", "se": 4, "activation": "relu6"}),
    ("convnet", {"block": "separable", "pool_kind": "stride", "blocks": 2, "dropout": 0.2}),
    ("convnet", {"block": "residual", "norm": "none", "activation": "elu", "pool": 3}),
    ("convnet", {"se": 2, "norm": "none", "pool_kind": "avg"}),
    ("lenet", {"norm": True, "activation": "relu", "pool_kind": "max"}),
    ("mobilenet", {"depth": 2, "se": 4, "activation": "hardswish", "kernel": (5, 3)}),
    ("mobilenet", {"depth": 3, "expansion": (1, 6, 6), "blocks": (1, 2, 3), "last": 0}),
    ("mobilenet", {"depth": 7, "width": 0.25, "blocks": 1, "resolution": 20, "dropout": 0.2}),
    ("resnet", {"depth": 2, "block": "bottleneck", "width": 8}),
    ("resnet", {"depth": 2, "se": 4, "blocks": (1, 2), "activation": "silu", "dropout": 0.1}),
    ("resnet", {"depth": 2, "resolution": 7}),
    ("squeezenet", {"depth": 3, "every": 1, "width": 24, "increment": 8, "dropout": 0.5}),
    ("squeezenet", {"norm": "none", "squeeze": 0.5, "share": 0.25, "resolution": 12}),
    ("vit", {"depth": 1, "patch": 2, "heads": 2, "width": 24, "mlp": 1.5}),
    ("vit", {"depth": 2, "resolution": 16, "activation": "relu", "dropout": 0.1}),
]
"""(family, options): together they take every branch; each fits 8 x 8 pictures and larger."""
