"""Diffusers' LTX-2 transformer and video decoder (PyPI diffusers) on the same weights and inputs as ours."""

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from workload import Scene

# Our names are the official files'; diffusers' differ in these parts.
_RENAMED = (
    (r"^(audio_)?patchify_proj\.", r"\1proj_in."),
    (r"^(audio_)?adaln_single\.", r"\1time_embed."),
    (r"^(audio_)?prompt_adaln_single\.", r"\1prompt_adaln."),
    (r"^av_ca_(video|audio)_scale_shift_adaln_single\.", r"av_cross_attn_\1_scale_shift."),
    (r"^av_ca_a2v_gate_adaln_single\.", "av_cross_attn_video_a2v_gate."),
    (r"^av_ca_v2a_gate_adaln_single\.", "av_cross_attn_audio_v2a_gate."),
    (r"\.scale_shift_table_a2v_ca_(video|audio)$", r".\1_a2v_cross_attn_scale_shift_table"),
    (r"\.(q|k)_norm\.", r".norm_\1."),
)
_TIMESTEP_SCALE = 1000


def build(params, weights: dict[str, Tensor]) -> nn.Module:
    """Diffusers' model around our tensors: nothing is copied."""
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel(**settings(params))
    model.load_state_dict({diffusers_name(name): tensor for name, tensor in weights.items()}, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def attend_by(model: nn.Module, function: Callable, device: str) -> nn.Module:
    """Diffusers' own backend for FlashAttention 3, which looks for it under another name than fa3-fwd has."""
    from diffusers.models import attention_dispatch

    attention_dispatch._CAN_USE_FLASH_ATTN_3, attention_dispatch.flash_attn_3_func = True, function
    if device == "cpu":  # its operation is made for GPUs alone
        operation = attention_dispatch._wrapped_flash_attn_3
        operation.register_kernel("cpu")(operation._init_fn)
    model.set_attention_backend("_flash_3")
    return model


def settings(params) -> dict:
    """What diffusers' model is made with for our transformer's sizes and options."""
    return {
        "num_layers": params.num_layers,
        "num_attention_heads": params.video.heads,
        "attention_head_dim": params.video.head_dim,
        "cross_attention_dim": params.video.context_dim,
        "audio_num_attention_heads": params.audio.heads,
        "audio_attention_head_dim": params.audio.head_dim,
        "audio_cross_attention_dim": params.audio.context_dim,
        "gated_attn": params.gated,
        "audio_gated_attn": params.gated,
        "cross_attn_mod": params.text_adaln,
        "audio_cross_attn_mod": params.text_adaln,
        "use_prompt_embeddings": params.caption_channels is not None,
        "caption_channels": params.caption_channels,
        "ff_bias": params.video.feed_forward_bias,
        "audio_ff_bias": params.audio.feed_forward_bias,
        "use_prompt_adaln_single": params.prompt_timestep,
        "use_keyframes_abs_pos_embedding": params.keyframe_embedding,
        "rope_type": "split",
        "perturbed_attn": True,
    }


def diffusers_name(name: str) -> str:
    """The name of one of our tensors in diffusers' model."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def run(model: nn.Module, scene: Scene) -> list[tuple[Tensor, Tensor]]:
    """Velocities of every pass, one forward each."""
    device = scene.video.device
    video_positions, audio_positions = scene.positions()
    audio_times = torch.ones(1, scene.audio.shape[1], device=device) * scene.sigma
    sigma = scene.sigma * _TIMESTEP_SCALE
    first = (torch.arange(scene.video.shape[1], device=device) < scene.case.geometry.frame_tokens)[None, :, None]
    return [
        model(
            hidden_states=scene.video,
            audio_hidden_states=scene.audio,
            encoder_hidden_states=guidance_pass.video_context,
            audio_encoder_hidden_states=guidance_pass.audio_context,
            timestep=scene.mask * sigma,
            audio_timestep=audio_times * _TIMESTEP_SCALE,
            sigma=sigma,
            audio_sigma=sigma,
            video_coords=video_positions,
            audio_coords=audio_positions,
            video_keyframes_mask=first.to(scene.video.dtype),
            isolate_modalities=guidance_pass.isolated,
            spatio_temporal_guidance_blocks=sorted(guidance_pass.perturbed_video_blocks),
            use_cross_timestep=True,
            return_dict=False,
        )
        for guidance_pass in scene.passes()
    ]
