"""Vision transformer: a picture as a row of patches, layers of attention over them."""

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.attention import Attention
from spaces.families.blocks import Dropout, dropout
from spaces.families.layers import ACTIVATIONS, Activation, not_pictures
from spaces.families.resolution import Resolution, canonical_resolution, resized, resizing


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ViT:
    """Patches embedded by one convolution, `depth` transformer layers, their average, linear head.

    Input (channels, height, width); `patch` divides both sides, `heads` divides `width`.

    Sources: patches and layers (normalisation first) Dosovitskiy et al. 2021, arXiv:2010.11929,
    equations 1 to 4; the average in place of a class token Zhai et al. 2022, arXiv:2106.04560,
    section 3.3; attention Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    patch: int = Field(default=4, ge=1, le=64)
    """Side of a patch in pixels."""
    width: int = Field(default=64, ge=1, le=1024)
    """Numbers that a patch is represented by."""
    depth: int = Field(default=4, ge=1, le=24)
    """Number of layers."""
    heads: int = Field(default=4, ge=1, le=16)
    """Attentions side by side in a layer, of width / heads numbers each."""
    mlp: float = Field(default=2.0, gt=0, le=8)
    """Hidden units of a layer as a multiple of `width`."""
    activation: Activation = "gelu"
    dropout: Dropout = 0.0
    """Share of what a layer adds that a training step leaves out."""
    resolution: Resolution = 0
    """Shorter side in pixels that pictures are resized to inside the network; 0 as given."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures that patches cover, a width that heads share evenly."""
        if reason := not_pictures("vit", input_shape, vocabulary):
            return reason
        if self.width % self.heads:
            return (
                f"vit heads {self.heads} does not divide width {self.width}; choose heads that do"
            )
        height, width = resized(input_shape, self.resolution)
        if height % self.patch or width % self.patch:
            return (
                f"vit patch {self.patch} does not divide the picture, {height} x {width}; "
                "choose another patch or resolution"
            )
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "ViT":
        """The resolution in pixels."""
        return ViT(
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp=self.mlp,
            activation=self.activation,
            dropout=self.dropout,
            resolution=canonical_resolution(input_shape, self.resolution),
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose embedding, layers and head."""
        height, width = resized(input_shape, self.resolution)
        patches = (height // self.patch) * (width // self.patch)
        return nn.Sequential(
            *resizing(input_shape, self.resolution),
            PatchEmbedding(input_shape[0], self.patch, self.width, patches),
            *(self._layer(patches) for _ in range(self.depth)),
            nn.LayerNorm(self.width),
            MeanOfPatches(),
            nn.Linear(self.width, outputs),
        )

    def _layer(self, patches: int) -> nn.Module:
        hidden = max(1, round(self.mlp * self.width))
        mlp = [
            nn.Linear(self.width, hidden),
            ACTIVATIONS[self.activation](),
            nn.Linear(hidden, self.width),
            *dropout(self.dropout),
        ]
        attention = [Attention(self.width, self.heads, patches), *dropout(self.dropout)]
        return TransformerLayer(self.width, attention, mlp)


class PatchEmbedding(nn.Module):
    """Pictures (B, C, H, W) -> patches (B, N, width), a learned position added to each."""

    def __init__(self, channels: int, patch: int, width: int, patches: int) -> None:
        super().__init__()
        self.width, self.patches = width, patches
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.position_1NC = nn.Parameter(torch.randn(1, patches, width) * 0.02)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Row by row."""
        patches_BCN = self.embed(x_BCHW).reshape(-1, self.width, self.patches)
        output_BNC: Tensor = patches_BCN.transpose(1, 2) + self.position_1NC
        return output_BNC


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then the same with `mlp`, on (B, N, width)."""

    def __init__(self, width: int, attention: list[nn.Module], mlp: list[nn.Module]) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), *attention)
        self.mlp = nn.Sequential(nn.LayerNorm(width), *mlp)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Of the same shape."""
        x_BNC = x_BNC + self.attention(x_BNC)
        output_BNC: Tensor = x_BNC + self.mlp(x_BNC)
        return output_BNC


class MeanOfPatches(nn.Module):
    """(B, N, width) -> (B, width)."""

    def forward(self, x_BNC: Tensor) -> Tensor:
        """The average over the patches."""
        return x_BNC.mean(dim=1)
