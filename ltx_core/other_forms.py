"""Forms that other tools write and this engine does not read, told by the names of tensors: what each is, what to do.

A form that nothing here knows is called unknown: never damaged, and never another model.
"""

import re
from collections.abc import Callable, Collection

_READ = "Use the bf16 version, an fp8 one, or one that was quantised by ComfyUI."
_SINGLE = "Take the single .safetensors file of the model, as Lightricks publishes it."
_GEMMA_3 = "LTX-2.3 takes Gemma-3 12B, such as gemma_3_12B_it.safetensors."


def _ends(*endings: str) -> Callable[[Collection[str]], bool]:
    return lambda names: any(name.endswith(endings) for name in names)


def _has(pattern: str) -> Callable[[Collection[str]], bool]:
    find = re.compile(pattern).search
    return lambda names: any(map(find, names))


# What is asked of the names, what the file is, what to do.
_QUANTISED = (
    (_has(r"\.quant_state\.bitsandbytes__nf4$"), "quantised by bitsandbytes (nf4)"),
    (_has(r"\.quant_state\.bitsandbytes__|\.weight\.absmax$|\.SCB$"), "quantised by bitsandbytes"),
    (_ends(".wscales", ".smooth_factor"), "quantised for nunchaku (SVDQuant)"),
    (_ends(".g_idx"), "quantised by GPTQ"),
    (_ends(".qzeros"), "quantised by AWQ or GPTQ"),
    (_ends(".weight._data", ".weight._packed"), "quantised by optimum-quanto"),
    (_ends(".W_q"), "quantised by HQQ"),
)
_LAYOUTS = (
    (_has(r"(?:^|\.)transformer_blocks\.\d+\.attn1\.norm_q\.weight$"), "a transformer in the layout of diffusers"),
    (_has(r"(?:encoder|decoder)\..*\.resnets\.\d+\.conv1\."), "a VAE in the layout of diffusers"),
    (_has(r"^(?:text_proj_in\.|(?:video|audio)_connector\.transformer_blocks\.)"),
     "text connectors in the layout of diffusers"),
)  # fmt: skip
_TEXT_ENCODERS = (
    (_has(r"layers\.\d+\.layer_scalar$"), "Gemma-4, LTX-2.5's text encoder"),
    (_has(r"encoder\.block\.\d+\.layer\.0\.SelfAttention\."), "T5, the text encoder of LTX-Video before LTX-2"),
    (_has(r"text_model\.encoder\.layers\."), "CLIP, which LTX-2 does not use"),
    (_has(r"layers\.\d+\.pre_feedforward_layernorm\.weight$"),
     "a language model that may be Gemma-3, under names of another key format"),
    (_has(r"layers\.\d+\.(?:self_attn|linear_attn)\."), "another language model than Gemma-3"),
    (_has(r"^(?:vision_tower|vision_model|model\.vision_tower)\."), "the vision part of a language model alone"),
)  # fmt: skip


def other_form(names: Collection[str]) -> tuple[str, str] | None:
    """What a part of a known kind is that has these names in its file, and what to do; None for what is not known."""
    for forms, to_do in ((_QUANTISED, _READ), (_LAYOUTS, _SINGLE)):
        found = next((what for asks, what in forms if asks(names)), None)
        if found is not None:
            return found, to_do
    return None


def other_file(names: Collection[str]) -> tuple[str, str] | None:
    """The same for a whole file in which no part was recognised."""
    if found := other_form(names):
        return found
    found = next((what for asks, what in _TEXT_ENCODERS if asks(names)), None)
    if found is not None:
        return found, _GEMMA_3
    if prefix := _prefix_of_transformer(names):
        return (
            f"a transformer whose names begin with {prefix!r}, another key format",
            "Rename them to 'model.diffusion_model.', or use the file as Lightricks or ComfyUI's nodes save it.",
        )
    return None


def _prefix_of_transformer(names: Collection[str]) -> str | None:
    anchor = "transformer_blocks.0.attn1.to_q.weight"
    return next((name.removesuffix(anchor) for name in names if name.endswith("." + anchor)), None)
