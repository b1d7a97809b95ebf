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
    """For weights of two dimensions and more: (out, ...), of which all but the first count as one.

    A step has two halves: `updates()`, hundreds of small kernels, which a CUDA graph can hold, and `step(updates)`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter] | Iterable[dict], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        for parameter in self._parameters():
            self.state[parameter]["momentum"] = torch.zeros_like(parameter)

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def changed(self) -> list[Tensor]:
        """What `updates` changes."""
        return [self.state[parameter]["momentum"] for parameter in self._parameters()]

    @torch.no_grad()
    def updates(self) -> list[Tensor]:
        """Takes the gradients into the momentum; the direction for each parameter, for a rate of one."""
        found: dict[nn.Parameter, Tensor] = {}
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                shapes[parameter.shape[0], parameter[0].numel()].append(parameter)
            for (rows, columns), parameters in shapes.items():
                directions = torch.stack([self._direction(parameter, group["momentum"]) for parameter in parameters])
                directions = orthogonal(directions) * max(1.0, rows / columns) ** 0.5
                for parameter, direction in zip(parameters, directions, strict=True):
                    found[parameter] = direction.view(parameter.shape)
        return [found[parameter] for parameter in self._parameters()]

    @torch.no_grad()
    def step(self, updates: list[Tensor]) -> None:
        for parameter, update in zip(self._parameters(), updates, strict=True):
            parameter.add_(update, alpha=-self.param_groups[0]["lr"])

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's momentum, (rows, columns)."""
        average = self.state[parameter]["momentum"]
        average.lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(average, momentum).flatten(1)


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
