"""The LTX-2.3 audio-video engine: plain PyTorch, usable without ComfyUI.

Data flows one way: checkpoint files -> components -> text and image conditioning -> stage one
-> latent upsample -> stage two -> decode.  `two_stage.py` tells that story in one page.

    from ltx_core import LatentGeometry, Request, generate, load_components, write_film

is what a program needs; `scripts/generate.py` uses it.  A name is imported when it is asked for.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "GivenImage": "sampling.conditions",
    "GivenReference": "sampling.conditions",
    "GivenSound": "sampling.conditions",
    "GivenVoice": "sampling.conditions",
    "LTXError": "errors",
    "LatentGeometry": "sampling.geometry",
    "LoRA": "lora",
    "Request": "request",
    "SoundRequest": "sound_only",
    "StagedLoRA": "request",
    "generate": "two_stage",
    "generate_sound": "sound_only",
    "load_components": "loading_components",
    "load_sound_components": "loading_components",
    "named_sampler": "sampling.samplers",
    "prompt_frames": "prompt_length",
    "write_film": "film",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
