"""The training of the transformer at tiny sizes, on a small random language model."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from ltx_duo.demo_model.training import audio_vae, lora, pools, transformer, upsampler, video_vae
from ltx_duo.demo_model.training.checkpoints import load_tensors
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.text_features import Encoder
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma_params import GemmaParams
from ltx_duo.ltx_core.text.tokenizer import GemmaTokenizer
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_CONFIG

TOKENIZER = Path(__file__).resolve().parents[2] / ".local" / "tokenizer"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A random Gemma, with the real tokenizer."""
    torch.manual_seed(0)
    gemma = GemmaModel(GemmaParams.from_hf_config(GEMMA_CONFIG))
    for name, p in gemma.named_parameters():
        torch.nn.init.normal_(p, 0.0, 0.1 if name.endswith("norm.weight") else p.shape[-1] ** -0.5)
    return Encoder(GemmaTokenizer.from_folder(TOKENIZER), gemma.requires_grad_(False))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder) -> Run:
    """A run in which all that the pieces need was trained, and they themselves without a stop."""
    run = new_run(tmp_path_factory.mktemp("whole"), "cpu", small=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "text_encoder", lambda run: encoder)
        for module in (video_vae, audio_vae, upsampler, transformer, lora):
            module.train(run)
    return run


def test_loss_falls(whole):
    _, about = load_tensors(whole.out / "transformer.state.safetensors")
    curve = json.loads(about["history"])
    for term in ("video", "audio"):
        assert sum(curve[term][-3:]) < 0.9 * sum(curve[term][:3])
