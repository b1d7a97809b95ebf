"""Timestep sinusoids (golden) and modulation that is kept per distinct timestep."""

import torch

from ltx_duo.ltx_core.transformer.modulation import (
    AdaLayerNormSingle,
    BlockModulation,
    TokenTimesteps,
    timestep_embedding,
)


def test_sinusoids():
    embedding = timestep_embedding(torch.tensor([909.375]))[0]
    cosines = torch.tensor([-0.115813, -0.408007, -0.945709, 0.995229])
    sines = torch.tensor([-0.993271, -0.912979, 0.325015, 0.097567])
    torch.testing.assert_close(embedding[[0, 1, 64, 127]], cosines, rtol=0, atol=2e-4)
    torch.testing.assert_close(embedding[[128, 129, 192, 255]], sines, rtol=0, atol=2e-4)


def test_one_evaluation_per_distinct_timestep_equals_one_per_token(rng):
    adaln = AdaLayerNormSingle(16, 9)
    table = torch.randn(9, 16, generator=rng)
    timesteps = torch.rand(4, generator=rng)[torch.randint(4, (2, 11), generator=rng)]
    distinct = TokenTimesteps.of(timesteps)
    assert len(distinct.values) <= 4
    with torch.no_grad():
        modulation = distinct.by_token(adaln(distinct.values * 1000, torch.float32)[0])
        shared = BlockModulation.of(modulation, table).feed_forward
        naive = adaln(timesteps.flatten() * 1000, torch.float32)[0].unflatten(0, (2, 11)) + table
    for vector, expected in zip((shared.shift, shared.scale, shared.gate), naive[:, :, 3:6].unbind(2), strict=True):
        torch.testing.assert_close(vector.per_token(), expected, rtol=1e-5, atol=1e-5)


def test_one_timestep_for_all_tokens_stays_one_vector():
    distinct = TokenTimesteps.of(torch.full((1, 5000), 0.7))
    assert distinct.index is None and distinct.values.shape == (1,)
