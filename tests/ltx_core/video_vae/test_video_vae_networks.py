from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ltx_duo.ltx_core.errors import CheckpointError, GeometryError
from ltx_duo.ltx_core.kernels.pixel_norm import pixel_norm
from ltx_duo.ltx_core.video_vae import PerChannelStatistics, VideoDecoder, VideoEncoder, VideoVAEParams, layers


def pixels(rng, frames: int, height: int = 64, width: int = 32) -> torch.Tensor:
    return torch.rand((1, 3, frames, height, width), generator=rng) * 2 - 1


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_encoder_leaves_out_frames_beyond_8n_plus_1(frames, latent_frames, encoder, rng):
    video = pixels(rng, frames)
    latent = encoder(video)
    assert latent.shape == (1, 16, latent_frames, 2, 1)
    torch.testing.assert_close(latent, encoder(video[:, :, : 8 * latent_frames - 7]), rtol=0, atol=0)


def test_encoder_sees_no_later_frame(encoder, rng):
    video = pixels(rng, 17)
    changed = video.clone()
    changed[:, :, 9:] = -changed[:, :, 9:]
    before, after = encoder(video), encoder(changed)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2], rtol=0, atol=0)
    assert (before[:, :, 2] - after[:, :, 2]).abs().max() > 1e-3


def test_decoder_sees_later_frames_unless_causal(small_config, rng, decoder):
    latent = torch.randn((1, 16, 3, 2, 2), generator=rng)
    changed = latent.clone()
    changed[:, :, 2] = -changed[:, :, 2]
    assert (decoder(latent)[:, :, :9] - decoder(changed)[:, :, :9]).abs().max() > 1e-3
    small_config["vae"]["causal_decoder"] = True
    causal = VideoDecoder(VideoVAEParams.from_config(small_config))
    causal.load_state_dict(decoder.state_dict())
    torch.testing.assert_close(causal(latent)[:, :, :9], causal(changed)[:, :, :9], rtol=0, atol=0)


def test_decoded_shape(decoder, rng):
    assert decoder(torch.randn((2, 16, 3, 1, 2), generator=rng)).shape == (2, 3, 17, 32, 64)


def test_geometry_errors(encoder, decoder):
    with pytest.raises(GeometryError, match="48x64"):
        encoder(torch.zeros(1, 3, 1, 64, 48))
    with pytest.raises(GeometryError, match="4 channels"):
        encoder(torch.zeros(1, 4, 1, 64, 64))
    with pytest.raises(GeometryError, match=r"\(1, 8, 1, 2, 2\)"):
        decoder(torch.zeros(1, 8, 1, 2, 2))


def test_too_small_for_reflection(small_config):
    del small_config["vae"]["spatial_padding_mode"]
    decoder = VideoDecoder(VideoVAEParams.from_config(small_config))
    with pytest.raises(GeometryError, match="64x32 pixels"):
        decoder(torch.zeros(1, 16, 1, 1, 2))


def test_every_parameter_gets_a_gradient(encoder, decoder, rng):
    reconstruction = decoder(encoder(pixels(rng, 9)))
    reconstruction.square().mean().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            gradient = parameter.grad
            assert gradient is not None and torch.isfinite(gradient).all(), name
            if module is encoder and name.startswith("conv_out."):
                assert not gradient[-1].any(), "the log variance takes no part"
                gradient = gradient[:-1]
            assert gradient.any(), name


def test_layers_come_from_ops_and_are_only_called(small_config, encoder, decoder, rng):
    """ComfyUI may keep weights on another device or in fp8: nobody but the layer itself may touch them."""

    class SealedConv3d(nn.Module):
        def __init__(self, *args, **kwargs):
            super().__init__()
            self.sealed = nn.Conv3d(*args, **kwargs)

        def forward(self, x):
            return self.sealed(x)

    ops = SimpleNamespace(Conv3d=SealedConv3d)
    params = VideoVAEParams.from_config(small_config)
    for kind, module, x in (
        (VideoEncoder, encoder, pixels(rng, 9)),
        (VideoDecoder, decoder, torch.randn((1, 16, 2, 2, 2), generator=rng)),
    ):
        sealed = kind(params, ops=ops)
        state = {
            name.replace(".conv.weight", ".conv.sealed.weight").replace(".conv.bias", ".conv.sealed.bias"): tensor
            for name, tensor in module.state_dict().items()
        }
        sealed.load_state_dict(state)
        torch.testing.assert_close(sealed(x), module(x), rtol=0, atol=0)


