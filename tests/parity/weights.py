"""Random weights for a module, and equal weights for two."""

import torch
from torch import nn


def randomise(module: nn.Module, generator: torch.Generator, scale: float = 0.02) -> nn.Module:
    """Fills every parameter with noise: matrices keep the signal's size, vectors and tables are near one or zero."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if parameter.ndim >= 2 and "table" not in name and "registers" not in name:
                fan_in = parameter[0].numel()
                parameter.copy_(noise * fan_in**-0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * max(scale, 0.1))
    return module


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Loads `source`'s state into `target`, strictly: both must have the same names and shapes."""
    target.load_state_dict(source.state_dict(), strict=True)
