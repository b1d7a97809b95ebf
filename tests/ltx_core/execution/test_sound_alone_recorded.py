"""A sound without a picture: recorded blocks against those that run as usual, and on a GPU at full width."""

import json

import pytest
import torch

from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.precompile import finish_transformer
from ltx_duo.ltx_core.sampling.geometry import SoundGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts
from ltx_duo.ltx_core.sampling.stage import sample_stage
from ltx_duo.ltx_core.sound_only import sound_stage
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.transformer.sound_only import without_video
from ltx_duo.tests.ltx_core.execution.test_graphs import Logged
from ltx_duo.tests.ltx_core.transformer.scenes import DATA, DEVICE, SMALL

CONFIG = json.loads((DATA / "ltx-2.3-config.json").read_text())["transformer"]
HOW = {"dtype": torch.bfloat16, "device": torch.device(DEVICE)}
SIGMAS = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.0])  # one recorded, three replayed


class Alone:
    """A transformer without its video layers, with random weights, and two prompts."""

    def __init__(self, seed: int, **config):
        params = TransformerParams.from_config({"transformer": CONFIG | config})
        self.generator = torch.Generator(DEVICE).manual_seed(seed)
        model = without_video(AVTransformer(params, dtype=HOW["dtype"], device="meta")).to_empty(device=DEVICE)
        self.model = model.eval().requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=self.generator)
        width = params.audio.width
        texts = (torch.randn(1, 64, width, generator=self.generator, **HOW) for _ in range(2))
        self.contexts = Contexts(None, next(texts), None, next(texts))
        finish_transformer(self.model, *HOW.values())

    def sound(self, latents: int, run_blocks=None) -> torch.Tensor:
        stage = sound_stage(SoundGeometry(latents), SIGMAS, LTX_2_3_DEV)
        noise = torch.Generator(DEVICE).manual_seed(7)
        return sample_stage(self.model, stage, self.contexts, noise, **HOW, run_blocks=run_blocks).audio


def test_recorded_blocks_give_the_same_bits(rng):
    alone, recorder = Alone(rng.initial_seed(), **SMALL), Logged()
    expected, made = alone.sound(25), alone.sound(25, BlockGraphs(recorder=recorder))
    assert {"record", "replay"} <= set(recorder.log) and made.float().std() > 0
    assert torch.equal(made, expected)


@pytest.mark.gpu
def test_gpu_at_full_width(rng):
    """All 48 blocks: 6.6 GB of weights, and less than a GB beside them for five seconds of sound."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    alone, graphs = Alone(rng.initial_seed()), BlockGraphs()
    weights = sum(parameter.nbytes for parameter in alone.model.parameters())
    assert 6e9 < weights < 7e9
    expected, made = alone.sound(125), alone.sound(125, graphs)
    assert graphs._recordings and made.shape == (1, 8, 125, 16) and made.isfinite().all()
    assert (made.float() - expected.float()).abs().max() <= 0.05 * expected.float().abs().max()
    assert torch.cuda.max_memory_allocated() - before < weights + 1e9
