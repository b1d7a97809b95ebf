"""Whole vocoder: lengths, float32 whatever the weights are stored in, clamping, cancelling, gradients."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.ltx_core.vocoder import VocoderParams, build_vocoder
from ltx_duo.ltx_core.vocoder.bandwidth_extension import sinc_upsample

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
TWO_BLOCKS = {"resblock_kernel_sizes": [3, 5], "resblock_dilation_sizes": [[1, 3], [1, 2]]}
STAGES_20 = {"upsample_initial_channel": 8, "upsample_rates": [10, 6, 4], "upsample_kernel_sizes": [20, 12, 8]}
CONFIG_20 = {**CONFIG_23, "vocoder": {**STAGES_20, **TWO_BLOCKS}}


def config_with(bwe: dict) -> dict:
    """LTX-2.3's vocoder with three stages of few channels instead of six and five."""
    config = copy.deepcopy(CONFIG_23)
    stages = {"upsample_rates": [10, 4, 4], "upsample_kernel_sizes": [20, 8, 8]}
    config["vocoder"]["vocoder"].update(upsample_initial_channel=16, **stages, **TWO_BLOCKS)
    stages = {"upsample_rates": [6, 5, 8], "upsample_kernel_sizes": [12, 11, 16]}
    config["vocoder"]["bwe"].update({"upsample_initial_channel": 8, **stages, **TWO_BLOCKS, **bwe})
    return config


PARAMS_23 = VocoderParams.from_config(config_with({}))
PARAMS_20 = VocoderParams.from_config(CONFIG_20)
VOCODER_23, VOCODER_20 = build_vocoder(PARAMS_23), build_vocoder(PARAMS_20)
BOTH = pytest.mark.parametrize("params", [PARAMS_23, PARAMS_20], ids=["2.3", "2.0"])


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 2), latent_frames=st.integers(1, 5))
def test_lengths(batch, latent_frames):
    frames = 4 * latent_frames - 3
    mel = torch.zeros(batch, 2, frames, 64)
    with torch.no_grad():
        assert VOCODER_23.vocoder(mel).shape == (batch, 2, 160 * frames)
        assert VOCODER_23(mel).shape == (batch, 2, 480 * frames)
        assert VOCODER_20(mel).shape == (batch, 2, 240 * frames)


def test_length_of_a_usual_video():
    """121 frames at 24 a second: 126 latent frames, 501 mel frames, 240,480 samples of 48 kHz."""
    mel = torch.zeros(1, 2, 4 * 126 - 3, 64, device="meta")
    assert build_vocoder(PARAMS_23, device="meta")(mel).shape == (1, 2, 240480)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_16_khz_sound_is_padded_to_whole_hops(frames, rng):
    """With a hop of 96, 160 * T samples are no whole number of hops: padded for the extension, cropped afterwards."""
    bwe = {"hop_length": 96, "upsample_rates": [6, 6, 8], "upsample_kernel_sizes": [12, 12, 16]}
    vocoder = build_vocoder(VocoderParams.from_config(config_with(bwe)))
    mel = torch.randn(1, 2, frames, 64, generator=rng)
    with torch.no_grad():
        narrow = vocoder.vocoder(mel)
        missing = -160 * frames % 96
        assert missing > 0 or frames == 3
        padded = F.pad(narrow, (0, missing))
        total = vocoder.bwe_generator(vocoder.mel_stft(padded)) + sinc_upsample(padded, 3)
        assert torch.equal(vocoder(mel), total.clamp(-1, 1)[..., : 480 * frames])


class CastingConv1d(torch.nn.Conv1d):
    """Like ComfyUI's: weights of any dtype, cast to the input's."""

    def forward(self, x):
        bias = None if self.bias is None else self.bias.to(x)
        return F.conv1d(x, self.weight.to(x), bias, self.stride, self.padding, self.dilation)


class CastingConvTranspose1d(torch.nn.ConvTranspose1d):
    def forward(self, x):
        return F.conv_transpose1d(x, self.weight.to(x), self.bias.to(x), self.stride, self.padding)


CASTING = SimpleNamespace(Conv1d=CastingConv1d, ConvTranspose1d=CastingConvTranspose1d)


