"""Linear layers together with the GELU that follows them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """gelu(x @ weight.T + bias), tanh form, of x (..., K) and weight (N, K): (..., N).

    In half precision on a GPU the matrix product's own epilogue applies it, before anything is rounded.
    """
    if x.is_cuda and bias is not None and x.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled():
        flat = torch._addmm_activation(bias, x.flatten(0, -2), weight.t(), use_gelu=True)
        return flat.view(*x.shape[:-1], -1)
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


def apply_gelu(linear: nn.Module, x: Tensor) -> Tensor:
    """gelu(linear(x)), in one step where the layer is PyTorch's own or offers one (`forward_gelu`)."""
    if type(linear) is nn.Linear and linear.weight.dtype == x.dtype:
        return linear_gelu(x, linear.weight, linear.bias)
    own = getattr(linear, "forward_gelu", None)
    return F.gelu(linear(x), approximate="tanh") if own is None else own(x)
