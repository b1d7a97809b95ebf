"""Diffusers' components of LTX-2.5 with the weights of our files, read past our loader."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import transformers
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.video_vae.diffusion_params import DiffusionDecoderParams
from ltx_duo.scripts.small_model_parts.sizes import DURATION_HEAD_SIZES, GEMMA_4_CONFIG, ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import SplitFiles
from ltx_duo.tests.parity import (
    test_diffusion_decoder,
    test_duration_head,
    test_text,
    test_transformer_diffusers,
    test_video_vae,
    test_vocoder,
)

State = dict[str, Tensor]
TEXT = GEMMA_4_CONFIG["text_config"]


@dataclass(frozen=True)
class DiffusersParts:
    """What the pipelines are made of."""

    text_encoder: nn.Module
    tokenizer: transformers.PreTrainedTokenizerFast
    connectors: nn.Module
    transformer: nn.Module
    vae: nn.Module
    audio_vae: nn.Module
    vocoder: nn.Module
    upsampler: nn.Module
    duration_head: nn.Module | None = None
    diffusion_decoder: nn.Module | None = None


def read(files: SplitFiles, tokenizer: Path) -> DiffusersParts:
    """All of them, in float32."""
    model, text, sound = (load_file(path) for path in (files.transformer, files.text_encoder, files.audio_vae))
    return DiffusersParts(
        text_encoder=_text_encoder(text),
        tokenizer=transformers.AutoTokenizer.from_pretrained(tokenizer, model_max_length=1024),
        connectors=_connectors(model, text),
        transformer=transformer(below(model, "model.diffusion_model."), ltx_2_5().config),
        vae=_video_vae(load_file(files.video_vae)),
        audio_vae=audio_vae(sound),
        vocoder=_vocoder(below(sound, "vocoder.")),
        upsampler=upsampler(load_file(files.upsampler), ltx_2_5().upsampler),
        duration_head=_duration_head(below(load_file(files.duration_head), "duration_head.")),
        diffusion_decoder=_diffusion_decoder(files.diffusion_vae),
    )


def with_lora(transformer: nn.Module, lora: Path) -> nn.Module:
    """A copy with every pair of factors added to its layer at strength 1."""
    factors = below(load_file(lora), "diffusion_model.")
    state = dict(transformer.state_dict())
    for name, down in factors.items():
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            own = test_transformer_diffusers.diffusers_name(f"{layer}.weight")
            state[own] = state[own] + factors[f"{layer}.lora_B.weight"].float() @ down.float()
    return filled(copy.deepcopy(transformer), state)


def below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def filled(module: nn.Module, state: State) -> nn.Module:
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=True)
    return module.eval().requires_grad_(False)


def _text_encoder(state: State) -> nn.Module:
    model = transformers.Gemma4UnifiedTextModel(transformers.Gemma4UnifiedTextConfig(**TEXT))
    return filled(model, below(state, "model."))


def _connectors(model: State, text: State) -> nn.Module:
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    config = ltx_2_5().config["transformer"]
    theirs = LTX2TextConnectors(
        caption_channels=TEXT["hidden_size"],
        text_proj_in_factor=TEXT["num_hidden_layers"] + 1,
        rope_type="split",
        per_modality_projections=True,
        proj_bias=True,
        video_hidden_dim=config["cross_attention_dim"],
        audio_hidden_dim=config["audio_cross_attention_dim"],
        video_connector_num_attention_heads=config["connector_num_attention_heads"],
        video_connector_attention_head_dim=config["connector_attention_head_dim"],
        audio_connector_num_attention_heads=config["audio_connector_num_attention_heads"],
        audio_connector_attention_head_dim=config["audio_connector_attention_head_dim"],
        video_connector_num_layers=config["connector_num_layers"],
        audio_connector_num_layers=config["connector_num_layers"],
        video_gated_attn=True,
        audio_gated_attn=True,
    )
    state = {
        test_text.diffusers_name(f"{modality}_connector.{name}"): tensor
        for modality in ("video", "audio")
        for name, tensor in below(model, f"model.diffusion_model.{modality}_embeddings_connector.").items()
    }
    projection = below(text, "text_embedding_projection.").items()
    return filled(theirs, state | {name.replace("aggregate_embed", "text_proj_in"): t for name, t in projection})


def transformer(state: State, config: dict) -> nn.Module:
    """Of the tensors of a checkpoint's transformer and connectors, and its config."""
    own = {name: tensor for name, tensor in state.items() if "embeddings_connector." not in name}
    names = test_transformer_diffusers.diffusers_name
    theirs = test_transformer_diffusers.diffusers_model(TransformerParams.from_config(config))
    return filled(theirs, {names(name): tensor for name, tensor in own.items()})


