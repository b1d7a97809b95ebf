"""Tensor names of Gemma-3 and Gemma-4 in the files they are distributed in."""

import re
from collections.abc import Collection, Iterable

# Hugging Face multi-modal (old, new), text-only and ComfyUI's single files, bare.
_LANGUAGE_MODEL = re.compile(
    r"^(?:language_model\.model\.|model\.language_model\.|model\.)?((?:embed_tokens|layers\.\d+|norm)\..+)$"
)


def gemma_key_map(keys: Iterable[str]) -> dict[str, str]:
    """file key -> name in `GemmaModel` or `Gemma4Model`, for every tensor of the language model among `keys`.

    Left out is what hidden states do not need: what reads images and sound, `lm_head`, embedded tokenizers, and
    whatever else shares the file.  Scales beside quantised weights keep their place beside them.
    """
    return {key: found[1] for key in keys if (found := _LANGUAGE_MODEL.match(key))}


def is_gemma_4(names: Collection[str]) -> bool:
    """Whether these are the names of Gemma-4's tensors, which has a number of its own for each layer."""
    return any(name.endswith(".layer_scalar") for name in names)
