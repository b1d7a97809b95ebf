"""Writes the small LTX-2.5: as it is published, a file for each part."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...ltx_core.duration_head import DurationHead, DurationHeadParams
from ...ltx_core.text.gemma4 import Gemma4Model
from ...ltx_core.text.gemma4_params import Gemma4Params
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.video_vae.diffusion_decoder import DiffusionVideoDecoder
from ...ltx_core.video_vae.diffusion_params import DiffusionDecoderParams
from . import values
from .layout import PREFIXES, STATISTICS, Tensors, checkpoint_tensors, prefixed, save
from .sizes import DURATION_HEAD_SIZES, Sizes, diffusion_vae_config
from .write import filled, model_parts, write_lora, write_upsampler


@dataclass(frozen=True)
class SplitFiles:
    """The files of a model that is published in parts, below ComfyUI's models folder."""

    transformer: Path
    text_encoder: Path
    video_vae: Path
    diffusion_vae: Path
    audio_vae: Path
    upsampler: Path
    lora: Path
    duration_head: Path

    def below(self, folder: Path) -> "SplitFiles":
        return SplitFiles(*(folder / path for path in vars(self).values()))


def split_files(name: str) -> SplitFiles:
    """Of the model with that `Sizes.name`."""
    return SplitFiles(
        Path("diffusion_models", f"{name}-dev-transformer.safetensors"),
        Path("text_encoders", f"gemma4-with-proj-{name}.safetensors"),
        Path("vae", f"{name}-video-vae-conv.safetensors"),
        Path("vae", f"{name}-video-vae.safetensors"),
        Path("vae", f"{name}-audio-vae.safetensors"),
        Path("latent_upscale_models", f"{name}-latent-spatial-upscaler-x2.safetensors"),
        Path("loras", f"{name}-distilled-lora.safetensors"),
        Path("model_patches", f"{name}-duration-head.safetensors"),
    )


def write_split_files(folder: Path, sizes: Sizes, tokenizer: Path, seed: int = 0) -> list[Path]:
    """Writes a model's files below `folder` and returns them; `tokenizer` is a folder with tokenizer.json.

    Only the transformer's file states a version.
    """
    random, config, files = values.RandomValues(seed), sizes.config, split_files(sizes.name).below(folder)
    gemma = Gemma4Params.from_hf_config(sizes.gemma)
    parts = model_parts(random, sizes, gemma)
    source = {"ltx_version": sizes.version, "gemma_version": sizes.gemma["gemma_version"]}
    save(
        files.transformer,
        checkpoint_tensors({part: parts[part] for part in ("transformer", "video_connector", "audio_connector")}),
        _config(config, "transformer")
        | {"model_version": sizes.version, "gemma_source_checkpoint": json.dumps(source)},
    )
    _write_text_encoder(files.text_encoder, random, sizes, gemma, parts["text_projection"], tokenizer)
    save(files.video_vae, _bare(parts["video_encoder"], parts["video_decoder"]), _config(config, "vae"))
    diffusion = {"vae": diffusion_vae_config(config["vae"])}
    decoder = DiffusionVideoDecoder(DiffusionDecoderParams.from_config(diffusion), device="meta")
    weights = filled(decoder, values.diffusion_values(random))
    save(files.diffusion_vae, _bare(parts["video_encoder"], weights, "vae."), _config(diffusion, "vae"))
    sound = {part: parts[part] for part in ("audio_encoder", "audio_decoder", "vocoder")}
    save(files.audio_vae, checkpoint_tensors(sound), _config(config, "audio_vae", "vocoder"))
    write_upsampler(files.upsampler, random, sizes)
    write_lora(files.lora, random, config, parts["transformer"])
    widths = TransformerParams.from_config(config).text_widths
    head = DurationHeadParams(widths["video"], widths["audio"], **DURATION_HEAD_SIZES)
    weights = filled(DurationHead(head, device="meta"), values.duration_values(random))
    save(files.duration_head, prefixed("duration_head.", weights), {})
    return list(vars(files).values())


def _write_text_encoder(
    path: Path, random: values.RandomValues, sizes: Sizes, gemma: Gemma4Params, projection: Tensors, tokenizer: Path
) -> None:
    """Gemma, the projection, and the tokenizer as bytes; Gemma's config in the metadata."""
    weights = filled(Gemma4Model(gemma, device="meta"), values.text_values(random, "gemma4"))
    words = np.frombuffer((tokenizer / "tokenizer.json").read_bytes(), dtype=np.uint8)
    tensors = {
        **prefixed("model.", weights),
        **prefixed(PREFIXES["text_projection"], projection),
        "tokenizer_json": torch.from_numpy(words.copy()),
    }
    save(path, tensors, {"format": "pt", "gemma_config": json.dumps(sizes.gemma)})


def _bare(encoder: Tensors, decoder: Tensors, prefix: str = "") -> Tensors:
    """A video VAE's tensors, with nothing or `prefix` before their names."""
    named = {}
    for side, tensors in (("encoder.", encoder), ("decoder.", decoder)):
        named |= {(prefix if n.startswith(STATISTICS) else prefix + side) + n: t for n, t in tensors.items()}
    return named


def _config(config: dict, *sections: str) -> dict[str, str]:
    return {"config": json.dumps({section: config[section] for section in sections})}
