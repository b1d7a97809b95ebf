"""Several samples at once through the fused kernels: on a GPU if there is one, else interpreted."""

import importlib
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be set before triton is imported

from ltx_duo.demo_model.training.sizes import model_config
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GEOMETRY = LatentGeometry(32, 32, 9, 24.0)
SAMPLES = 2
DISPATCHED = ("kernels.norm", "kernels.heads")


def test_samples_are_those_of_the_plain_functions(rng, monkeypatch):
    """Gates of audio-video attention are looked up by sample: an index that is not spelled out reads beyond its end."""
    model = AVTransformer(TransformerParams.from_config(model_config(small=True)))
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=rng) * (0.3 if p.ndim == 1 else p.shape[-1] ** -0.5)
    model = model.to(DEVICE).requires_grad_(False)
    ropes = model.rope_tables(GEOMETRY.video_positions(DEVICE), GEOMETRY.audio_positions(DEVICE))
    sigma = torch.rand(SAMPLES, generator=rng).to(DEVICE)
    inputs = []
    for rope, tokens in zip(ropes, (GEOMETRY.video_tokens, GEOMETRY.audio_frames), strict=True):
        timesteps = sigma[:, None].repeat(1, tokens)
        if rope is ropes[0]:
            timesteps[:, : GEOMETRY.frame_tokens] = 0.0
        noisy = torch.randn(SAMPLES, tokens, 128, generator=rng).to(DEVICE)
        inputs.append(ModalityInput(noisy, timesteps, sigma, rope))
    widths = (model.params.video.width, model.params.audio.width)
    contexts = [torch.randn(SAMPLES, 4, width, generator=rng).to(DEVICE) for width in widths]

    def answers(fused: bool) -> list[torch.Tensor]:
        for module in DISPATCHED:
            monkeypatch.setattr(importlib.import_module(f"ltx_duo.ltx_core.{module}"), "can_fuse", lambda x: fused)
        return model(*inputs, [GuidancePass("cond", *contexts)])[0]

    for fused, plain in zip(answers(True), answers(False), strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-3, atol=1e-4)