@BOTH
def test_bfloat16_weights_compute_in_float32(params, rng):
    stored = build_vocoder(params, ops=CASTING, dtype=torch.bfloat16)
    assert all(tensor.dtype == torch.bfloat16 for tensor in stored.state_dict().values())
    plain = build_vocoder(params, dtype=torch.bfloat16)
    plain.load_state_dict(stored.state_dict(), strict=True)
    mel = torch.randn(1, 2, 3, 64, generator=rng).bfloat16()
    with torch.no_grad():
        sound = stored(mel)
        assert sound.dtype == torch.float32
        assert torch.equal(sound, plain(mel))
        assert torch.equal(sound, plain(mel.float()))
    assert not torch.equal(sound, sound.bfloat16().float()), "the sound itself was rounded to bfloat16"


@BOTH
def test_all_layers_come_from_ops(params):
    layers = [m for m in build_vocoder(params, ops=CASTING).modules() if isinstance(m, torch.nn.modules.conv._ConvNd)]
    assert layers and all(isinstance(layer, (CastingConv1d, CastingConvTranspose1d)) for layer in layers)


def test_what_is_limited(rng):
    """The 16 kHz sound is clamped, the residual is not, their sum is clamped again; 2.0's sound goes through tanh."""
    vocoder, old = copy.deepcopy(VOCODER_23), copy.deepcopy(VOCODER_20)
    mel = torch.randn(1, 2, 3, 64, generator=rng)
    with torch.no_grad():
        unlimited = []
        for network in (vocoder.vocoder, vocoder.bwe_generator):
            network.conv_post.weight.mul_(1e-4)
            quiet = network(mel)
            factor = 2 / quiet.abs().max()
            network.conv_post.weight.mul_(factor)
            unlimited.append(quiet * factor)
        torch.testing.assert_close(vocoder.vocoder(mel), unlimited[0].clamp(-1, 1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vocoder.bwe_generator(mel), unlimited[1], rtol=1e-4, atol=1e-5)
        narrow = vocoder.vocoder(mel)
        total = vocoder.bwe_generator(vocoder.mel_stft(narrow)) + sinc_upsample(narrow, 3)
        assert torch.equal(vocoder(mel), total.clamp(-1, 1))
        old.conv_post.weight.zero_()
        old.conv_post.bias.copy_(torch.tensor([0.5, -3.0]))
        expected = torch.tensor([0.5, -3.0]).tanh()[None, :, None].expand(1, 2, 720)
        torch.testing.assert_close(old(mel), expected)


def test_channel_is_side_times_bins_plus_bin():
    """The first layer sees the left side's 64 bins, then the right side's."""
    vocoder = copy.deepcopy(VOCODER_20)
    with torch.no_grad():
        vocoder.conv_pre.weight.zero_()
        vocoder.conv_pre.weight[:, 64 + 5] = 1
        silent = vocoder(torch.zeros(1, 2, 3, 64))
        for side, band, heard in ((0, 5, False), (1, 5, True), (1, 6, False), (0, 10, False)):
            mel = torch.zeros(1, 2, 3, 64)
            mel[:, side, :, band] = 1
            assert torch.equal(vocoder(mel), silent) != heard, (side, band)


class Cancelling:
    def __init__(self, cancel_at: int):
        self.checks, self.cancel_at = 0, cancel_at

    def check_cancel(self):
        self.checks += 1
        if self.checks == self.cancel_at:
            raise KeyboardInterrupt("cancelled")

    def step(self, done, total, video_x0=None):
        pass


@BOTH
def test_cancel_at_every_stage(params):
    vocoder = build_vocoder(params)
    mel = torch.zeros(1, 2, 1, 64)
    stages = 3 if params.bandwidth_extension is None else 6
    counting = Cancelling(cancel_at=0)
    with torch.no_grad():
        vocoder(mel, counting)
        assert counting.checks >= stages
        for check in range(1, stages + 1):
            with pytest.raises(KeyboardInterrupt):
                vocoder(mel, Cancelling(cancel_at=check))


@BOTH
def test_trainable(params, rng):
    vocoder = build_vocoder(params)
    vocoder(torch.randn(1, 2, 3, 64, generator=rng)).square().mean().backward()
    for name, parameter in vocoder.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@BOTH
@pytest.mark.parametrize("shape", [(1, 2, 3, 16), (1, 1, 3, 64), (2, 3, 64)])
def test_wrong_shapes_are_named(params, shape):
    with pytest.raises(GeometryError, match="needs \\(batch, 2, frames, 64\\)"):
        build_vocoder(params)(torch.zeros(shape))
