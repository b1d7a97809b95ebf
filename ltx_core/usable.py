"""Whether a file can be used for an input of a loader node, or why not: one rule, told by headers alone.

`inspect` reports by it, and the nodes ask it when a workflow is queued and when they run.  Only the numbers of weights
(NaN, never written) are left to the run.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache

from .checkpoint import Checkpoint, Component, common_generation
from .errors import CheckpointError, LTXError, VariantError
from .fit import check_fit, check_form
from .generation import Generation, shared_with_2_5
from .gguf_file import GgufFile
from .known_configs import completed
from .loading import check_tokenizer, load_tokenizer, projection_params, text_encoder_module
from .lora import LoRA
from .text.encoder import build_feature_extractor
from .text.params import ConnectorParams
from .transformer.params import TransformerParams
from .upsampler import UpsamplerParams
from .variants import RUN, RUN_NAMES, Kind, is_run, variant_of


class Use(Enum):
    """What a file is chosen for: an input of a loader node, as `inspect` calls it."""

    MODEL = "LTX Model Loader"
    TRANSFORMER = "LTX Model Loader (checkpoint, beside a file with the connectors)"
    CONNECTORS = "LTX Model Loader (connectors)"
    VAE = "LTX VAE Loader"
    VIDEO = "LTX VAE Loader (video)"
    DIFFUSION = "LTX VAE Loader (video, decoded by diffusion)"
    AUDIO = "LTX VAE Loader (audio)"
    AUDIO_VAE = "LTX VAE Loader (audio, beside a checkpoint with the vocoder)"
    VOCODER = "LTX VAE Loader (audio, beside a checkpoint with the audio VAE)"
    TEXT_ENCODER = "LTX Text Encoder Loader (text encoder)"
    PROJECTION = "LTX Text Encoder Loader (projection)"
    UPSAMPLER = "LTX Upsampler Loader"
    DURATION = "LTX Prompt Length"
    LORA = "LTX LoRA Loader"


_CONNECTORS = (Component.VIDEO_CONNECTOR, Component.AUDIO_CONNECTOR)
_VIDEO = (Component.VIDEO_ENCODER, Component.VIDEO_DECODER)
_AUDIO = (Component.AUDIO_DECODER, Component.VOCODER)

PARTS: Mapping[Use, tuple[Component, ...]] = {
    Use.MODEL: (Component.TRANSFORMER, *_CONNECTORS),
    Use.TRANSFORMER: (Component.TRANSFORMER,),
    Use.CONNECTORS: _CONNECTORS,
    Use.VAE: (*_VIDEO, *_AUDIO),
    Use.VIDEO: _VIDEO,
    Use.DIFFUSION: (Component.VIDEO_ENCODER, Component.DIFFUSION_DECODER),
    Use.AUDIO: _AUDIO,
    Use.AUDIO_VAE: (Component.AUDIO_DECODER,),
    Use.VOCODER: (Component.VOCODER,),
    Use.TEXT_ENCODER: (Component.GEMMA, Component.TOKENIZER),
    Use.PROJECTION: (Component.TEXT_PROJECTION,),
    Use.UPSAMPLER: (Component.UPSAMPLER,),
    Use.DURATION: (Component.DURATION_HEAD,),
    Use.LORA: (Component.LORA,),
}

# What is published in GGUF files.
_IN_GGUF = (Use.MODEL, Use.TRANSFORMER, Use.CONNECTORS, Use.TEXT_ENCODER, Use.PROJECTION)

# What is not said beside the whole that it is a part of.
_WITHIN = {
    Use.TRANSFORMER: Use.MODEL,
    Use.CONNECTORS: Use.MODEL,
    Use.VIDEO: Use.VAE,
    Use.AUDIO: Use.VAE,
    Use.AUDIO_VAE: Use.AUDIO,
    Use.VOCODER: Use.AUDIO,
}


def video_use(checkpoint: Checkpoint) -> Use:
    """How a file's pictures are decoded: by its convolutional decoder, or by diffusion where it has that one alone."""
    parts = checkpoint.components
    alone = Component.DIFFUSION_DECODER in parts and Component.VIDEO_DECODER not in parts
    return Use.DIFFUSION if alone else Use.VIDEO


def check(checkpoint: Checkpoint, use: Use) -> None:
    """CheckpointError or VariantError unless the file can be used there."""
    parts = PARTS[use]
    if _is_gguf(checkpoint) and use not in _IN_GGUF:
        raise CheckpointError(
            f"{checkpoint.path} is a GGUF file, which LTX Duo reads for the transformer and the text encoder only. "
            f"Choose a .safetensors file of the {' and the '.join(part.value for part in parts)}."
        )
    _require(checkpoint, parts)
    for part in parts:
        if part in checkpoint.components:
            check_form(part, checkpoint)
    check_generation(checkpoint)
    for part in parts:
        if error := problem(checkpoint, part):
            raise error.with_traceback(None)


def check_part(checkpoint: Checkpoint, part: Component) -> None:
    """CheckpointError or VariantError unless the file has this part, as it can be used."""
    checkpoint.require(part)
    if error := problem(checkpoint, part):
        raise error.with_traceback(None)


