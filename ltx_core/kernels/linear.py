"""Linear layers together with the GELU that follows them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activation import Activation, read
from .fp8 import Fp8Rows, gelu_rows, takes_rows
from .layer_protocols import FusesGelu, offers


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x @ weight.T + bias), tanh form, of x (..., K) and weight (N, K): (..., N).

    In half precision on a GPU the matrix product's own epilogue applies it, before anything is rounded.
    """
    if x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled():
        if bias is None:
            bias = weight.new_zeros(weight.shape[0])  # the epilogue has no form without
        flat = torch._addmm_activation(bias, x.flatten(0, -2), weight.t(), use_gelu=True)
        return flat.view(*x.shape[:-1], -1)
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def read_gelu(layer: nn.Module, x: Tensor | Activation, reader: nn.Module) -> Tensor | Fp8Rows:
    """gelu(layer(x)), tanh form: in one step where the layer is PyTorch's own or offers one, in float8 where `reader`,
    the linear layer that takes the result, multiplies in it."""
    tensor = x if isinstance(x, Tensor) else x.tensor
    if takes_rows(reader, tensor):
        return gelu_rows(read(layer, x))
    if type(layer) is nn.Linear and layer.weight.dtype == tensor.dtype:
        return linear_gelu(tensor, layer.weight, layer.bias)
    if offers(layer, FusesGelu) and not takes_rows(layer, tensor):
        return layer.forward_gelu(tensor)
    return F.gelu(read(layer, x), approximate="tanh")
