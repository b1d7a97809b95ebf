"""The engine's networks on the weights of modules that ComfyUI's own loaders made: its VAEs, its latent upsampler.

No weight is copied or converted.  ComfyUI's patcher moves, streams and patches its own layers as ever; the engine's ask
them for weight and bias at each use, and see all other tensors where they lie.  Nothing is written to ComfyUI's module,
and nothing keeps it alive: a borrowed network lives as long as one run of a node.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import comfy.ops
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ltx_core.errors import CheckpointError
from ...ltx_core.weights import differences
from .layers import cast
from .memory import PatchedModule, load_together


class BorrowedModule(PatchedModule):
    """An engine network on the weights that ComfyUI's `patcher` manages."""

    in_fp8 = False

    def __init__(self, patcher, network: nn.Module, compute_dtype: torch.dtype):
        super().__init__(patcher, compute_dtype)
        self._network = network

    @property
    def module(self) -> nn.Module:
        return self._network

    def load(self, activation_bytes: float = 0) -> nn.Module:
        """As PatchedModule's, which also writes to the module that it has to itself."""
        load_together([self], activation_bytes)
        return self._network


def borrow(
    build: Callable[..., nn.Module],
    lender: nn.Module,
    beside: Mapping[str, nn.Module] = MappingProxyType({}),
    *,
    what: str,
) -> nn.Module:
    """The network `build(ops=, device=)` on the weights of `lender`, and of the modules `beside` it by name.

    CheckpointError, which calls the lender `what`, unless names and shapes are those of the network.
    """
    network = build(ops=BorrowedLayers, device="meta").eval()
    found = {"": lender, **{f"{name}.": module for name, module in beside.items()}}
    found = {prefix + name: t for prefix, module in found.items() for name, t in module.state_dict().items()}
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    if problems := differences(expected, {name: tensor.shape for name, tensor in found.items()}):
        raise CheckpointError(
            f"{what} does not fit the model that its config describes: {problems}. Load the file with this pack's own "
            "loader, which says what is wrong with it."
        )
    for name, module in network.named_modules():
        if not (module._parameters or module._buffers):
            continue
        source = beside[name] if name in beside else lender.get_submodule(name)
        if isinstance(module, _Borrowing):
            module.__dict__["lender"] = source  # not as a submodule, whose weights would count twice
        # The dictionaries themselves: ComfyUI puts other tensors into them when it moves the module.
        module._parameters, module._buffers = source._parameters, source._buffers
    return network


class _Borrowing:
    """Mixed into ComfyUI's layers: computes with the weights of another one, `lender`, in the input's dtype."""

    comfy_cast_weights = True  # has ComfyUI's forward call the method below
    lender: nn.Module

    def forward_comfy_cast_weights(self, x: Tensor) -> Tensor:
        with cast(self.lender, x, x.dtype) as (weight, bias):
            return self._computed(x, weight, bias)

    def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(x, weight, bias)


class BorrowedLayers(comfy.ops.disable_weight_init):
    """The layers that VAEs, vocoder and upsampler are made of; sizes, strides and padding are the engine's own."""

    class Conv1d(_Borrowing, comfy.ops.disable_weight_init.Conv1d):
        pass

    class Conv2d(_Borrowing, comfy.ops.disable_weight_init.Conv2d):
        pass

    class Conv3d(_Borrowing, comfy.ops.disable_weight_init.Conv3d):
        def forward_apart(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
            """The convolution of x without the bias, and the bias (`layer_protocols.LeavesBias`)."""
            with cast(self.lender, x, x.dtype) as (weight, bias):
                # Cast weights lie in a buffer that the next layer writes over.
                return self._conv_forward(x, weight, None), None if bias is None else bias.clone()

    class ConvTranspose1d(_Borrowing, comfy.ops.disable_weight_init.ConvTranspose1d):
        def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv_transpose1d(
                x, weight, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
            )

    class GroupNorm(_Borrowing, comfy.ops.disable_weight_init.GroupNorm):
        def _computed(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)
