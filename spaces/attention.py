"""Attention over a row of vectors, in products that every exporter and counter knows."""

from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention of `heads` heads on (B, length, width); no dropout.

    The answers of `nn.MultiheadAttention` with the same weights. That one's older ONNX export
    computes its shapes at run time, and ONNX Runtime 1.32 then cannot prepare it for int8.

    Where some positions are padding, the weights of these are set to 0 and the rest divided by
    their sum: the numbers of scores of minus infinity there, which no 8 bits could hold.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.length, self.each = heads, length, width // heads
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor, real_BN1: Tensor | None = None) -> Tensor:
        """Of the same shape; `real_BN1` is 0 at padding, else 1, and None for no padding."""
        q_BHND = self._split(self.queries(x_BNC)) * self.each**-0.5
        k_BHND, v_BHND = self._split(self.keys(x_BNC)), self._split(self.values(x_BNC))
        shares_BHNN = (q_BHND @ k_BHND.transpose(2, 3)).softmax(dim=3)
        if real_BN1 is not None:
            shares_BHNN = shares_BHNN * real_BN1.transpose(1, 2).unsqueeze(1)
            shares_BHNN = shares_BHNN / shares_BHNN.sum(3, keepdim=True).clamp(min=1e-6)
        mixed_BNHD = (shares_BHNN @ v_BHND).transpose(1, 2)
        mixed_BNC = mixed_BNHD.reshape(-1, self.length, self.heads * self.each)
        output_BNC: Tensor = self.output(mixed_BNC)
        return output_BNC

    def _split(self, x_BNC: Tensor) -> Tensor:
        """(B, length, width) -> (B, heads, length, width / heads)."""
        return x_BNC.reshape(-1, self.length, self.heads, self.each).transpose(1, 2)
