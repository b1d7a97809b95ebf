from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ltx_duo.ltx_core.errors import CheckpointError, GeometryError
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams, upsample_latent
from ltx_duo.ltx_core.video_vae import PerChannelStatistics

OFFICIAL = {
    "_class_name": "LatentUpsampler",
    "in_channels": 128,
    "mid_channels": 1024,
    "num_blocks_per_stage": 4,
    "dims": 3,
    "spatial_upsample": True,
    "temporal_upsample": False,
    "spatial_scale": 2.0,
    "rational_resampler": False,
}
X15 = OFFICIAL | {"spatial_scale": 1.5, "rational_resampler": True}
TEMPORAL = OFFICIAL | {
    "mid_channels": 512,
    "spatial_upsample": False,
    "temporal_upsample": True,
    "rational_resampler": True,
}
SMALL = {"in_channels": 8, "mid_channels": 32, "num_blocks_per_stage": 1}


@pytest.mark.parametrize(
    ("component", "config", "parameters"),
    [
        ("ups_x2", OFFICIAL, 497_867_904),
        ("ups_x15", X15, 545_058_944),
        ("ups_x2_rat", OFFICIAL | {"rational_resampler": True}, None),
        ("ups_t", TEMPORAL, 130_968_192),
    ],
)
def test_official_tensors(component, config, parameters, official_tensors):
    """At full size the code builds exactly the tensors that the official file holds."""
    built = LatentUpsampler(UpsamplerParams.from_config(config), device="meta", dtype=torch.bfloat16)
    state = built.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == official_tensors(component)
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert parameters in (None, sum(p.numel() for p in built.parameters()))


@pytest.mark.parametrize(
    ("config", "spatial", "temporal"),
    [
        (OFFICIAL, Fraction(2), 1),
        (X15, Fraction(3, 2), 1),
        (X15 | {"spatial_scale": 0.75}, Fraction(3, 4), 1),
        (X15 | {"spatial_scale": 4}, Fraction(4), 1),
        (TEMPORAL, Fraction(1), 2),
        ({}, Fraction(2), 1),
    ],
)
def test_scale_and_shape(config, spatial, temporal, rng):
    params = UpsamplerParams.from_config(config)
    assert (params.spatial_scale, params.temporal_scale) == (spatial, temporal)
    upsampler = LatentUpsampler(UpsamplerParams.from_config(config | SMALL))
    out = upsampler(torch.randn((1, 8, 3, 4, 8), generator=rng))
    frames = 5 if temporal == 2 else 3
    assert out.shape == (1, 8, frames, 4 * spatial, 8 * spatial)


def test_missing_keys_mean_what_they_mean_to_the_vendor():
    assert UpsamplerParams.from_config({}) == UpsamplerParams(128, 512, 4, Fraction(2), 1, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_class_name": "AVTransformer3DModel"}, "AVTransformer3DModel"),
        ({"dims": 2}, "dims = 2"),
        ({"temporal_upsample": True}, "exactly one"),
        ({"spatial_upsample": False}, "exactly one"),
        ({"spatial_scale": 1.5}, "spatial_scale = 1.5, expected 2.0"),
        ({"spatial_scale": 3.0, "rational_resampler": True}, "expected one of 0.75, 1.5, 2.0, 4.0"),
        ({"spatial_scale": "2"}, "spatial_scale = '2'"),
        ({"mid_channels": 48}, "multiple of 32"),
        ({"in_channels": -1}, "in_channels = -1"),
        ({"num_blocks_per_stage": 2.0}, "num_blocks_per_stage = 2.0"),
    ],
)
def test_unsupported_values(change, words):
    with pytest.raises(CheckpointError, match=words):
        UpsamplerParams.from_config(OFFICIAL | change)


def test_works_on_latents_that_are_not_normalised(rng):
    upsampler = LatentUpsampler(UpsamplerParams.from_config(SMALL))
    mean, std = torch.randn(8, generator=rng), 0.5 + torch.rand(8, generator=rng)
    statistics = PerChannelStatistics(8)
    statistics.load_state_dict({"mean-of-means": mean, "std-of-means": std})
    latent = torch.randn((1, 8, 2, 3, 4), generator=rng)
    mean, std = mean.view(1, 8, 1, 1, 1), std.view(1, 8, 1, 1, 1)
    expected = (upsampler(latent * std + mean) - mean) / std
    torch.testing.assert_close(upsample_latent(upsampler, statistics, latent), expected)


def test_wrong_latent():
    upsampler = LatentUpsampler(UpsamplerParams.from_config(SMALL))
    with pytest.raises(GeometryError, match=r"\(1, 16, 1, 2, 2\)"):
        upsample_latent(upsampler, PerChannelStatistics(8), torch.zeros(1, 16, 1, 2, 2))


@pytest.mark.parametrize("config", [OFFICIAL, X15, TEMPORAL], ids=["x2", "x1.5", "temporal"])
def test_trainable_and_layers_only_called(config, rng):
    """Every layer comes from `ops` and is only called, and every parameter gets a gradient."""
    made = []

    def sealed(kind):
        class Sealed(nn.Module):
            def __init__(self, *args, **kwargs):
                super().__init__()
                self.sealed = kind(*args, **kwargs)
                made.append(self)

            def forward(self, x):
                return self.sealed(x)

        return Sealed

    names = ("Conv2d", "Conv3d", "GroupNorm")
    ops = SimpleNamespace(**{name: sealed(getattr(nn, name)) for name in names})
    upsampler = LatentUpsampler(UpsamplerParams.from_config(config | SMALL), ops=ops)
    upsampler(torch.randn((1, 8, 2, 4, 4), generator=rng)).square().mean().backward()
    parameters = dict(upsampler.named_parameters())
    assert len(parameters) == 2 * len(made)
    for name, parameter in parameters.items():
        assert parameter.grad is not None and parameter.grad.any(), name
