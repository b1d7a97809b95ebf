"""Attention with a bias of its logits, as a weaker reference has it: PyTorch's kernels against the formula."""

import pytest
import torch

from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.sampling.attention_weights import AttentionWeights


def formula(q, k, v, weights: torch.Tensor, own: int) -> torch.Tensor:
    """Shares times weights, in float64 on the CPU."""
    q, k, v, weights = (x.double().cpu() for x in (q, k, v, weights))
    behind = len(weights) // 2
    between = torch.ones(q.shape[2], q.shape[2], dtype=torch.float64)
    between[:own, own:], between[own:, :own] = weights, weights[:, None]
    first, second = slice(own, own + behind), slice(own + behind, None)
    between[first, second], between[second, first] = 0, 0
    shares = (q @ k.mT / q.shape[-1] ** 0.5).exp() * between
    return shares / shares.sum(dim=-1, keepdim=True) @ v


def check(dtype: torch.dtype, device: str, own: int, behind: int, bar: float) -> None:
    q, k, v = (torch.randn(2, 4, own + 2 * behind, 128).to(device, dtype) for _ in range(3))
    weights = torch.rand(2 * behind).to(dtype)
    weights[0], weights[-1] = 0, 1
    groups = AttentionWeights.full(own, own).grown(behind, weights[:behind]).grown(behind, weights[behind:])
    made = scaled_dot_product(q, k, v, groups.bias(dtype).to(device))
    expected = formula(q, k, v, weights, own)
    assert made.dtype == dtype and made.isfinite().all()
    assert (made.cpu().double() - expected).abs().max() <= bar * expected.abs().max()


@pytest.mark.parametrize("behind", [3, 8])
def test_shares_are_weighted(behind):
    check(torch.float32, "cpu", 40, behind, 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 5e-3)])
@pytest.mark.parametrize("behind", [3, 8, 65])
def test_gpu_shares_are_weighted(dtype, bar, behind):
    check(dtype, "cuda", 500, behind, bar)
