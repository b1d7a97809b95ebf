"""Estimates of memory grow with what takes memory; how much that is, benchmarks/memory.py measures on a GPU."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.benchmarks.live_memory import LiveStorages
from ltx_duo.ltx_core.audio_vae import AudioVAEParams
from ltx_duo.ltx_core.execution import memory_estimates
from ltx_duo.ltx_core.execution.diffusion_estimate import diffusion_decoder
from ltx_duo.ltx_core.execution.memory_estimates import COPIES
from ltx_duo.ltx_core.video_vae.diffusion_decoder import DiffusionVideoDecoder
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams
from ltx_duo.ltx_core.video_vae.diffusion_tiling import decode_by_diffusion
from ltx_duo.ltx_core.video_vae.params import Resample, ResidualStage, VideoVAEParams
from ltx_duo.ltx_core.video_vae.tiling import Tiling
from ltx_duo.scripts.small_model_parts.sizes import diffusion_vae_config, model_config

BYTES = 2  # of bfloat16
ENLARGING = Resample((2, 2, 2), 2)
PARAMS = VideoVAEParams(
    encoder_blocks=(ResidualStage(2), *[Resample((2, 2, 2), 2), ResidualStage(2)] * 3),
    decoder_blocks=(ResidualStage(2), *[ENLARGING, ResidualStage(2)] * 3),
)
# Wide layers, beside which the decoded pixels weigh little.
WIDE = replace(PARAMS, decoder_blocks=(ENLARGING,) * 3, decoder_base_channels=512)


def test_enlarging_with_a_residual_holds_a_second_enlarged_tensor():
    residual = replace(WIDE, decoder_blocks=(replace(ENLARGING, residual=True),) * 3)
    plain, more = (memory_estimates.video_decoder(params, 121, 1024, 1536) for params in (WIDE, residual))
    last = 121 * (1024 // 4) * (1536 // 4) * WIDE.decoder_base_channels
    assert more - plain == pytest.approx(last * COPIES.enlarged * BYTES)


def test_an_image_is_encoded_with_frames_in_front_of_it():
    one, three = (memory_estimates.video_encoder(PARAMS, frames, 1024, 1536) for frames in (1, 3))
    assert one / three == pytest.approx(2 / 4, rel=0.02)


def test_encoding_sound_takes_more_the_longer_it_is():
    sizes = AudioVAEParams(2, 2, 128, (1, 2, 4), 2, 8, 64, 16000, 160, 1024)
    one, two = (memory_estimates.audio_encoder(sizes, latents) - COPIES.fixed for latents in (126, 252))
    # Its first level: 128 channels of 64 bands and four frames a latent, in float32.
    assert two == 2 * one and one == pytest.approx(126 * 4 * 64 * 128 * 4 * COPIES.heard)


@pytest.mark.parametrize("estimate", [memory_estimates.video_decoder, memory_estimates.video_encoder])
def test_an_estimate_follows_the_size(estimate):
    small, twice = (estimate(PARAMS, 17, 512, width) - COPIES.fixed for width in (512, 1024))
    assert twice == pytest.approx(2 * small, rel=0.02)
    wide = estimate(PARAMS, 17, 512, 512, itemsize=2 * BYTES) - COPIES.fixed
    assert wide == pytest.approx(2 * small)


PUBLISHED = {"_class_name": "CausalDiffusionVAE", "model_output_type": "x0"}
DIFFUSION = DiffusionDecoderParams.from_config({"vae": {**PUBLISHED, "decoder": {"default_num_inference_steps": 1}}})


def test_the_diffusion_decoder_takes_less_in_tiles_and_keeps_the_whole_films_features():
    """As `benchmarks/live_memory.py` counts tensors at full size: 4,006 MiB for 49 frames of 768x512 in one piece, of
    which 390 MiB are one copy of the context; the features take 99 MiB."""
    mib = 2**20
    whole = diffusion_decoder(DIFFUSION, 49, 512, 768) / mib
    assert 4006 <= whole <= 1.3 * 4006
    tiles = [diffusion_decoder(DIFFUSION, 121, 1024, 1536, Tiling(size, 160, 80, 40)) for size in (320, 512, 768)]
    assert sorted(tiles) == tiles and tiles[-1] < diffusion_decoder(DIFFUSION, 121, 1024, 1536) / 3
    # A longer film adds its features, and little beside them: 15 latent frames of four cells, 256 channels wide.
    longer = diffusion_decoder(DIFFUSION, 241, 1024, 1536, Tiling(768, 160, 80, 40))
    features = 15 * 4 * (1024 // 32 * 4) * (1536 // 32 * 4) * 256 * BYTES
    assert features <= longer - tiles[-1] < 1.5 * features


def test_the_diffusion_decoders_estimate_is_at_least_what_it_takes():
    """Its tensors, counted on the CPU while it decodes."""
    params = DiffusionDecoderParams.from_config({"vae": diffusion_vae_config(model_config()["vae"])})
    decoder = DiffusionVideoDecoder(params, dtype=torch.float32).requires_grad_(False)
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    latent = torch.randn(1, 128, 4, 8, 8)
    for tiling in (None, Tiling(128, 32, 16, 8)):
        with LiveStorages() as storages:
            decode_by_diffusion(decoder, latent, torch.Generator(), tiling)
        assert storages.peak <= diffusion_decoder(params, 25, 256, 256, tiling, 4)
