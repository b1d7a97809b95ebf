"""What an entry of a CONDITIONING may carry beside its text: each key acts, is refused, or is told.

Core's nodes write dozens of keys; a sampler that does not know one makes another film than was asked for, without a
word.  So there is a list of what passes.  What changes the film in core is refused; the rest, which changes nothing for
LTX-2 in core either or is not known here, is told.  A value that stands for "nothing" passes everywhere.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ...ltx_core.errors import ConditioningError

UNPROCESSED = "unprocessed_ltxav_embeds"
FRAME_RATE = "frame_rate"
GENERATION = "ltxduo_generation"

PASSES = {
    UNPROCESSED,  # acts: the connectors run
    FRAME_RATE,  # acts where the latent has no rate; conditioning.notes_on tells where it has another one
    GENERATION,  # acts: which model the text is for
    "pooled_output",  # LTX-2's text has none, and its model takes none
    "set_area_to_bounds",  # how to read an area or a mask, which are refused themselves
    "mask_strength",  # how strong a mask is, which is refused itself; beside no other prompt it does nothing
    "control_apply_to_uncond",  # how to use a control, which is refused itself
    "prompt_type",  # a guider's name for the prompt; LTX-2's model does not take it
}


def _is(nothing: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and value == nothing


def _whole(value: object) -> bool:
    """An area that is the whole picture: ("percentage", sizes, offsets)."""
    if not isinstance(value, list | tuple) or not value or value[0] != "percentage":
        return False
    sizes, offsets = value[1 : 1 + len(value) // 2], value[1 + len(value) // 2 :]
    return all(size == 1 for size in sizes) and all(offset == 0 for offset in offsets)


def _all_ones(value: object) -> bool:
    return isinstance(value, Tensor) and bool((value == 1).all())


def _no_hooks(value: object) -> bool:
    return getattr(value, "hooks", None) == []


def _never(_: object) -> bool:
    return False


@dataclass(frozen=True)
class _Refused:
    """What a key would do in core, which node sets it, what to do instead, and which values of it do nothing."""

    node: str
    would: str
    instead: str
    is_nothing: Callable[[object], bool] = _never


_IMAGES = "Give images through LTX Image Condition"
_GUIDES = f"{_IMAGES}, and the film of an IC-LoRA through LTX Reference Video"
_WORDS = "Say in the prompt where things are"
_STEPS = ("ConditioningSetTimestepRange", "use the prompt in a part of the steps only")
_LORA_STEPS = ("scheduled hooks of the CLIP", "use the prompt in a part of the steps only")
_ONE_PROMPT = "Write one prompt for all steps"
_GUIDE = "LTXVAddGuide"
_INPAINT = "InpaintModelConditioning"

REFUSED = {
    "start_percent": _Refused(*_STEPS, _ONE_PROMPT, _is(0)),
    "end_percent": _Refused(*_STEPS, _ONE_PROMPT, _is(1)),
    "clip_start_percent": _Refused(*_LORA_STEPS, _ONE_PROMPT, _is(0)),
    "clip_end_percent": _Refused(*_LORA_STEPS, _ONE_PROMPT, _is(1)),
    "area": _Refused("ConditioningSetArea", "use the prompt in a part of the picture only", _WORDS, _whole),
    "mask": _Refused("ConditioningSetMask", "use the prompt in a part of the picture only", _WORDS, _all_ones),
    "hooks": _Refused("hook nodes", "change the weights for this prompt", "Use LTX LoRA Loader", _no_hooks),
    "control": _Refused("ControlNetApply", "steer the picture by a ControlNet", _IMAGES),
    "gligen": _Refused("GLIGENTextBoxApply", "put words at places in the picture", _WORDS),
    "attention_mask": _Refused("a text encoder", "hide tokens of the prompt", "Use LTX Text Encode", _all_ones),
    "concat_latent_image": _Refused(_INPAINT, "keep parts of a picture", _IMAGES),
    "concat_mask": _Refused(_INPAINT, "keep parts of the latent", _IMAGES, _all_ones),
    "denoise_mask": _Refused("another node", "keep parts of the latent", _IMAGES, _all_ones),
    "keyframe_idxs": _Refused(_GUIDE, "place native guides: images or a film", _GUIDES),
    "guide_attention_entries": _Refused(_GUIDE, "say how native guides are looked at", _GUIDES),
    "ref_audio": _Refused("LTXVReferenceAudio", "give a reference voice", "Give it through LTX Reference Voice"),
}

# What has no effect on LTX-2 in core either, and why it may be there.
IDLE = {
    "strength": "a prompt's strength is weighed against other prompts, and there is one only",
    "reference_latents": f"LTX-2 takes no reference latents. {_IMAGES}",
    "guidance": "LTX-2 takes no guidance value with the text. Use LTX Guidance",
    "clip_vision_output": f"LTX-2 takes no CLIP vision. {_IMAGES}",
    "unclip_conditioning": f"LTX-2 takes no CLIP vision. {_IMAGES}",
}
_IDLE_VALUES = {"strength": _is(1)}


def refuse(extra: Mapping) -> None:
    """ConditioningError for the first key that would change the film and is not acted on here."""
    for key, case in REFUSED.items():
        value = extra.get(key)
        if value is not None and not case.is_nothing(value):
            raise ConditioningError(
                f"The conditioning carries '{key}' ({case.node} sets it): it would {case.would}, which LTX Duo does "
                f"not do. Take that node out. {case.instead}."
            )


def unused(extra: Mapping) -> Iterator[str]:
    """A sentence for each key that is neither acted on nor refused."""
    for key, value in extra.items():
        if value is None or key in PASSES or key in REFUSED or _IDLE_VALUES.get(key, _never)(value):
            continue
        reason = IDLE.get(key, "LTX Duo does not know it. If it was to change the film, take the node out that sets it")
        yield f"the conditioning carries '{key}', which has no effect: {reason}."