def test_reflection_does_not_depend_on_the_layer(rng):
    """The same as torch's own padding_mode, also with ops whose convolution ignores that option."""
    ours = layers.VideoConv3d(3, 5, causal=False, padding="reflect")
    torchs = nn.Conv3d(3, 5, 3, padding=(0, 1, 1), padding_mode="reflect")
    torchs.load_state_dict(ours.conv.state_dict())
    x = torch.randn((1, 3, 4, 4, 3), generator=rng)
    repeated = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    torch.testing.assert_close(ours(x), torchs(repeated), rtol=0, atol=0)
    assert ours.conv.padding_mode == "zeros"


def test_pixel_norm(rng):
    x = torch.randn((1, 8, 2, 3, 4), generator=rng)
    normed = pixel_norm(x)
    torch.testing.assert_close(normed.square().mean(1), torch.ones(1, 2, 3, 4))
    # At this size the constant under the root, 1e-8, is as large as the mean square itself.
    tiny = torch.full((1, 8, 1, 1, 1), 1e-4)
    torch.testing.assert_close(pixel_norm(tiny), torch.full_like(tiny, 0.5**0.5))


def test_rearrangements(rng):
    x = torch.arange(2 * 2 * 4 * 4).view(1, 2, 2, 4, 4).float()
    deep = layers.space_to_depth(x, (2, 1, 2))
    # channel = ((c*p + i)*q + j)*r + k
    assert deep[0, 1 * 4 + 1 * 2 + 0, 0, 3, 1] == x[0, 1, 1, 3, 2]
    torch.testing.assert_close(layers.depth_to_space(deep, (2, 1, 2)), x)
    bias = torch.randn(8, generator=rng)
    biased = layers.depth_to_space(deep + bias[:, None, None, None], (2, 1, 2))
    for own in (deep, deep.contiguous(memory_format=torch.channels_last_3d)):
        assert torch.equal(layers.depth_to_space(own, (2, 1, 2), bias), biased)
        assert torch.equal(layers.depth_to_space(own, (2, 1, 2)), x)
    assert layers.depth_to_space(own, (2, 1, 2), bias).is_contiguous(memory_format=torch.channels_last_3d)
    patches = layers.patchify(x, 4)
    # channel = c*16 + offset along the width * 4 + offset along the height
    assert patches[0, 16 + 3 * 4 + 1, 1, 0, 0] == x[0, 1, 1, 1, 3]
    torch.testing.assert_close(layers.unpatchify(patches, 4), x)


def test_statistics_round_trip_keeps_dtype(rng):
    statistics = PerChannelStatistics(4)
    mean, std = torch.tensor([0.0, 1.0, -2.0, 3.0]), torch.tensor([1.0, 2.0, 0.5, 4.0])
    statistics.load_state_dict({"mean-of-means": mean, "std-of-means": std})
    latent = torch.randn((1, 4, 1, 2, 3), generator=rng)
    normalised = statistics.normalize(latent)
    torch.testing.assert_close(normalised[0, 3], (latent[0, 3] - 3) / 4)
    torch.testing.assert_close(statistics.unnormalize(normalised), latent)
    assert statistics.normalize(latent.bfloat16()).dtype == torch.bfloat16


GOOD = {"mean-of-means": torch.zeros(4), "std-of-means": torch.ones(4)}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"mean-of-means": torch.zeros(4)}, "std-of-means are missing"),
        ({"std-of-means": torch.ones(4)}, "mean-of-means are missing"),
        (GOOD | {"mean-of-means": torch.full((4,), torch.nan)}, "mean-of-means hold"),
        (GOOD | {"std-of-means": torch.tensor([1.0, torch.inf, 1, 1])}, "std-of-means hold"),
        (GOOD | {"std-of-means": torch.tensor([1.0, 0, 1, 1])}, "std-of-means hold"),
    ],
)
def test_bad_statistics_never_load(state, words, strict):
    with pytest.raises(CheckpointError, match=words):
        PerChannelStatistics(4).load_state_dict(state, strict=strict)


def test_an_encoder_without_statistics_does_not_load(encoder):
    state = {name: tensor for name, tensor in encoder.state_dict().items() if "statistics" not in name}
    with pytest.raises(CheckpointError, match="per_channel_statistics.mean-of-means are missing"):
        encoder.load_state_dict(state, strict=False)
