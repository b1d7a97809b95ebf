"""Estimates of memory grow with what takes memory; how much that is, benchmarks/memory.py measures on a GPU."""

from dataclasses import replace

import pytest

from ltx_duo.ltx_core.audio_vae import AudioVAEParams
from ltx_duo.ltx_core.execution import memory_estimates
from ltx_duo.ltx_core.execution.memory_estimates import COPIES
from ltx_duo.ltx_core.video_vae.params import Resample, ResidualStage, VideoVAEParams

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
