"""Sizes of the small models: the official configs with everything small that may be small.

Fixed by the architecture: 128 latent channels (also the vendor's encoder width), 128 audio values a time step (which
fixes the audio VAE at 8 channels, 64 mel bands and a width of 128), 128 registers, and the tokenizer's vocabulary.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
OFFICIAL_CONFIG = PACK / "tests" / "data" / "ltx-2.3-config.json"
OFFICIAL_CONFIG_2_0 = PACK / "ltx_core" / "variants" / "configs" / "ltx-2.0.json"
OFFICIAL_CHANGES_2_5 = PACK / "ltx_core" / "variants" / "configs" / "ltx-2.5.json"
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


# The form without encoders of its own; the last layer sees all tokens.
GEMMA_4_CONFIG = {
    "architectures": ["Gemma4UnifiedForConditionalGeneration"],
    "model_type": "gemma4_unified",
    "gemma_version": "gemma4-small-ltx",
    "text_config": {
        "model_type": "gemma4_unified_text",
        "vocab_size": 262208,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_global_key_value_heads": 1,
        "head_dim": 16,
        "global_head_dim": 32,
        "attention_k_eq_v": True,
        "sliding_window": 1024,
        "rms_norm_eps": 1e-06,
        "hidden_activation": "gelu_pytorch_tanh",
    },
}
DURATION_HEAD_SIZES = {"width": 32, "queries": 2, "heads": 4, "hidden_width": 24}


@dataclass(frozen=True)
class Sizes:
    """A small model: what its files are called, which version it calls itself, and its configs.

    keeps_picture: whether its video VAE gets the weights of `picture`, which are made for the layers of LTX-2.3.
    gemma: its text encoder's config.
    """

    name: str
    version: str
    config: dict
    upsampler: dict
    keeps_picture: bool = True
    gemma: dict = field(default_factory=lambda: GEMMA_CONFIG)


def ltx_2_3() -> Sizes:
    return Sizes("ltx-2.3-small", MODEL_VERSION, model_config(), UPSAMPLER_CONFIG)


def ltx_2_0() -> Sizes:
    """One connector width, which is Gemma's, text projected inside the transformer, and the upsampler's other form."""
    config = json.loads(OFFICIAL_CONFIG_2_0.read_text())
    _make_small(config, connector_num_attention_heads=2, connector_attention_head_dim=16)
    config["vocoder"]["upsample_initial_channel"] = 64
    upsampler = UPSAMPLER_CONFIG | {"rational_resampler": True}
    return Sizes("ltx-2.0-small", "2.0.0-small", config, upsampler, keeps_picture=False)


def ltx_2_5() -> Sizes:
    """As LTX-2.3, but for what the transformer's config and the text encoder have of their own."""
    config = model_config()
    config["transformer"] |= json.loads(OFFICIAL_CHANGES_2_5.read_text())["transformer"]
    return Sizes("ltx-2.5-small", "2.5.0-small", config, UPSAMPLER_CONFIG, gemma=GEMMA_4_CONFIG)


def diffusion_vae_config(vae: dict) -> dict:
    """The section `vae` of the file with the diffusion decoder, beside the same encoder as in that of `vae`."""
    own = ("in_channels", "patch_size", "norm_layer", "latent_log_var", "spatial_padding_mode", "dims")
    return {
        "_class_name": "CausalDiffusionVAE",
        "model_output_type": "x0",
        "latent_channels": 128,
        "encoder": {name: vae[name] for name in own} | {"blocks": vae["encoder_blocks"], "out_channels": 128},
        "decoder": {
            "in_channels": 128,
            "out_channels": 3,
            "patch_size": 4,
            "head_dim": 16,
            "t_emb_dim": 32,
            "default_num_inference_steps": 1,
            "timestep_scale_multiplier": 1000.0,
            "stage_channels": [128, 64, 32, 32, 16],
            "stage_depths": [1, 1, 1, 1, 2],
            "stage_kernels": [[3, 3, 3], [3, 3, 3], [3, 5, 5], [3, 5, 5]],
            "upsamples": [[[1, 2, 2], 2], [[2, 1, 1], 2], [[2, 2, 2], 1], [[2, 2, 2], 2]],
            "stage5_kernel": [5, 5, 5],
        },
    }


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
