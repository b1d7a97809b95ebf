"""The real Gemma-3 270M from its folder, with its own tokenizer: every hidden state against transformers."""

import json
from collections.abc import Sequence

import pytest
import torch
import transformers
from ltx_core.text_encoders.gemma.feature_extractor import FeatureExtractorV2
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from ltx_duo.ltx_core.checkpoint import Checkpoint
from ltx_duo.ltx_core.loading import load_text_encoder, load_tokenizer
from ltx_duo.ltx_core.text.encoder import TextEncoder
from ltx_duo.ltx_core.text.feature_extractor import FeatureExtractor
from ltx_duo.ltx_core.text.params import FeatureExtractorParams
from ltx_duo.ltx_core.text.tokenizer import MAX_LENGTH, GemmaTokenizer
from ltx_duo.scripts.demo.server import GEMMA_270M
from ltx_duo.scripts.small_model_parts.sizes import model_config

TOLERANCE = 1e-5
HF = "transformers"
STATES, WIDTH = 19, 640
PROMPTS = {
    "a short prompt": "a red star moving to the left, high tone",
    "an empty prompt": "",
    "a prompt beyond the window of 512": "The camera pans slowly to the left; a bird sings. " * 50,
}


@pytest.fixture(scope="module")
def projection(randomise) -> FeatureExtractor:
    """The text projection that a small checkpoint for this encoder has: 12,160 values a token."""
    module = FeatureExtractor(FeatureExtractorParams.from_config(model_config(), WIDTH, STATES))
    return randomise(module, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def encoder(projection, tmp_path_factory) -> TextEncoder:
    """From files, as the nodes and the command line read them; in float32."""
    checkpoint = tmp_path_factory.mktemp("projection") / "ltx.safetensors"
    tensors = {f"text_embedding_projection.{name}": tensor for name, tensor in projection.state_dict().items()}
    save_file(tensors, checkpoint, {"config": json.dumps(model_config()), "model_version": "2.3.0"})
    return load_text_encoder(Checkpoint.open(GEMMA_270M), Checkpoint.open(checkpoint), dtype=torch.float32)


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    return transformers.Gemma3TextModel.from_pretrained(GEMMA_270M, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    return load_tokenizer(Checkpoint.open(GEMMA_270M))


@pytest.fixture(scope="module")
def padded(reference, tokenizer) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """The short prompt at the end of 1024 places, as the vendor's encoder runs it: its ids, mask of all places, states.

    The long prompt would tell nothing here: its largest values, 100,000 in one channel, move by 4e-5 when transformers
    pads it, and by 2e-5 between float32 and float64.
    """
    ids = torch.tensor([tokenizer.encode(PROMPTS["a short prompt"])])
    padding = (MAX_LENGTH - ids.shape[1], 0)
    mask = F.pad(torch.ones_like(ids), padding)
    with torch.no_grad():
        states = reference(F.pad(ids, padding), attention_mask=mask, output_hidden_states=True).hidden_states
    return ids, mask, list(states)


def worst_error(ours: list[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest of the states' errors, each relative to its own state."""
    assert len(ours) == len(expected) == STATES
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("what", PROMPTS)
def test_states(parity, encoder, reference, tokenizer, what):
    ids = torch.tensor([tokenizer.encode(PROMPTS[what])])
    expected = reference(ids, output_hidden_states=True).hidden_states
    error = worst_error(encoder.gemma(ids), expected)
    parity.add(f"Gemma-3 270M, each state of {what}", HF, error, TOLERANCE)


def test_states_where_the_reference_is_padded(parity, encoder, padded):
    ids, _, states = padded
    ours = encoder.gemma(ids, first_position=MAX_LENGTH - ids.shape[1])
    error = worst_error(ours, [state[:, -ids.shape[1] :] for state in states])
    parity.add("Gemma-3 270M, each state, padded to 1024", HF, error, TOLERANCE)


def test_features(parity, encoder, projection, padded):
    """The whole way to the connectors: the vendor's extractor on the states of transformers."""
    ids, mask, states = padded
    theirs = FeatureExtractorV2(projection.video_aggregate_embed, WIDTH, projection.audio_aggregate_embed)
    for modality, ours, expected in zip(("video", "audio"), encoder.features(ids), theirs(states, mask), strict=True):
        expected = expected[:, -ids.shape[1] :]
        parity.check(f"Gemma-3 270M, {modality} features", "ltx-core 1.0.0", ours, expected, TOLERANCE)
