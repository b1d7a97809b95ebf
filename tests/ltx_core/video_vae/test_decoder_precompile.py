"""What is compiled ahead is what a decoder then runs."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be set before triton is imported

from ltx_duo.ltx_core.execution.precompile import compile_video_decoder
from ltx_duo.ltx_core.kernels import triton_pixel_norm

KERNELS = (triton_pixel_norm._norm_silu_pad, triton_pixel_norm._add_update)


def compiled() -> int:
    return sum(len(caches[0]) for kernel in KERNELS for caches in kernel.device_caches.values())


@pytest.mark.gpu
@torch.no_grad()
def test_gpu_nothing_is_left_to_compile(decoder, rng):
    decoder = decoder.to("cuda", torch.bfloat16)
    for kernel in KERNELS:
        kernel.device_caches.clear()
    compile_video_decoder.cache_clear()
    compile_video_decoder(decoder.params, torch.bfloat16, torch.device("cuda", 0)).result()
    before = compiled()
    for size in ((3, 2, 2), (4, 3, 5)):
        latent = torch.randn(1, decoder.params.latent_channels, *size, generator=rng).to("cuda", torch.bfloat16)
        assert decoder(latent).isfinite().all()
    assert compiled() == before > 5
