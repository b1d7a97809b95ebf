"""The position-wise network of a transformer block: Linear -> GELU (tanh form) -> Linear."""

from torch import Tensor, nn

from ..kernels.activation import Activation
from ..kernels.linear import read_gelu


class _GeluProjection(nn.Module):
    def __init__(self, width: int, hidden: int, *, bias: bool, ops, dtype, device):
        super().__init__()
        self.proj = ops.Linear(width, hidden, bias=bias, dtype=dtype, device=device)


class FeedForward(nn.Module):
    """x (..., width) -> (..., width) through `expansion` times the width; tensors `net.0.proj.*` and `net.2.*`."""

    def __init__(self, width: int, *, expansion: int = 4, bias: bool = True, ops=nn, dtype=None, device=None):
        super().__init__()
        hidden = width * expansion
        self.net = nn.Sequential(
            _GeluProjection(width, hidden, bias=bias, ops=ops, dtype=dtype, device=device),
            nn.Identity(),
            ops.Linear(hidden, width, bias=bias, dtype=dtype, device=device),
        )

    @property
    def reader(self) -> nn.Module:
        """The layer that reads its input."""
        return self.net[0].proj

    def forward(self, x: Tensor | Activation) -> Tensor:
        down = self.net[2]
        return down(read_gelu(self.reader, x, reader=down))
