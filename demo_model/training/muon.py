"""Muon: momentum whose matrices are made orthogonal, so that all directions are learned alike, rare ones too.

Keller Jordan et al., 2024 (https://kellerjordan.github.io/posts/muon): the quintic Newton-Schulz iteration.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions and more: (out, ...), of which all but the first count as one."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        """One step for all parameters with a gradient; those of one shape are computed together."""
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape[0], parameter[0].numel()].append(parameter)
            for (rows, columns), parameters in shapes.items():
                updates = torch.stack([self._momentum(parameter, group["momentum"]) for parameter in parameters])
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(parameters, orthogonal(updates), strict=True):
                    parameter.add_(update.view(parameter.shape), alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum, (rows, columns)."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum).flatten(1)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) -> the same with all singular values around 1 (0.7 to 1.2); in bfloat16 on a GPU."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x if wide else x.mT).to(matrices)
