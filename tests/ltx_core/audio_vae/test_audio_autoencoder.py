"""Audio encoder and decoder: lengths, causality in time, cancelling, gradients, injected layers."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.errors import GeometryError

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())


def small_params() -> AudioVAEParams:
    config = copy.deepcopy(CONFIG_23)
    small = {"ch": 8, "z_channels": 2, "mel_bins": 16, "ch_mult": [1, 1, 2], "num_res_blocks": 1}
    config["audio_vae"]["model"]["params"]["ddconfig"].update(small)
    return AudioVAEParams.from_config(config)


PARAMS = small_params()


def make(kind: type, **options) -> torch.nn.Module:
    module = kind(PARAMS, **options)
    module.per_channel_statistics.get_buffer("mean-of-means").copy_(torch.linspace(-1, 1, 8))
    module.per_channel_statistics.get_buffer("std-of-means").copy_(torch.linspace(0.5, 2, 8))
    return module


ENCODER, DECODER = make(AudioEncoder), make(AudioDecoder)


class CountingReporter:
    """Cancels at the given check; counts them."""

    def __init__(self, cancel_at: int | None = None):
        self.checks, self.cancel_at = 0, cancel_at

    def check_cancel(self):
        self.checks += 1
        if self.checks == self.cancel_at:
            raise KeyboardInterrupt("cancelled")

    def step(self, done, total, video_x0=None):
        pass


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 2), frames=st.integers(1, 21))
def test_lengths(batch, frames):
    with torch.no_grad():
        assert DECODER(torch.zeros(batch, 2, frames, 4)).shape == (batch, 2, 4 * frames - 3, 16)
        latent_frames = -(-frames // 4)
        assert ENCODER(torch.zeros(batch, 2, frames, 16)).shape == (batch, 2, latent_frames, 4)
        assert ENCODER(torch.zeros(batch, 2, 4 * frames - 3, 16)).shape[2] == frames


@settings(max_examples=20, deadline=None)
@given(changed=st.integers(0, 5), seed=st.integers(0, 2**31))
def test_decoder_is_causal(changed, seed):
    """Latent frame t stands for mel frames 4t - 3 .. 4t and reaches none before them."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(1, 2, 6, 4, generator=generator)
    other = latent.clone()
    other[:, :, changed] += 1
    with torch.no_grad():
        difference = (DECODER(latent) - DECODER(other)).abs().amax(dim=(0, 1, 3))
    first = max(4 * changed - 3, 0)
    assert (difference[:first] == 0).all()
    assert difference[first] > 0


@settings(max_examples=20, deadline=None)
@given(changed=st.integers(0, 20), seed=st.integers(0, 2**31))
def test_encoder_is_causal(changed, seed):
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(1, 2, 21, 16, generator=generator)
    other = mel.clone()
    other[:, :, changed] += 1
    with torch.no_grad():
        difference = (ENCODER(mel) - ENCODER(other)).abs().amax(dim=(0, 1, 3))
    first = -(-changed // 4)
    assert (difference[:first] == 0).all()
    assert difference[first] > 0


def test_log_variance_is_not_used():
    """Only the first half of the encoder's last channels is the latent."""
    encoder = copy.deepcopy(ENCODER)
    mel = torch.randn(1, 2, 9, 16)
    with torch.no_grad():
        before = encoder(mel)
        encoder.conv_out.conv.bias[2:] += 5
        assert torch.equal(encoder(mel), before)
        encoder.conv_out.conv.bias[:2] += 5
        assert not torch.equal(encoder(mel), before)


@pytest.mark.parametrize("module, shape", [(DECODER, (1, 2, 3, 4)), (ENCODER, (1, 2, 9, 16))])
def test_cancel_at_every_level(module, shape):
    x = torch.zeros(shape)
    reporter = CountingReporter()
    with torch.no_grad():
        module(x, reporter)
    assert reporter.checks >= 3
    for check in range(1, 4):
        with pytest.raises(KeyboardInterrupt), torch.no_grad():
            module(x, CountingReporter(cancel_at=check))


@pytest.mark.parametrize("kind, shape", [(AudioDecoder, (1, 2, 3, 4)), (AudioEncoder, (1, 2, 9, 16))])
def test_trainable(kind, shape, rng):
    module = make(kind)
    module(torch.randn(shape, generator=rng)).square().mean().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        # The encoder's log-variances get no gradient, everything else gets some.
        assert parameter.grad.abs().max() > 0, name


class CastingConv2d(torch.nn.Conv2d):
    """Like ComfyUI's: weights of any dtype, cast to the input's."""

    def forward(self, x):
        return F.conv2d(x, self.weight.to(x), self.bias.to(x), self.stride, self.padding)


@pytest.mark.parametrize("kind, shape", [(AudioDecoder, (1, 2, 3, 4)), (AudioEncoder, (1, 2, 9, 16))])
def test_layers_come_from_ops(kind, shape, rng):
    """Weights stored as bfloat16 in casting layers compute in the input's float32."""
    stored = make(kind, ops=SimpleNamespace(Conv2d=CastingConv2d), dtype=torch.bfloat16)
    assert all(p.dtype == torch.bfloat16 for p in stored.state_dict().values())
    convolutions = [m for m in stored.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions and all(isinstance(m, CastingConv2d) for m in convolutions)
    plain = make(kind)
    plain.load_state_dict(stored.state_dict(), strict=True)
    x = torch.randn(shape, generator=rng)
    with torch.no_grad():
        result = stored(x)
        assert result.dtype == torch.float32
        assert torch.equal(result, plain(x))


@pytest.mark.parametrize(
    "module, shape",
    [(DECODER, (1, 2, 3, 5)), (DECODER, (1, 3, 3, 4)), (DECODER, (1, 2, 0, 4)), (DECODER, (1, 3, 8)),
     (ENCODER, (1, 2, 9, 64)), (ENCODER, (1, 1, 9, 16)), (ENCODER, (1, 2, 0, 16))],
)  # fmt: skip
def test_wrong_shapes_are_named(module, shape):
    with pytest.raises(GeometryError, match="needs \\(batch, 2, frames"):
        module(torch.zeros(shape))
