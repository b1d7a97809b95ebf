"""Diffusers' components of LTX-2.0 with the weights of our checkpoint, read past our loader."""

import json
from pathlib import Path

import transformers
from safetensors.torch import load_file
from torch import nn

from ltx_duo.scripts.small_model_parts.sizes import ltx_2_0
from ltx_duo.tests.parity import test_text, test_vocoder

from .diffusers_parts import DiffusersParts, State, audio_vae, below, filled, transformer, upsampler, with_vae_weights
from .scene import SmallModel

MODEL = "model.diffusion_model."


def read(model: SmallModel, tokenizer: Path) -> DiffusersParts:
    """All of them, in float32."""
    sizes, state = ltx_2_0(), load_file(model.checkpoint)
    text = json.loads((model.gemma / "config.json").read_text())["text_config"]
    return DiffusersParts(
        text_encoder=_text_encoder(model.gemma, text),
        tokenizer=transformers.AutoTokenizer.from_pretrained(tokenizer, model_max_length=1024),
        connectors=_connectors(state, sizes.config["transformer"], text),
        transformer=transformer(below(state, MODEL), sizes.config),
        vae=_video_vae(below(state, "vae.")),
        audio_vae=audio_vae(state),
        vocoder=_vocoder(below(state, "vocoder."), sizes.config),
        upsampler=upsampler(load_file(model.upsampler), sizes.upsampler),
    )


def _text_encoder(folder: Path, config: dict) -> nn.Module:
    theirs = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**config))
    return filled(theirs, below(load_file(folder / "model.safetensors"), "language_model.model."))


def _connectors(state: State, config: dict, text: dict) -> nn.Module:
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors

    sides = ("video", "audio")
    theirs = LTX2TextConnectors(
        caption_channels=text["hidden_size"],
        text_proj_in_factor=text["num_hidden_layers"] + 1,
        rope_type="split",
        **{f"{side}_connector_num_attention_heads": config["connector_num_attention_heads"] for side in sides},
        **{f"{side}_connector_attention_head_dim": config["connector_attention_head_dim"] for side in sides},
        **{f"{side}_connector_num_layers": config["connector_num_layers"] for side in sides},
    )
    own = {
        test_text.diffusers_name(f"{side}_connector.{name}"): tensor
        for side in sides
        for name, tensor in below(state, f"{MODEL}{side}_embeddings_connector.").items()
    }
    projection = below(state, "text_embedding_projection.").items()
    return filled(theirs, own | {name.replace("aggregate_embed", "text_proj_in"): t for name, t in projection})


def _video_vae(state: State) -> nn.Module:
    from diffusers import AutoencoderKLLTX2Video

    theirs = AutoencoderKLLTX2Video(
        latent_channels=128,
        block_out_channels=(128,) * 4,
        layers_per_block=(1,) * 5,
        decoder_block_out_channels=(16, 32, 64),
        decoder_layers_per_block=(1,) * 4,
        decoder_causal=False,
        timestep_conditioning=False,
        encoder_spatial_padding_mode="zeros",
        decoder_spatial_padding_mode="reflect",
        upsample_type=("spatiotemporal",) * 3,
        upsample_residual=(True,) * 3,
        upsample_factor=(2,) * 3,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    return with_vae_weights(theirs, state)


def _vocoder(state: State, config: dict) -> nn.Module:
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    theirs = LTX2Vocoder(hidden_channels=config["vocoder"]["upsample_initial_channel"])
    return filled(theirs, {test_vocoder.to_diffusers(name): tensor for name, tensor in state.items()})
