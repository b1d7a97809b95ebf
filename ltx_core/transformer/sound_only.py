"""The transformer without what makes pictures: sound alone needs a sixth of its weights."""

from .model import AVTransformer

_BLOCKS = "transformer_blocks"
_OF_SOUND = "audio_"
_OF_BOTH = "audio_to_video_attn"


def without_video(model: AVTransformer) -> AVTransformer:
    """The same model with None in the place of its video layers and those between video and audio.

    As the vendor's audio-only model: its forward takes and gives None for video.  The names that stay are the model's.
    """
    for module in (model, *model.transformer_blocks):
        own = [*(name for name, _ in module.named_children()), *dict(module.named_parameters(recurse=False))]
        for name in own:
            if name != _BLOCKS and not _is_audio(name):
                setattr(module, name, None)
    return model


def of_sound(name: str) -> bool:
    """Whether a parameter or layer of the transformer, by its official name, is left by `without_video`."""
    first, _, rest = name.partition(".")
    if first == _BLOCKS:
        first = rest.partition(".")[2].partition(".")[0]
    return _is_audio(first)


def _is_audio(part: str) -> bool:
    return part.startswith(_OF_SOUND) and part != _OF_BOTH
