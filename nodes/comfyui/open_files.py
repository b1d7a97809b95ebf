"""Behind the loader nodes: open files, check all that can be checked, and make handles.

What headers tell is checked when a workflow is queued.  When a loader runs it also looks for NaN, in samples of the
numbers: a damaged file shall not cost a run.  No weight is loaded here.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache

from ...ltx_core.checkpoint import Checkpoint, common_generation
from ...ltx_core.errors import VariantError
from ...ltx_core.generation import Generation
from ...ltx_core.loading import check_tokenizer
from ...ltx_core.lora import LoRA, StreamStrengths
from ...ltx_core.upsampler.params import UpsamplerParams
from ...ltx_core.variants import Kind, kind_of_name
from ..names import LORA_FOLDERS
from . import components, files, gguf_parts
from .components import MODEL_PARTS, Part
from .handles import LoraUse, ModelHandle, SampledModel, TextEncoderHandle, UpsamplerHandle, VAEHandle

log = logging.getLogger("ltx_duo")

Folders = Sequence[str]
VIDEO_PARTS = (Part.VIDEO_ENCODER, Part.VIDEO_DECODER)
AUDIO_PARTS = (Part.AUDIO_DECODER, Part.VOCODER)


def check_model(name: str | None, folders: Folders) -> None:
    """CheckpointError or VariantError unless the file holds transformer and connectors of LTX-2.3; None is unknown."""
    if name is not None:
        _check_parts(files.open_checkpoint(name, folders), tuple(MODEL_PARTS.values()))


def open_model(name: str, folders: Folders, weight_dtype: str, kind: Kind | None = None) -> ModelHandle:
    """The handle of a checkpoint; `kind` None: dev or distilled as the file's name says."""
    check_model(name, folders)
    handle = ModelHandle(files.open_checkpoint(name, folders), weight_dtype, kind or kind_of_name(name))
    _check_numbers(handle.checkpoint, tuple(MODEL_PARTS.values()))
    if kind is None and handle.kind is Kind.DISTILLED:
        log.info("LTX Duo: %s is taken for a distilled model by its name: 8 steps, no guidance by default.", name)
    return handle


def check_lora(name: str | None) -> None:
    """CheckpointError unless the file is a LoRA; whether it fits the model is known when the node runs."""
    if name is not None:
        LoRA.open(files.path(name, LORA_FOLDERS))


def open_lora(model: SampledModel, name: str, strengths: tuple[float, float], streams: StreamStrengths) -> LoraUse:
    """A LoRA for this model; VariantError if it is of another model, CheckpointError if it holds NaN."""
    lora = LoRA.open(files.path(name, LORA_FOLDERS))
    lora = lora.fitted(model.weight_shapes(), model.name)
    lora.checked()  # refuses NaN
    return LoraUse(lora, strengths, streams)


def check_vae(name: str | None, audio_name: str | None, folders: Folders, same_file: bool) -> None:
    """CheckpointError or VariantError unless the files hold the video VAE, the audio VAE and the vocoder."""
    if name is None:
        return
    video = files.open_checkpoint(name, folders)
    gguf_parts.refuse(video, "video VAE")
    _check_parts(video, VIDEO_PARTS)
    if same_file or audio_name is not None:
        audio = video if same_file else files.open_checkpoint(audio_name, folders)
        gguf_parts.refuse(audio, "audio VAE and the vocoder")
        _check_parts(audio, AUDIO_PARTS)
        common_generation(video, audio)


def open_vae(name: str, audio_name: str | None, folders: Folders) -> VAEHandle:
    check_vae(name, audio_name, folders, same_file=audio_name is None)
    handle = VAEHandle(files.open_checkpoint(name, folders), files.open_checkpoint(audio_name or name, folders))
    _check_numbers(handle.video, VIDEO_PARTS)
    _check_numbers(handle.audio, AUDIO_PARTS)
    return handle


def check_opens(name: str | None, folders: Folders) -> None:
    """CheckpointError unless the file or folder can be read at all; None is unknown."""
    if name is not None:
        files.open_checkpoint(name, folders)


def check_text_encoder(name: str | None, folders: Folders, projection: str | None, its_folders: Folders) -> None:
    """CheckpointError or VariantError unless these are Gemma-3 with a tokenizer, and LTX-2.3's text projection."""
    if name is not None and projection is not None:
        _check_text(files.open_checkpoint(name, folders), files.open_checkpoint(projection, its_folders))


def open_text_encoder(
    name: str, folders: Folders, projection: str, its_folders: Folders, device: str
) -> TextEncoderHandle:
    gemma, other = files.open_checkpoint(name, folders), files.open_checkpoint(projection, its_folders)
    _check_text(gemma, other)
    _check_numbers(gemma, (Part.GEMMA,))
    _check_numbers(other, (Part.TEXT_PROJECTION,))
    return TextEncoderHandle(gemma, other, device)


def check_upsampler(name: str | None, folders: Folders) -> None:
    """CheckpointError unless the file is a x2 spatial upsampler."""
    if name is not None:
        _upsampler_params(files.open_checkpoint(name, folders))


def open_upsampler(name: str, folders: Folders) -> UpsamplerHandle:
    checkpoint = files.open_checkpoint(name, folders)
    params = _upsampler_params(checkpoint)
    _check_numbers(checkpoint, (Part.UPSAMPLER,))
    return UpsamplerHandle(checkpoint, params)


@lru_cache(maxsize=32)
def _check_parts(checkpoint: Checkpoint, parts: tuple[Part, ...]) -> None:
    checkpoint.require(*parts)
    _check_variant(checkpoint)
    for part in {Part.VIDEO_DECODER, Part.AUDIO_DECODER}.intersection(parts):
        checkpoint.check_statistics(part)
    components.check_parts(checkpoint, *parts)


@lru_cache(maxsize=32)
def _check_numbers(checkpoint: Checkpoint, parts: tuple[Part, ...]) -> None:
    """CheckpointError if a weight holds NaN or infinity."""
    for part in parts:
        checkpoint.check_finite(part)


def _check_variant(checkpoint: Checkpoint) -> None:
    if checkpoint.generation not in (None, Generation.V2_3):
        raise VariantError(
            f"{checkpoint.path} is of {checkpoint.generation_name}, which these nodes do not run: LTX-2.3 is the one "
            "that is proven from prompt to film. Choose an LTX-2.3 file, such as ltx-2.3-22b-dev.safetensors."
        )


@lru_cache(maxsize=8)
def _check_text(gemma: Checkpoint, projection: Checkpoint) -> None:
    components.check_text_encoder(gemma, projection)
    _check_variant(gemma)  # only files that name a model have one
    _check_variant(projection)
    check_tokenizer(gemma)


@lru_cache(maxsize=8)
def _upsampler_params(checkpoint: Checkpoint) -> UpsamplerParams:
    gguf_parts.refuse(checkpoint, "latent upsampler")
    checkpoint.require(Part.UPSAMPLER)
    params = UpsamplerParams.from_config(checkpoint.config)
    params.check_doubles(checkpoint.path)
    components.check_parts(checkpoint, Part.UPSAMPLER)
    return params
