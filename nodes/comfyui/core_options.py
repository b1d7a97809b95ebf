"""What other nodes have put on ComfyUI's MODEL beside weights: what acts in LTX Duo's sampler, and what does not."""

from collections.abc import Iterator
from functools import partial

import torch

from ...ltx_core.transformer.attention import AttentionFunction
from .attention import chosen_attention, chosen_flag, through_comfyui

ATTENTION = "optimized_attention_override"
COMPUTE_DTYPE = "manual_cast_dtype"
# Hooks that run while ComfyUI samples; those of loading and cloning run here as well.
RUN_CALLBACKS = ("on_prepare_state", "on_pre_run", "on_apply_hooks", "on_register_all_hook_patches")
WORDS = {
    "model_sampling": "model_sampling (another noise schedule, as ModelSamplingLTXV sets: connect 'sigmas' instead)",
    "sampler_cfg_function": "sampler_cfg_function (another CFG: see LTX Guidance)",
}
# What ComfyUI itself only reads in its own sampler, and changes nothing in the result.
NOTHING = ("transformer_options", "disable_cfg1_optimization", "multigpu_options")


def attention_of(patcher) -> AttentionFunction:
    """The attention that a node has put on the MODEL, such as SageAttention; else the one that ComfyUI started with."""
    options = patcher.model_options.get("transformer_options", {})
    if options.get(ATTENTION) is None:
        return chosen_attention()
    return partial(through_comfyui, transformer_options=options)


def name_of_attention(patcher) -> str | None:
    """What stands for `attention_of` in a message; None where it is PyTorch's own."""
    override = patcher.model_options.get("transformer_options", {}).get(ATTENTION)
    return (
        chosen_flag()
        if override is None
        else f"{ATTENTION} ({getattr(override, '__qualname__', type(override).__name__)})"
    )


def note_on_unused(patcher, bound: frozenset[str]) -> str | None:
    """Names what lies on the MODEL and does nothing here; None if all of it acts.

    `bound`: the modules below the diffusion model that are used as objects.
    """
    found = [WORDS.get(name, name) for name in dict.fromkeys(_unused(patcher, bound))]
    if not found:
        return None
    return (
        f"Other nodes have put on this MODEL what only ComfyUI's own sampler uses: {'; '.join(found)}. It does nothing "
        "here. LoRAs and other weight patches, the compute dtype and an attention override act. Take those nodes out."
    )


def note_on_dtype(dtype: torch.dtype) -> str | None:
    """Says that ComfyUI's layers compute in float16, where they do."""
    if dtype != torch.float16:
        return None
    return (
        "This MODEL computes in float16, where numbers overflow that are usual in LTX-2.3. If the film breaks, start "
        "ComfyUI without --fp16-unet and --force-fp16, or set the dtype of the node that loads it to bfloat16."
    )


def _unused(patcher, bound: frozenset[str]) -> Iterator[str]:
    options = patcher.model_options
    yield from (name for name, value in options.items() if name not in NOTHING and _is_set(value))
    for name, value in options.get("transformer_options", {}).items():
        if name != ATTENTION and _is_set(value):
            yield f"{name}{_keys(value)}"
    for name in patcher.object_patches:
        if name != COMPUTE_DTYPE and name.removeprefix("diffusion_model.") not in bound:
            yield name
    for holder in ("wrappers", "hook_patches", "forced_hooks", "injections"):
        if _is_set(value := getattr(patcher, holder, None)):
            yield f"{holder}{_keys(value)}"
    callbacks = getattr(patcher, "callbacks", {})
    yield from (name for name in RUN_CALLBACKS if _is_set(callbacks.get(name)))


def _is_set(value: object) -> bool:
    """Whether anything is in it: tables of empty tables hold nothing."""
    if isinstance(value, dict):
        return any(map(_is_set, value.values()))
    if isinstance(value, (list, tuple, set)):
        return len(value) > 0
    return value is not None and value is not False


def _keys(value: object) -> str:
    """What a table names in it: " (apply_model: torch.compile)"."""
    if not isinstance(value, dict):
        return ""
    parts = []
    for name, inner in value.items():
        if _is_set(inner):
            names = ", ".join(str(key) for key in inner if key is not None) if isinstance(inner, dict) else ""
            parts.append(f"{name}: {names}" if names else str(name))
    return f" ({'; '.join(parts)})"
