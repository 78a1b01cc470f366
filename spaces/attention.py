"""Attention over a row of vectors, in products that every exporter and counter knows."""

from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention of `heads` heads on (B, length, width); no mask, no dropout.

    The answers of `nn.MultiheadAttention` with the same weights. That one's older ONNX export
    computes its shapes at run time, and ONNX Runtime 1.32 then cannot prepare it for int8.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.length, self.each = heads, length, width // heads
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Of the same shape."""
        q_BHND = self._split(self.queries(x_BNC)) * self.each**-0.5
        k_BHND, v_BHND = self._split(self.keys(x_BNC)), self._split(self.values(x_BNC))
        shares_BHNN = (q_BHND @ k_BHND.transpose(2, 3)).softmax(dim=3)
        mixed_BNHD = (shares_BHNN @ v_BHND).transpose(1, 2)
        mixed_BNC = mixed_BNHD.reshape(-1, self.length, self.heads * self.each)
        output_BNC: Tensor = self.output(mixed_BNC)
        return output_BNC

    def _split(self, x_BNC: Tensor) -> Tensor:
        """(B, length, width) -> (B, heads, length, width / heads)."""
        return x_BNC.reshape(-1, self.length, self.heads, self.each).transpose(1, 2)
