"""Sizes of the small models: the official configs with everything small that may be small.

Fixed by the architecture: 128 latent channels (also the vendor's encoder width), 128 audio values a time step (which
fixes the audio VAE at 8 channels, 64 mel bands and a width of 128), 128 registers, and the tokenizer's vocabulary.
"""

import json
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
OFFICIAL_CONFIG = PACK / "tests" / "data" / "ltx-2.3-config.json"
OFFICIAL_CONFIG_2_0 = PACK / "ltx_core" / "variants" / "configs" / "ltx-2.0.json"
MODEL_VERSION = "2.3.0-small"
LORA_RANK = 16

UPSAMPLER_CONFIG = {
    "_class_name": "LatentUpsampler",
    "in_channels": 128,
    "mid_channels": 64,
    "num_blocks_per_stage": 1,
    "dims": 3,
    "spatial_upsample": True,
    "temporal_upsample": False,
    "spatial_scale": 2.0,
    "rational_resampler": False,
}

# Six layers: five with a sliding window, one without, as in every Gemma-3.
GEMMA_CONFIG = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 4,
    "text_config": {
        "model_type": "gemma3_text",
        "vocab_size": 262208,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 256,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "rope_theta": 1000000,
        "rope_local_base_freq": 10000,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "rms_norm_eps": 1e-06,
        "max_position_embeddings": 131072,
        "attention_bias": False,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "image_size": 56,
        "patch_size": 14,
        "num_channels": 3,
        "vision_use_head": False,
    },
}


@dataclass(frozen=True)
class Sizes:
    """A small model: what its files are called, which version it calls itself, and its configs.

    keeps_picture: whether its video VAE gets the weights of `picture`, which are made for the layers of LTX-2.3.
    """

    name: str
    version: str
    config: dict
    upsampler: dict
    keeps_picture: bool = True


def ltx_2_3() -> Sizes:
    return Sizes("ltx-2.3-small", MODEL_VERSION, model_config(), UPSAMPLER_CONFIG)


def ltx_2_0() -> Sizes:
    """One connector width, which is Gemma's, text projected inside the transformer, and the upsampler's other form."""
    config = json.loads(OFFICIAL_CONFIG_2_0.read_text())
    _make_small(config, connector_num_attention_heads=2, connector_attention_head_dim=16)
    config["vocoder"]["upsample_initial_channel"] = 64
    upsampler = UPSAMPLER_CONFIG | {"rational_resampler": True}
    return Sizes("ltx-2.0-small", "2.0.0-small", config, upsampler, keeps_picture=False)


def model_config() -> dict:
    """The checkpoint's `config`: LTX-2.3's with small sizes."""
    config = json.loads(OFFICIAL_CONFIG.read_text())
    _make_small(
        config,
        connector_num_attention_heads=4,
        connector_attention_head_dim=32,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=16,
    )
    config["vocoder"]["vocoder"]["upsample_initial_channel"] = 128
    config["vocoder"]["bwe"]["upsample_initial_channel"] = 64
    return config


def _make_small(config: dict, **connectors: int) -> None:
    """What all generations have."""
    config["transformer"].update(
        num_layers=4,
        num_attention_heads=4,
        attention_head_dim=32,
        cross_attention_dim=128,
        audio_num_attention_heads=4,
        audio_attention_head_dim=16,
        audio_cross_attention_dim=64,
        caption_channels=GEMMA_CONFIG["text_config"]["hidden_size"],
        connector_num_layers=1,
        **connectors,
    )
    vae = config["vae"]
    for name, options in vae["encoder_blocks"] + vae["decoder_blocks"]:
        if name == "res_x":
            options["num_layers"] = 1
    for name, options in vae["encoder_blocks"]:
        if name != "res_x":
            options["multiplier"] = 1
    vae["decoder_base_channels"] = 8
    config["audio_vae"]["model"]["params"]["ddconfig"].update(ch_mult=[1, 1, 1], num_res_blocks=1)
