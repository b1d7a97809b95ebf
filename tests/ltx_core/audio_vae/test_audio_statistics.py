"""Audio latent statistics: entry c * 16 + m belongs to channel c, mel bin m; normalising is undone exactly."""

import json
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.audio_vae import AudioVAEParams
from ltx_duo.ltx_core.audio_vae.statistics import PerChannelStatistics

CONFIG_23 = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
PARAMS = AudioVAEParams.from_config(CONFIG_23)
CHANNELS, BINS = 8, 16


def statistics_with(mean: torch.Tensor, std: torch.Tensor) -> PerChannelStatistics:
    statistics = PerChannelStatistics(PARAMS)
    statistics.load_state_dict({"mean-of-means": mean, "std-of-means": std}, strict=True)
    return statistics


def exact_statistics(rng: torch.Generator) -> PerChannelStatistics:
    """Means in eighths and deviations that are powers of two: float32 arithmetic on eighths does not round."""
    mean = torch.randint(-40, 40, (128,), generator=rng) / 8
    return statistics_with(mean, 2.0 ** torch.randint(-3, 4, (128,), generator=rng))


def test_round_trip_is_exact(rng):
    statistics = exact_statistics(rng)
    latent = torch.randint(-800, 800, (2, CHANNELS, 5, BINS), generator=rng) / 8
    assert torch.equal(statistics.unnormalize(statistics.normalize(latent)), latent)
    assert torch.equal(statistics.normalize(statistics.unnormalize(latent)), latent)
    assert not torch.equal(statistics.normalize(latent), latent)


def test_round_trip_of_any_statistics(rng):
    statistics = statistics_with(torch.randn(128, generator=rng), 0.1 + torch.rand(128, generator=rng))
    latent = torch.randn(2, CHANNELS, 5, BINS, generator=rng)
    torch.testing.assert_close(statistics.unnormalize(statistics.normalize(latent)), latent, rtol=1e-5, atol=1e-5)


def test_every_entry_belongs_to_its_channel_and_bin():
    mean, std = torch.arange(128.0), 1 + torch.arange(128.0)
    statistics = statistics_with(mean, std)
    latent = torch.ones(1, CHANNELS, 2, BINS)
    result = statistics.unnormalize(latent)
    for c in range(CHANNELS):
        for m in range(BINS):
            entry = c * BINS + m
            assert (result[:, c, :, m] == std[entry] + mean[entry]).all(), f"channel {c}, bin {m}"


def test_wrong_order_is_detected(rng):
    """Statistics stored as m * 8 + c, or applied so, give another latent in all but the two entries that coincide."""
    statistics = exact_statistics(rng)
    mean = torch.randperm(128, generator=rng).float()
    right = statistics_with(mean, torch.ones(128))
    swapped = statistics_with(mean.view(CHANNELS, BINS).T.flatten(), torch.ones(128))
    latent = torch.randint(-800, 800, (1, CHANNELS, 3, BINS), generator=rng) / 8
    same = (right.normalize(latent) == swapped.normalize(latent)).all(dim=2)[0]
    assert same.nonzero().tolist() == [[0, 0], [7, 15]]
    tokens = latent.permute(0, 2, 1, 3).flatten(2)
    buffers = statistics.state_dict()
    expected = (tokens - buffers["mean-of-means"]) / buffers["std-of-means"]
    assert torch.equal(statistics.normalize(latent).permute(0, 2, 1, 3).flatten(2), expected)
    wrong = latent.permute(0, 2, 3, 1).flatten(2)
    wrong = (wrong - buffers["mean-of-means"]) / buffers["std-of-means"]
    assert not torch.equal(statistics.normalize(latent), wrong.unflatten(2, (BINS, CHANNELS)).permute(0, 3, 1, 2))


def test_statistics_follow_the_latents_dtype(rng):
    statistics = exact_statistics(rng)
    latent = torch.randn(1, CHANNELS, 2, BINS, generator=rng).bfloat16()
    assert statistics.normalize(latent).dtype == torch.bfloat16
    assert statistics.unnormalize(latent).dtype == torch.bfloat16


@pytest.mark.parametrize("missing", ["mean-of-means", "std-of-means"])
def test_missing_statistics_are_an_error(missing):
    present = {name: torch.ones(128) for name in ("mean-of-means", "std-of-means") if name != missing}
    with pytest.raises(RuntimeError, match=missing):
        PerChannelStatistics(PARAMS).load_state_dict(present, strict=True)
