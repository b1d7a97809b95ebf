"""All parts of a run at once from their files, in plain PyTorch; see `loading` for one part."""

import logging
import os
from collections.abc import Sequence

import torch
from torch import nn

from .checkpoint import Checkpoint, Component, common_generation
from .components import Components, SoundComponents
from .errors import CheckpointError, LTXError, VariantError
from .execution.replicas import fitting_devices, replicate
from .loading import load_component, load_sound_transformer, load_text_encoder, load_tokenizer
from .text.keys import is_gemma_4
from .variants import RUN_NAMES, Kind, is_run, kind_of_name, variant_of
from .variants.upsamplers import remark_on_upsampler

log = logging.getLogger("ltx_duo")


def load_components(
    checkpoint: str | os.PathLike[str],
    gemma: str | os.PathLike[str],
    upsampler: str | os.PathLike[str],
    parts: Sequence[str | os.PathLike[str]] = (),
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
    more_devices: Sequence[torch.device | str] = (),
) -> Components:
    """All of a two-stage run at once, from a checkpoint, a Gemma file or folder, an upsampler and, where the checkpoint
    is the transformer alone, the files of its other `parts`.

    What several files hold is taken from the first.  `device` None: CUDA where there is one, else the CPU.  Everything
    is in memory together: the 22B model takes about 70 GB in bfloat16, and the layers that a LoRA changes once more in
    host memory while it is laid over them.
    `more_devices`: further GPUs, each of which takes a copy of the transformer (38 GB) and of the convolutional video
    decoder (0.8 GB), and shares the work of both stages and of decoding in tiles; one without room for both is named
    in the log and left out.
    LTXError where the files do not belong together, or a device cannot be used, before weights are read.
    """
    device, others = _device(device), [_device(own) for own in more_devices]
    _check_dtype(dtype)
    main, text, upscale, *beside = map(Checkpoint.open, (checkpoint, gemma, upsampler, *parts))
    sources = _sources(main, text, beside, _OF_FILM, upscale)
    upscale.require(Component.UPSAMPLER)
    if remark := remark_on_upsampler(upscale.path.name, main.path.name, main.generation):
        log.warning("%s", remark)
    placement = {"dtype": dtype, "device": device}

    def load(part: Component) -> nn.Module:
        return load_component(sources[part], part, **placement)

    def load_if_there(part: Component) -> nn.Module | None:
        return load(part) if part in sources else None

    transformer, video_decoder = load(Component.TRANSFORMER), load_if_there(Component.VIDEO_DECODER)
    others = fitting_devices((transformer, video_decoder), others, "transformer with the video decoder")
    return Components(
        variant=variant_of(kind_of_name(main.path.name), main.generation),
        dtype=dtype,
        device=device,
        tokenizer=load_tokenizer(text),
        text_encoder=load_text_encoder(text, sources[Component.TEXT_PROJECTION], **placement),
        video_connector=load(Component.VIDEO_CONNECTOR),
        audio_connector=load(Component.AUDIO_CONNECTOR),
        transformer=transformer,
        video_encoder=load(Component.VIDEO_ENCODER),
        upsampler=load_component(upscale, Component.UPSAMPLER, **placement),
        video_decoder=video_decoder,
        audio_decoder=load(Component.AUDIO_DECODER),
        vocoder=load(Component.VOCODER),
        audio_encoder=load_if_there(Component.AUDIO_ENCODER),
        diffusion_decoder=load_if_there(Component.DIFFUSION_DECODER),
        duration_head=load_if_there(Component.DURATION_HEAD),
        replicas=tuple(replicate(transformer, own) for own in others),
        decoder_replicas=() if video_decoder is None else tuple(replicate(video_decoder, own) for own in others),
    )


