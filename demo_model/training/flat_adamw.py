"""AdamW and Muon over all parameters as one vector: few kernels a step however many tensors there are.

The modules see working weights (bfloat16 on a GPU, as they run later); sums of small steps are kept in float32.
"""

from collections.abc import Callable
from itertools import groupby

import torch
from torch import Tensor, nn

from .muon import orthogonal

BETAS = (0.9, 0.99)
EPSILON = 1e-8
SIZE = 0.2  # of a Muon update's entries, root mean square, which is about AdamW's (Liu et al., 2025)
_STATE = ("weights", "first", "second", "average", "count")


class FlatAdamW:
    """Takes over the parameters of `module` that need gradients, and their `grad`.

    `rates(name)` multiplies the learning rate of a parameter; matrices decay.  `average` follows the weights as an
    exponential mean, whose memory grows with the steps up to `memory`.  Matrices that `muon` names, of 8n elements,
    learn by Muon, at a learning rate that is their own `rates`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype,
        rates: Callable[[str], float] = lambda name: 1.0,
        muon: Callable[[str], bool] = lambda name: False,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        memory: float = 0.999,
    ):
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        # Matrices of one shape lie side by side, first of all.
        matrices = sorted(((name, p) for name, p in named if muon(name)), key=lambda pair: tuple(pair[1].shape))
        self.named = matrices + [(name, p) for name, p in named if not muon(name)]
        device = self.named[0][1].device
        sizes = [p.numel() for _, p in self.named]
        # Every tensor begins at a multiple of 16 bytes, as fast matrix products want it.
        self.places = [-(-size // 8) * 8 for size in sizes]
        total = sum(self.places)
        self.weights = torch.zeros(total, device=device)
        self.working = torch.zeros(total, device=device, dtype=dtype)
        self.gradients = torch.zeros_like(self.working)
        self.rates = torch.zeros(total, device=device)
        self.decays = torch.zeros(total, device=device)
        first = 0
        for (name, p), size, place in zip(self.named, sizes, self.places, strict=True):
            own = slice(first, first + size)
            self.weights[own] = p.detach().float().flatten()
            self.working[own] = self.weights[own].to(dtype)
            self.rates[own] = rates(name)
            self.decays[own] = weight_decay if p.ndim > 1 else 0.0
            p.data = self.working[own].view(p.shape)
            p.grad = self.gradients[own].view(p.shape)
            first += place
        self.stacks: list[tuple[slice, tuple[int, int]]] = []
        first = 0
        for shape, same in groupby(tuple(p.shape) for _, p in matrices):
            own = slice(first, first + len(list(same)) * shape[0] * shape[1])
            self.stacks.append((own, shape))
            first = own.stop
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.average = self.weights.clone()
        self.count = torch.zeros((), device=device)
        self.clip, self.memory = clip, memory

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """One step at the learning rate `rate` (a scalar tensor); the gradients are used up."""
        gradient = self.gradients.to(torch.float32, copy=True)
        self.gradients.zero_()
        gradient.mul_((self.clip / (gradient.norm() + 1e-12)).clamp(max=1.0))
        self.count.add_(1)
        self.first.lerp_(gradient, 1 - BETAS[0])
        directions = [gradient[own].lerp(self.first[own], BETAS[0]).view(-1, *shape) for own, shape in self.stacks]
        self.second.lerp_(gradient.square_(), 1 - BETAS[1])
        first = self.first / (1 - BETAS[0] ** self.count)
        update = first.div_((self.second / (1 - BETAS[1] ** self.count)).sqrt_().add_(EPSILON))
        for (own, shape), direction in zip(self.stacks, directions, strict=True):
            update[own] = orthogonal(direction).flatten() * (SIZE * max(shape) ** 0.5)
        update.addcmul_(self.weights, self.decays).mul_(self.rates)
        self.weights.sub_(update.mul_(rate))
        self.working.copy_(self.weights)
        self.average.lerp_(self.weights, 1 - (self.count / (self.count + 10)).clamp(max=self.memory))

    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by name, float32."""
        parts = zip(self.named, self.average.split(self.places), strict=True)
        return {name: part[: p.numel()].view(p.shape).clone() for (name, p), part in parts}

    def state(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in _STATE}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for name in _STATE:
            getattr(self, name).copy_(state[name])
        self.working.copy_(self.weights)
