"""A small audio-video transformer and evaluations of it, on a GPU where there is one."""

import json
from pathlib import Path

import torch

from ltx_duo.ltx_core.kernels.fp8_linear import convert_linears
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams

DATA = Path(__file__).resolve().parents[2] / "data"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAYERS = 5
SMALL = {"num_attention_heads": 4, "attention_head_dim": 32, "cross_attention_dim": 128, "num_layers": LAYERS,
         "audio_num_attention_heads": 4, "audio_attention_head_dim": 16, "audio_cross_attention_dim": 64}  # fmt: skip
GEOMETRY = LatentGeometry(96, 64, 17, 24.0)


class Scene:
    """A small model, and evaluations of it on fresh numbers."""

    def __init__(self, rng, fp8: bool = False, **config):
        params = TransformerParams.from_config(
            {"transformer": json.loads((DATA / "ltx-2.3-config.json").read_text())["transformer"] | SMALL | config}
        )
        self.rng, self.params = rng, params
        self.model = AVTransformer(params, dtype=torch.bfloat16, device=DEVICE).eval().requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.copy_(self.draw(*parameter.shape) * parameter.shape[-1] ** -0.5)
        if fp8:
            convert_linears(self.model)
        self.prompts = [(self.draw(1, 8, 128), self.draw(1, 8, 64)) for _ in range(2)]
        positions = GEOMETRY.video_positions(DEVICE), GEOMETRY.audio_positions(DEVICE)
        self.ropes = self.model.rope_tables(*positions)

    def draw(self, *shape: int, dtype=torch.bfloat16) -> torch.Tensor:
        return torch.randn(shape, generator=self.rng).to(DEVICE, dtype)

    def passes(self) -> list[GuidancePass]:
        positive, negative = self.prompts
        block = frozenset({2})
        return [
            GuidancePass("cond", *positive),
            GuidancePass("negative", *negative),
            GuidancePass("perturbed", *positive, perturbed_video_blocks=block, perturbed_audio_blocks=block),
            GuidancePass("isolated", *positive, isolated=True),
        ]

    def inputs(self, sigma: float, held: bool = True) -> tuple[ModalityInput, ModalityInput]:
        sigmas = torch.full((1,), sigma, device=DEVICE)
        mask = torch.ones(1, GEOMETRY.video_tokens, device=DEVICE)
        if held:
            mask[:, : GEOMETRY.frame_tokens] = 0
        audio_mask = torch.ones(1, GEOMETRY.audio_frames, device=DEVICE)
        return (
            ModalityInput(self.draw(1, GEOMETRY.video_tokens, 128), mask * sigmas, sigmas, self.ropes[0]),
            ModalityInput(self.draw(1, GEOMETRY.audio_frames, 128), audio_mask * sigmas, sigmas, self.ropes[1]),
        )
