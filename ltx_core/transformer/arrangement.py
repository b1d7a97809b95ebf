"""How the work of a block is arranged: in the order of its calls, unless execution hands in something else."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from ..kernels.activation import Activation


class Arrangement:
    """Everything in order, all tokens at once."""

    def audio(self) -> AbstractContextManager:
        """Inside, audio is computed."""
        return nullcontext()

    def exchange(self, *activations: Activation) -> None:
        """From here on each modality may read these of the other."""

    def feed_forward(self, network: Callable[[Tensor | Activation], Tensor], x: Activation) -> Tensor:
        """network(x) for a position-wise network that keeps the shape (R, T, D) of x."""
        return network(x)


IN_ORDER = Arrangement()
