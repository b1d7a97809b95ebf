"""Losses and their gradients, computed as they come or, on a GPU, replayed.

Networks this small are otherwise limited by how fast their thousands of kernels are launched.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, ...]
Terms = dict[str, Tensor]
Losses = Callable[..., Terms]


def backward(losses: Losses, parameters: Sequence[nn.Parameter], batch: Batch) -> Terms:
    """Sets the parameters' gradients to those of the sum of `losses(*batch)`; returns the terms."""
    terms = losses(*batch)
    gradients = torch.autograd.grad(sum(terms.values()), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # Convolutions may give it another layout in memory, which AdamW's fused kernel does not take.
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    return {name: value.detach() for name, value in terms.items()}


class Captured:
    """`backward` as a CUDA graph, for batches with the shapes of the first one.

    `after` is called when the gradients are there, as a part of the graph; `changed` are the tensors that it changes.
    """

    def __init__(
        self,
        losses: Losses,
        parameters: Sequence[nn.Parameter],
        batch: Batch,
        after: Callable[[], list[Tensor]],
        changed: Sequence[Tensor],
    ):
        self.parameters = parameters
        self.batch = tuple(tensor.clone() for tensor in batch)
        before = [tensor.clone() for tensor in changed]
        # Libraries choose their kernels first, and kernels that are compiled are compiled.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                backward(losses, parameters, self.batch)
                after()
        torch.cuda.current_stream().wait_stream(side)
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.terms = backward(losses, parameters, self.batch)
            self.results = after()
        self.gradients = [parameter.grad for parameter in parameters]

    def __call__(self, batch: Batch) -> tuple[Terms, list[Tensor]]:
        """What `backward` and `after` return; it and the gradients are the graph's own, valid until the next call."""
        for own, new in zip(self.batch, batch, strict=True):
            own.copy_(new)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.terms, self.results
