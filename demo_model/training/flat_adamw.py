"""AdamW over all parameters as one vector: a dozen kernels a step however many tensors there are.

The modules see working weights (bfloat16 on a GPU, as they run later); sums of small steps are kept in float32.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.99)
EPSILON = 1e-8
_STATE = ("weights", "first", "second", "average", "count")


class FlatAdamW:
    """Takes over the parameters of `module` that need gradients, and their `grad`.

    `rates(name)` multiplies the learning rate of a parameter; matrices decay.  `average` follows the weights as an
    exponential mean, whose memory grows with the steps up to `memory`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        dtype: torch.dtype,
        rates: Callable[[str], float] = lambda name: 1.0,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        memory: float = 0.999,
    ):
        self.named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
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
        self.second.lerp_(gradient.square_(), 1 - BETAS[1])
        first = self.first / (1 - BETAS[0] ** self.count)
        update = first.div_((self.second / (1 - BETAS[1] ** self.count)).sqrt_().add_(EPSILON))
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
