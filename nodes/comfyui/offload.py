"""Weights that go back to where they came from.

ComfyUI's ModelPatcher moves a module off the device with `module.to("cpu")`, which copies each weight into new memory:
seconds for a 22B model, and a second copy of a file that is mapped into memory already.  A weight's home is the tensor
that it had first: modules whose homes are remembered take these back instead.
"""

from functools import cache

import torch
from torch import Tensor, nn


class HasHome:
    """Mixed into a module's class: `to` the device of the first weights gives these back."""

    def to(self, *arguments, **options):
        device, dtype, _, _ = torch._C._nn._parse_to(*arguments, **options)
        if device is not None and dtype is None:
            for module in self.modules():
                take_home(module, device)
        return super().to(*arguments, **options)


def remember(root: nn.Module) -> None:
    """From now on every module below (and with) `root` goes back to the tensors that it has now."""
    for module in root.modules():
        tensors = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        # In the module's dictionary: ComfyUI replaces parameters, and these must not count as some.
        # A packed one as it is: its `data` would be a copy of its scales.
        module.__dict__["_home"] = {
            name: tensor.data if type(tensor.data) is Tensor else tensor for name, tensor in tensors.items()
        }
        module.__class__ = _with_home(type(module))


def take_home(module: nn.Module, device: torch.device) -> None:
    """Gives the module's own weights that are elsewhere back, if their home is on `device`."""
    home: dict[str, Tensor] = module.__dict__.get("_home", {})
    for name, tensor in home.items():
        if tensor.device != device:
            continue
        if name in module._parameters:
            if module._parameters[name].device != device:
                own = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
                module._parameters[name] = own
        elif module._buffers[name].device != device:
            module._buffers[name] = tensor


@cache
def _with_home(kind: type[nn.Module]) -> type[nn.Module]:
    return kind if issubclass(kind, HasHome) else type(kind.__name__, (HasHome, kind), {"__module__": kind.__module__})
