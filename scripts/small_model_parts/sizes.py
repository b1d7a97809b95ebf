"""Sizes of the small model: the official configs with everything small that may be small.

Fixed by the architecture: 128 latent channels (also the vendor's encoder width), 128 audio values a time step (which
fixes the audio VAE at 8 channels, 64 mel bands and a width of 128), 128 registers, and the tokenizer's vocabulary.
"""

import json
from pathlib import Path

OFFICIAL_CONFIG = Path(__file__).resolve().parents[2] / "tests" / "data" / "ltx-2.3-config.json"
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


def model_config() -> dict:
    """The checkpoint's `config`: LTX-2.3's with small sizes."""
    config = json.loads(OFFICIAL_CONFIG.read_text())
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
        connector_num_attention_heads=4,
        connector_attention_head_dim=32,
        audio_connector_num_attention_heads=4,
        audio_connector_attention_head_dim=16,
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
    config["vocoder"]["vocoder"]["upsample_initial_channel"] = 128
    config["vocoder"]["bwe"]["upsample_initial_channel"] = 64
    return config