def _video_vae(state: State) -> nn.Module:
    from diffusers import AutoencoderKLLTX2Video

    theirs = AutoencoderKLLTX2Video(
        latent_channels=128,
        block_out_channels=(128,) * 4,
        layers_per_block=(1,) * 5,
        decoder_block_out_channels=(16, 32, 32, 64),
        decoder_layers_per_block=(1,) * 5,
        decoder_spatio_temporal_scaling=(True,) * 4,
        decoder_inject_noise=(False,) * 5,
        upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        upsample_residual=(False,) * 4,
        upsample_factor=(2, 2, 1, 2),
        decoder_causal=False,
        timestep_conditioning=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    return with_vae_weights(theirs, state)


def with_vae_weights(theirs: nn.Module, state: State) -> nn.Module:
    """A video VAE of four levels, with the tensors of ours."""
    statistics = {"mean-of-means": "latents_mean", "std-of-means": "latents_std"}
    named = {
        statistics.get(name.rpartition(".")[2]) or test_video_vae.diffusers_name(name, 4): tensor
        for name, tensor in state.items()
    }
    return filled(theirs, named)


def audio_vae(state: State) -> nn.Module:
    from diffusers import AutoencoderKLLTX2Audio

    theirs = AutoencoderKLLTX2Audio(ch_mult=(1, 1, 1), num_res_blocks=1)
    statistics = {"mean-of-means": "latents_mean", "std-of-means": "latents_std"}
    own = below(state, "audio_vae.").items()
    return filled(theirs, {statistics.get(name.rpartition(".")[2], name): tensor for name, tensor in own})


def _vocoder(state: State) -> nn.Module:
    from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE

    theirs = LTX2VocoderWithBWE(hidden_channels=128, bwe_hidden_channels=64)
    return filled(theirs, {test_vocoder.to_diffusers(name): tensor for name, tensor in state.items()})


def upsampler(state: State, config: dict) -> nn.Module:
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    theirs = LTX2LatentUpsamplerModel(
        in_channels=config["in_channels"],
        mid_channels=config["mid_channels"],
        num_blocks_per_stage=config["num_blocks_per_stage"],
        spatial_upsample=True,
        temporal_upsample=False,
        rational_spatial_scale=config["spatial_scale"],
        use_rational_resampler=config["rational_resampler"],
    )
    return filled(theirs, state)


def _duration_head(state: State) -> nn.Module:
    from diffusers.pipelines.ltx2.duration_head import LTX2DurationHead

    sizes, config = DURATION_HEAD_SIZES, ltx_2_5().config["transformer"]
    theirs = LTX2DurationHead(
        video_cross_attention_dim=config["cross_attention_dim"],
        audio_cross_attention_dim=config["audio_cross_attention_dim"],
        pooler_hidden_dim=sizes["width"],
        num_queries=sizes["queries"],
        num_pooler_heads=sizes["heads"],
        mlp_hidden_dim=sizes["hidden_width"],
    )
    return filled(theirs, test_duration_head.diffusers_state(state))


def _diffusion_decoder(file: Path) -> nn.Module:
    with safe_open(file, "pt") as opened:
        params = DiffusionDecoderParams.from_config(json.loads(opened.metadata()["config"]))
    state = load_file(file)
    own = below(state, "vae.decoder.") | {n: t for n, t in below(state, "vae.").items() if "statistics" in n}
    theirs = test_diffusion_decoder.diffusers_decoder(params)
    return filled(theirs, test_diffusion_decoder.diffusers_state(own))