def check_generation(checkpoint: Checkpoint) -> None:
    """VariantError for a file of a generation that is not run, or that its tensors are not of; files that tell none are
    good."""
    if not is_run(checkpoint.generation):
        raise VariantError(
            f"{checkpoint.path} is of {checkpoint.generation_name}, which these nodes do not run: they run "
            f"{RUN_NAMES}. Choose a file of one of them, such as {variant_of(Kind.DEV).files.checkpoint}."
        )
    looks, stated = checkpoint.look_of_tensors, checkpoint.generation
    if stated is Generation.V2_5 and shared_with_2_5(looks, checkpoint.components):
        return
    if looks in RUN and stated not in (None, looks):
        raise VariantError(
            f"{checkpoint.path} says that it is of {checkpoint.generation_name}, but its tensors are those of {looks}. "
            "Use the file as its publisher released it."
        )


def usable(checkpoint: Checkpoint, use: Use) -> bool:
    try:
        check(checkpoint, use)
    except LTXError:
        return False
    return True


def uses(checkpoint: Checkpoint) -> list[Use]:
    """All that the file can be used for; the parts of a whole are left out."""
    found = {use for use in Use if usable(checkpoint, use)}
    return [use for use in Use if use in found and _WITHIN.get(use) not in found]


@lru_cache(maxsize=64)
def problem(checkpoint: Checkpoint, part: Component) -> LTXError | None:
    """Why this part of a file, which holds it, cannot be used; None if it can."""
    try:
        if part in checkpoint.components:
            check_form(part, checkpoint)
        _CHECKS.get(part, _check_module)(checkpoint, part)
    except LTXError as error:
        return error
    return None


def _check_module(checkpoint: Checkpoint, part: Component) -> None:
    check_fit(part, checkpoint)


def check_text_encoder(gemma: Checkpoint, projection: Checkpoint) -> None:
    """CheckpointError unless the two, each usable by itself, were made for each other."""
    text_encoder_module(gemma, projection, device="meta")


def with_connectors(model: Checkpoint, connectors: Checkpoint) -> Checkpoint:
    """The file with the connectors as it is used beside the model's: where it has no config, the model's counts.

    CheckpointError or VariantError if it cannot be used, or is of another model.
    """
    connectors = _completed_beside(connectors, model)
    check(connectors, Use.CONNECTORS)
    common_generation(model, connectors)
    params = TransformerParams.from_config(model.config)
    for modality, wanted in params.text_widths.items():
        width = ConnectorParams.from_config(connectors.config, modality).width
        if width != wanted:
            raise CheckpointError(
                f"The {modality} text connector in {connectors.path} makes text {width:,} wide, but the transformer in "
                f"{model.path} takes {wanted:,}. Choose the connectors of the same model."
            )
    return connectors


@lru_cache(maxsize=32)
def _completed_beside(connectors: Checkpoint, model: Checkpoint) -> Checkpoint:
    """One object for the two however often they are asked for; the config of a known model comes after the model's."""
    return completed(connectors.as_saved(), model)


def tokenizer_is_beside(checkpoint: Checkpoint) -> bool:
    """Whether Gemma's tokenizer is a file beside its weights: in a folder, or beside a GGUF without a vocabulary."""
    if Component.GEMMA not in checkpoint.components:
        return False
    return checkpoint.path.is_dir() or (_is_gguf(checkpoint) and Component.TOKENIZER not in checkpoint.components)


def _is_gguf(checkpoint: Checkpoint) -> bool:
    return any(isinstance(file, GgufFile) for file in checkpoint.files)


def _require(checkpoint: Checkpoint, parts: tuple[Component, ...]) -> None:
    if tokenizer_is_beside(checkpoint):
        parts = tuple(part for part in parts if part is not Component.TOKENIZER)
    checkpoint.require(*parts)


def _check_tokenizer(checkpoint: Checkpoint, _: Component) -> None:
    check_tokenizer(checkpoint)
    # A GGUF's vocabulary takes seconds to build.
    if not _is_gguf(checkpoint) or tokenizer_is_beside(checkpoint):
        load_tokenizer(checkpoint)


def _check_projection(checkpoint: Checkpoint, part: Component) -> None:
    tensors = checkpoint.tensors(part)
    # Which Gemma it is for is known beside one; LTX-2.0's makes vectors as wide as that one's states.
    single, weight = tensors.get("aggregate_embed.weight"), tensors.get("video_aggregate_embed.weight")
    rows, width = next((info.shape for info in (single, weight) if info is not None and len(info.shape) == 2), (1, 1))
    hidden, states = (width, 1) if single is None or rows == 0 else (rows, width // rows)
    params = projection_params(checkpoint, hidden, states)
    check_fit(part, checkpoint, build_feature_extractor(params, device="meta"))


def _check_vae(checkpoint: Checkpoint, part: Component) -> None:
    checkpoint.check_statistics(part)
    _check_module(checkpoint, part)


def _check_upsampler(checkpoint: Checkpoint, part: Component) -> None:
    params = UpsamplerParams.from_config(checkpoint.config_for(part))
    params.check_doubles(checkpoint.path)
    _check_module(checkpoint, part)


def _check_lora(checkpoint: Checkpoint, _: Component) -> None:
    LoRA.open(checkpoint.path)


_CHECKS: Mapping[Component, Callable[[Checkpoint, Component], None]] = {
    Component.TOKENIZER: _check_tokenizer,
    Component.TEXT_PROJECTION: _check_projection,
    Component.VIDEO_ENCODER: _check_vae,
    Component.VIDEO_DECODER: _check_vae,
    Component.DIFFUSION_DECODER: _check_vae,
    Component.AUDIO_ENCODER: _check_vae,
    Component.AUDIO_DECODER: _check_vae,
    Component.UPSAMPLER: _check_upsampler,
    Component.LORA: _check_lora,
}