def load_sound_components(
    checkpoint: str | os.PathLike[str],
    gemma: str | os.PathLike[str],
    parts: Sequence[str | os.PathLike[str]] = (),
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str | None = None,
) -> SoundComponents:
    """What a sound without a picture needs, as `load_components`; of the transformer only the sound's layers are read.

    Those take 6.6 GB of LTX-2.3 in bfloat16, instead of 38; Gemma takes 24.
    """
    device = _device(device)
    _check_dtype(dtype)
    main, text, *beside = map(Checkpoint.open, (checkpoint, gemma, *parts))
    sources = _sources(main, text, beside, _OF_SOUND)
    placement = {"dtype": dtype, "device": device}

    def load(part: Component) -> nn.Module:
        return load_component(sources[part], part, **placement)

    return SoundComponents(
        variant=variant_of(kind_of_name(main.path.name), main.generation),
        dtype=dtype,
        device=device,
        tokenizer=load_tokenizer(text),
        text_encoder=load_text_encoder(text, sources[Component.TEXT_PROJECTION], **placement),
        audio_connector=load(Component.AUDIO_CONNECTOR),
        transformer=load_sound_transformer(sources[Component.TRANSFORMER], **placement),
        audio_decoder=load(Component.AUDIO_DECODER),
        vocoder=load(Component.VOCODER),
        audio_encoder=load(Component.AUDIO_ENCODER) if Component.AUDIO_ENCODER in sources else None,
    )


_OF_SOUND = (
    Component.TRANSFORMER,
    Component.TEXT_PROJECTION,
    Component.AUDIO_CONNECTOR,
    Component.AUDIO_DECODER,
    Component.VOCODER,
)
_OF_FILM = (*_OF_SOUND, Component.VIDEO_CONNECTOR, Component.VIDEO_ENCODER)


def _check_dtype(dtype: torch.dtype) -> None:
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise LTXError(f"dtype is {dtype}, expected what can be computed in: torch.bfloat16 or torch.float32.")


def _sources(
    main: Checkpoint, text: Checkpoint, beside: Sequence[Checkpoint], needed: Sequence[Component], *more: Checkpoint
) -> dict[Component, Checkpoint]:
    """The file of each part, the model's own before those `beside` it; LTXError unless all are of one generation, and
    the `needed` parts are there, for a film with a decoder."""
    files = (main, text, *more, *beside)
    common_generation(*files)
    for file in files:
        if not is_run(file.generation):
            raise CheckpointError(
                f"{file.path} is of {file.generation_name}, which this engine does not run. Use one of {RUN_NAMES}."
            )
    sources = {part: file for file in (text, *reversed(beside), main) for part in file.components}
    decodes = needed is _OF_SOUND or {Component.VIDEO_DECODER, Component.DIFFUSION_DECODER} & sources.keys()
    for part in (*needed, *(() if decodes else (Component.VIDEO_DECODER,))):
        sources.get(part, main).require(part)
    text.require(Component.GEMMA)
    check_gemma_version(main, text)
    return sources


def check_gemma_version(model: Checkpoint, gemma: Checkpoint) -> None:
    """VariantError if the model was trained with another version of Gemma-4; what does not tell goes with any.

    Since LTX-2.5 that is one that its publisher trained on: Google's own looks the same.
    """
    wanted, config = model.gemma_version, gemma.gemma_config
    known = config is not None and is_gemma_4(gemma.tensors(Component.GEMMA))
    if wanted is not None and known and config.get("gemma_version") != wanted:
        own = variant_of(Kind.DEV, model.generation).files.text_encoder
        raise VariantError(
            f"{model.path} was trained with the text encoder {wanted!r}, but {gemma.path} is "
            f"{config.get('gemma_version', 'another')!r}. Choose {own}."
        )


def _device(device: torch.device | str | None) -> torch.device:
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise LTXError(
            f"device is {str(device)!r}, which cannot be used here ({str(error).splitlines()[0]}). Use 'cuda' where "
            "torch sees a GPU, else 'cpu'."
        ) from None
    return device
