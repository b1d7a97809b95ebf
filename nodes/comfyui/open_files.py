"""Behind the loader nodes: open files, check all that can be checked, and make handles.

What headers tell is checked when a workflow is queued, by the rule in `ltx_core.usable`.  When a loader runs it also
looks for NaN, in samples of the numbers: a damaged file shall not cost a run.  No weight is loaded here.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache

from ...ltx_core.checkpoint import Checkpoint, common_generation
from ...ltx_core.lora import LoRA, StreamStrengths
from ...ltx_core.quantization import quantization
from ...ltx_core.upsampler.params import UpsamplerParams
from ...ltx_core.usable import PARTS, Use, check_text_encoder, video_use, with_connectors
from ...ltx_core.usable import check as check_usable
from ...ltx_core.variants import Kind, kind_of_name
from ..names import LORA_FOLDERS
from . import files, packed
from .components import Part
from .handles import LoraUse, ModelHandle, SampledModel, TextEncoderHandle, UpsamplerHandle, VAEHandle

log = logging.getLogger("ltx_duo")

Folders = Sequence[str]


def check_file(name: str | None, folders: Folders, use: Use) -> None:
    """CheckpointError or VariantError unless the file can be used there; None is unknown."""
    if name is not None:
        check(files.open_checkpoint(name, folders), use)


def check(checkpoint: Checkpoint, use: Use) -> None:
    """As `usable.check`, and that this ComfyUI can compute with the file's packed layers."""
    check_usable(checkpoint, use)
    for part in PARTS[use]:
        packed.check_available(quantization(checkpoint, part), checkpoint.path)


def check_connectors(name: str | None, folders: Folders, connectors: str, its_folders: Folders) -> None:
    """CheckpointError or VariantError unless the connectors' file is whole and fits the model's, which is good."""
    if name is not None:
        _connectors(files.open_checkpoint(name, folders), connectors, its_folders)


def open_model(
    name: str,
    folders: Folders,
    weight_dtype: str,
    kind: Kind | None = None,
    connectors: tuple[str, Folders] | None = None,
) -> ModelHandle:
    """The handle of a checkpoint.

    `kind` None: dev or distilled as the file's name says.  `connectors`: the file that they lie in, if it is another.
    """
    checkpoint = files.open_checkpoint(name, folders)
    check(checkpoint, Use.TRANSFORMER)
    if connectors:
        beside = _connectors(checkpoint, *connectors)
    else:
        check(checkpoint, Use.MODEL)
        beside = checkpoint
    handle = ModelHandle(checkpoint, weight_dtype, kind or kind_of_name(name), beside)
    _check_numbers(checkpoint, PARTS[Use.TRANSFORMER])
    _check_numbers(beside, PARTS[Use.CONNECTORS])
    if kind is None and handle.kind is Kind.DISTILLED:
        log.info("LTX Duo: %s is taken for a distilled model by its name: 8 steps, no guidance by default.", name)
    return handle


def _connectors(model: Checkpoint, name: str, folders: Folders) -> Checkpoint:
    beside = with_connectors(model, files.open_checkpoint(name, folders))
    check(beside, Use.CONNECTORS)
    return beside


def check_lora(name: str | None) -> None:
    """CheckpointError unless the file is a LoRA; whether it fits the model is known when the node runs."""
    if name is not None:
        files.look_at_lora(name)


def open_lora(model: SampledModel, name: str, strengths: tuple[float, float], streams: StreamStrengths) -> LoraUse:
    """A LoRA for this model; VariantError if it is of another model, CheckpointError if it holds NaN."""
    lora = LoRA.open(files.path(name, LORA_FOLDERS))
    lora = lora.fitted(model.weight_shapes(), model.name)
    lora.checked()  # refuses NaN
    return LoraUse(lora, strengths, streams)


def check_video(name: str | None, folders: Folders) -> None:
    """CheckpointError or VariantError unless the file has a video VAE, with either decoder; None is unknown."""
    if name is not None:
        video = files.open_checkpoint(name, folders)
        check(video, video_use(video))


def check_sound(name: str, audio_name: str | None, folders: Folders) -> None:
    """CheckpointError or VariantError unless audio VAE and vocoder are there, beside a video VAE that is good."""
    _sound_files(files.open_checkpoint(name, folders), audio_name, folders)


def open_vae(name: str, audio_name: str | None, folders: Folders) -> VAEHandle:
    """The handle of the VAEs; `audio_name` None: sound lies in the same file."""
    video = files.open_checkpoint(name, folders)
    use = video_use(video)
    check(video, use)
    audio, vocoder = _sound_files(video, audio_name, folders)
    _check_numbers(video, PARTS[use])
    _check_numbers(audio, PARTS[Use.AUDIO_VAE])
    _check_numbers(vocoder, PARTS[Use.VOCODER])
    return VAEHandle(video, audio, vocoder)


def _sound_files(video: Checkpoint, audio_name: str | None, folders: Folders) -> tuple[Checkpoint, Checkpoint]:
    """The files with the audio VAE and with the vocoder; what the second file lacks of the two lies in the first."""
    chosen = video if audio_name is None else files.open_checkpoint(audio_name, folders)
    parts = {Use.AUDIO_VAE: chosen, Use.VOCODER: chosen}
    lacking = [use for use in parts if not chosen.components.issuperset(PARTS[use])]
    if len(lacking) == 1 and video.components.issuperset(PARTS[lacking[0]]):
        parts[lacking[0]] = video
    elif lacking:
        check(chosen, Use.AUDIO)
    for use, file in parts.items():
        check(file, use)
    common = [file for file in {video, chosen} if file.generation is not None]
    if common:
        common_generation(*common)
    return parts[Use.AUDIO_VAE], parts[Use.VOCODER]


def check_opens(name: str | None, folders: Folders) -> None:
    """CheckpointError unless the file or folder can be read at all; None is unknown."""
    if name is not None:
        files.open_checkpoint(name, folders)


def check_text(name: str, folders: Folders, projection: str, its_folders: Folders) -> None:
    """CheckpointError unless Gemma and the text projection, each good by itself, go together."""
    check_text_encoder(files.open_checkpoint(name, folders), files.open_checkpoint(projection, its_folders))


def open_text_encoder(
    name: str, folders: Folders, projection: str, its_folders: Folders, device: str
) -> TextEncoderHandle:
    gemma, other = files.open_checkpoint(name, folders), files.open_checkpoint(projection, its_folders)
    check(gemma, Use.TEXT_ENCODER)
    check(other, Use.PROJECTION)
    check_text_encoder(gemma, other)
    _check_numbers(gemma, (Part.GEMMA,))
    _check_numbers(other, (Part.TEXT_PROJECTION,))
    return TextEncoderHandle(gemma, other, device)


def open_upsampler(name: str, folders: Folders) -> UpsamplerHandle:
    checkpoint = files.open_checkpoint(name, folders)
    check(checkpoint, Use.UPSAMPLER)
    _check_numbers(checkpoint, (Part.UPSAMPLER,))
    return UpsamplerHandle(checkpoint, UpsamplerParams.from_config(checkpoint.config))


@lru_cache(maxsize=32)
def _check_numbers(checkpoint: Checkpoint, parts: tuple[Part, ...]) -> None:
    """CheckpointError if a weight holds NaN or infinity."""
    for part in parts:
        checkpoint.check_finite(part)
