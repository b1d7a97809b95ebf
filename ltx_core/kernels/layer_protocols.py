"""What a layer may offer beyond `forward`, for whoever builds the engine's modules from layers of their own (`ops`).

Everything here is optional: of a layer that does not offer it, the same is made from its `forward`.
"""

from functools import cache
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class TakesFp8Rows(Protocol):
    """A linear layer (with a `weight`) that may multiply in float8."""

    def takes_fp8_rows(self, x: Tensor) -> bool:
        """Whether it does so with a tensor like x: then its `forward` also takes `fp8.Fp8Rows`."""


@runtime_checkable
class FusesGelu(Protocol):
    """A linear layer that applies the GELU after it in one step."""

    def forward_gelu(self, x: Tensor) -> Tensor:
        """gelu(forward(x)), tanh form."""


@runtime_checkable
class LeavesBias(Protocol):
    """A convolution that leaves its bias to the layer that reads the result."""

    def forward_apart(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """forward(x) without the bias, and the bias."""


@runtime_checkable
class TellsFixedWeights(Protocol):
    """A layer with a `forward` of its own, which knows whether a recording of its kernels would do."""

    def fixed_weights(self) -> tuple[Tensor, ...] | None:
        """What it computes with, where that lies and will lie; None where something streams, casts or patches it."""


def offers(layer: nn.Module | None, protocol: type) -> bool:
    """Whether a layer's class has what the protocol names."""
    return _has(type(layer), protocol)


@cache  # asked for every layer of every block, and slow
def _has(kind: type, protocol: type) -> bool:
    return issubclass(kind, protocol)
