"""Which tokens a stage marks as standing for one pixel frame, for models that look at it (LTX-2.5)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.sampling.conditions import FirstFrame, Keyframe, Reference
from ltx_duo.ltx_core.sampling.denoiser import guided_denoiser
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF, Contexts
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.tests.ltx_core.sampling.starts import start_stage

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
CONFIG = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())["transformer"]
SMALL = {"num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "num_layers": 1,
         "audio_num_attention_heads": 2, "audio_attention_head_dim": 8, "audio_cross_attention_dim": 16}  # fmt: skip


def denoiser(rng, keyframe_embedding: bool, **start):
    config = CONFIG | SMALL | {"use_keyframes_abs_pos_embedding": keyframe_embedding}
    model = AVTransformer(TransformerParams.from_config({"transformer": config})).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.2)
    state = start_stage(GEOMETRY, rng, dtype=torch.float32, **start)
    contexts = Contexts(torch.randn(1, 8, 32, generator=rng), torch.randn(1, 8, 16, generator=rng))
    return guided_denoiser(model, state, OFF, contexts), state


def images(rng):
    latent = torch.randn(1, 128, 1, 2, 3, generator=rng)
    return [FirstFrame(latent), Keyframe(latent, 8), Reference(torch.randn(1, 128, 3, 2, 3, generator=rng))]


@pytest.mark.parametrize("with_audio", [True, False])
def test_the_first_frame_is_marked_and_what_is_appended_is_not(rng, with_audio):
    denoise, state = denoiser(rng, True, images=images(rng), with_audio=with_audio)
    count = state.video.latent.shape[1]
    assert count == 18 + 6 + 18
    assert denoise.single_frames.tolist() == [True] * 6 + [False] * (count - 6)


def test_a_model_without_the_mark_does_not_look_at_it(rng):
    denoise, state = denoiser(rng, False)
    sigma = torch.tensor(0.7)
    every = replace(denoise, single_frames=torch.ones_like(denoise.single_frames))
    for one, other in zip(denoise(state, sigma, 0).x0, every(state, sigma, 0).x0, strict=True):
        assert torch.equal(one, other)


def test_the_mark_reaches_the_model(rng):
    denoise, state = denoiser(rng, True)
    sigma = torch.tensor(0.7)
    marked = denoise(state, sigma, 0).x0
    denoise.model.keyframes_abs_pos_embedding.zero_()
    for with_mark, without in zip(marked, denoise(state, sigma, 0).x0, strict=True):
        assert not torch.allclose(with_mark, without, atol=1e-3)
