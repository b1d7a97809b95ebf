"""LTX-2.0 at full size: every tensor that the vendor's modules have by its config, on the meta device.

The transformer's section is that of the published ltx-2-19b-dev.safetensors; of the others the file says what the
vendor's and diffusers' defaults say.  The lists of LTX-2.3 are in tests/data.
"""

import json
from pathlib import Path

import pytest
import torch

from ltx_duo.ltx_core.audio_vae import AudioDecoder, AudioEncoder, AudioVAEParams
from ltx_duo.ltx_core.text.connector import EmbeddingsConnector
from ltx_duo.ltx_core.text.feature_extractor_v20 import FeatureExtractorV20
from ltx_duo.ltx_core.text.params import ConnectorParams, FeatureExtractorV20Params
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from ltx_duo.ltx_core.video_vae import VideoDecoder, VideoEncoder, VideoVAEParams
from ltx_duo.ltx_core.vocoder import VocoderParams, build_vocoder

CONFIGS = Path(__file__).parents[2] / "ltx_core" / "variants" / "configs"
CONFIG = json.loads((CONFIGS / "ltx-2.0.json").read_text())
[UPSAMPLER] = json.loads((CONFIGS / "ltx-2.0-upsamplers.json").read_text())
META = {"device": "meta"}
GEMMA = FeatureExtractorV20Params(hidden_size=3840, states=49)

OURS = {
    "transformer": lambda: AVTransformer(TransformerParams.from_config(CONFIG), **META),
    "video connector": lambda: EmbeddingsConnector(ConnectorParams.from_config(CONFIG, "video"), **META),
    "audio connector": lambda: EmbeddingsConnector(ConnectorParams.from_config(CONFIG, "audio"), **META),
    "text projection": lambda: FeatureExtractorV20(GEMMA, **META),
    "video encoder": lambda: VideoEncoder(VideoVAEParams.from_config(CONFIG), **META),
    "video decoder": lambda: VideoDecoder(VideoVAEParams.from_config(CONFIG), **META),
    "audio encoder": lambda: AudioEncoder(AudioVAEParams.from_config(CONFIG), **META),
    "audio decoder": lambda: AudioDecoder(AudioVAEParams.from_config(CONFIG), **META),
    "vocoder": lambda: build_vocoder(VocoderParams.from_config(CONFIG), **META),
}
# The two statistics of each VAE lie once in the file, and in its encoder and its decoder here.
TWICE = 2 * 2
# Statistics that no network takes: `channel`, `mean-of-stds` and `mean-of-stds_over_std-of-means` of the video VAE.
LEFT_OVER = 3
# By a count of the keys of ltx-2-19b-dev-fp8.safetensors, 6,404: 42 blocks of 28 layers with two scales each.
PUBLISHED_TENSORS = 6404 - 2 * 28 * 42


def vendor(part: str) -> torch.nn.Module:
    from ltx_core.model.audio_vae import model_configurator as audio
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator
    from ltx_core.model.video_vae import model_configurator as video
    from ltx_core.text_encoders.gemma.encoders.encoder_configurator import EmbeddingsProcessorConfigurator

    with torch.device("meta"):
        if part == "transformer":
            return LTXModelConfigurator.from_config(CONFIG)
        if part in ("video connector", "audio connector", "text projection"):
            name = {"text projection": "feature_extractor"}.get(part, part.replace(" ", "_"))
            return getattr(EmbeddingsProcessorConfigurator.from_config(CONFIG), name)
        if part == "vocoder":
            return audio.VocoderConfigurator.from_config(CONFIG)
        configurators = {"video": video, "audio": audio}[part.split()[0]]
        return getattr(configurators, f"{part.title().replace(' ', '')}Configurator").from_config(CONFIG)


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("part", OURS)
def test_every_tensor_of_2_0(part):
    assert shapes(OURS[part]()) == shapes(vendor(part))


def test_all_parts_make_the_published_file():
    tensors = [tensor for make in OURS.values() for tensor in make().state_dict().values()]
    assert len(tensors) - TWICE + LEFT_OVER == PUBLISHED_TENSORS
    gigabytes = sum(tensor.numel() for tensor in tensors) * 2 / 1e9
    assert round(gigabytes, 1) == 43.3  # of ltx-2-19b-dev.safetensors, in bfloat16


def test_the_upsampler_of_2_0_is_rational(official_tensors):
    """The published file has the resampler that can also make 1.5 times, at a scale of two; 996 MB in bfloat16."""
    from ltx_core.model.upsampler.model_configurator import LatentUpsamplerConfigurator

    ours = LatentUpsampler(UpsamplerParams.from_config(UPSAMPLER), **META)
    with torch.device("meta"):
        theirs = LatentUpsamplerConfigurator.from_config(UPSAMPLER)
    assert shapes(ours) == shapes(theirs) == official_tensors("ups_x2_rat")
    assert round(sum(tensor.numel() for tensor in ours.state_dict().values()) * 2 / 1e6) == 996
