"""What linear layers read: a tensor, and its float8 rows for those that multiply in float8.

Whoever makes an activation is told who reads it.  The rows are then made once, in the same kernel where there is one,
however many layers read them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .fp8 import Fp8Rows, quantize_rows, takes_rows


@dataclass(frozen=True)
class Activation:
    """A tensor (R, T, K), and its rows in float8 if its readers take these."""

    tensor: Tensor
    rows: Fp8Rows | None = None

    @classmethod
    def made_for(cls, reader: nn.Module | None, tensor: Tensor) -> "Activation":
        """With float8 rows where `reader`, a linear layer, takes them."""
        return cls(tensor, quantize_rows(tensor) if takes_rows(reader, tensor) else None)

    def __getitem__(self, part: slice) -> "Activation":
        """Some entries of the first dimension.  Float8 rows come along where these are the first ones."""
        tensor = self.tensor[part]
        return Activation(tensor, None if self.rows is None or part.start else self.rows.first(tensor.shape))

    def select(self, entries: tuple[int, ...]) -> "Activation":
        """The named entries of the first dimension, copied unless they are the first ones."""
        if entries == tuple(range(len(entries))):
            return self[: len(entries)]
        tensor = torch.cat([self.tensor[entry : entry + 1] for entry in entries])
        return Activation(tensor, None if self.rows is None else quantize_rows(tensor))


def read(layer: nn.Module, x: Tensor | Activation) -> Tensor:
    """layer(x), from the float8 rows of x where the layer takes them."""
    if isinstance(x, Tensor):
        return layer(x)
    return layer(x.rows if x.rows is not None and takes_rows(layer, x.tensor) else x.tensor)
