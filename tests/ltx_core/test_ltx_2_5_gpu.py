"""What LTX-2.5 computes in another way on a GPU, in bfloat16, against float32 on the CPU."""

import copy

import pytest
import torch
from torch.nn import functional as F

from ltx_duo.ltx_core.kernels.attention import scaled_dot_product
from ltx_duo.ltx_core.kernels.linear import linear_gelu
from ltx_duo.ltx_core.transformer.feed_forward import FeedForward
from ltx_duo.ltx_core.video_vae.diffusion_decoder import DiffusionVideoDecoder
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams
from ltx_duo.ltx_core.video_vae.diffusion_tiling import decode_by_diffusion
from ltx_duo.ltx_core.video_vae.neighborhood import neighborhood_attention
from ltx_duo.ltx_core.video_vae.tiling import Tiling
from ltx_duo.scripts.small_model_parts.sizes import diffusion_vae_config, ltx_2_5
from ltx_duo.scripts.small_model_parts.values import RandomValues, diffusion_values

ON_GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def off(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Root of the mean square error, as a share of what is exact."""
    difference = found.cpu().double() - exact.double()
    return float(difference.square().mean().sqrt() / exact.double().square().mean().sqrt())


@pytest.mark.parametrize("device", ["cpu", ON_GPU])
@pytest.mark.parametrize("bias", [False, True])
def test_gelu_of_a_product(device, bias):
    """The fused form rounds once, and so is no worse than rounding twice."""
    x, weight = torch.randn(3, 70, 256), torch.randn(512, 256) / 16
    own = torch.randn(512) if bias else None
    x, weight = x.bfloat16().float(), weight.bfloat16().float()
    own = None if own is None else own.bfloat16().float()
    exact = F.gelu(F.linear(x, weight, own), approximate="tanh")
    halved = [None if tensor is None else tensor.to(device, torch.bfloat16) for tensor in (x, weight, own)]
    twice = F.gelu(F.linear(*halved), approximate="tanh")
    found = linear_gelu(*halved)
    assert found.shape == exact.shape and found.dtype == torch.bfloat16
    assert off(found, exact) <= 1.05 * off(twice, exact) < 5e-3


@pytest.mark.parametrize("device", ["cpu", ON_GPU])
def test_the_feed_forward_without_biases(device):
    layer = FeedForward(128, bias=False)
    x = torch.randn(2, 50, 128)
    halved = copy.deepcopy(layer).to(device, torch.bfloat16)
    assert off(halved(x.to(device, torch.bfloat16)), layer(x)) < 1e-2


@pytest.mark.parametrize("device", ["cpu", ON_GPU])
@pytest.mark.parametrize(("grid", "kernel"), [((7, 20, 24), (3, 7, 7)), ((5, 12, 40), (5, 5, 5))], ids=str)
def test_neighborhood_attention(device, grid, kernel):
    q, k, v = torch.randn(3, 1, *grid, 2, 16)
    exact = neighborhood_attention(q, k, v, kernel, scaled_dot_product)
    halved = (tensor.to(device, torch.bfloat16) for tensor in (q, k, v))
    assert off(neighborhood_attention(*halved, kernel, scaled_dot_product), exact) < 1e-2


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("tiling", [None, Tiling(96, 32, 32, 8)], ids=["whole", "tiles"])
def test_diffusion_decoder(device, tiling):
    config = {"vae": diffusion_vae_config(ltx_2_5().config["vae"])}
    decoder = DiffusionVideoDecoder(DiffusionDecoderParams.from_config(config)).eval()
    values = diffusion_values(RandomValues(torch.seed() % 2**31))
    decoder.load_state_dict({n: values(n, tuple(t.shape)) for n, t in decoder.state_dict().items()})
    latent = torch.randn(1, 128, 3, 4, 4)
    exact = decode_by_diffusion(decoder, latent, torch.Generator().manual_seed(1), tiling)
    halved = copy.deepcopy(decoder).to(device, torch.bfloat16)
    found = decode_by_diffusion(halved, latent.to(device, torch.bfloat16), torch.Generator().manual_seed(1), tiling)
    assert found.shape == exact.shape == (17, 128, 128, 3)
    assert off(found - 0.5, exact - 0.5) < 5e-2
