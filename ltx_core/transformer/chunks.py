"""Position-wise work in pieces: less memory at once, the same numbers up to rounding.

How many pieces is set around a call of the model, not on its modules, which are shared: `with chunked(4): model(...)`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_COUNT: ContextVar[int] = ContextVar("chunks", default=1)


@contextmanager
def chunked(count: int) -> Iterator[None]:
    """Inside, feed-forward networks work through their tokens in `count` pieces (1: all at once)."""
    token = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(token)


def chunk_count() -> int:
    """How many pieces are in force."""
    return _COUNT.get()


def by_tokens(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x) for a position-wise function of x (..., T, D) that keeps D, in as many pieces as are in force."""
    # The compiler, which only training uses, cannot read context variables.
    count = 1 if torch.compiler.is_compiling() else min(_COUNT.get(), x.shape[-2])
    if count <= 1:
        return function(x)
    result = torch.empty_like(x)
    for source, target in zip(x.chunk(count, dim=-2), result.chunk(count, dim=-2), strict=True):
        target.copy_(function(source))
    return result
