"""Tensors of the diffusion decoder as they are published, and as `DiffusionVideoDecoder` has them."""

import re
from collections.abc import Mapping

from torch import Tensor

from ..errors import CheckpointError

_PART = re.compile(r"^(?:vae\.)?(?:decoder\.|(?=per_channel_statistics\.))")
_TIME = {
    "t_embedder.mlp.0.": "t_embedder.linear_1.",
    "t_embedder.mlp.2.": "t_embedder.linear_2.",
    "t_embedder.timestep_embedder.": "t_embedder.",
}
# A smaller head for previews, which is no part of decoding.
_PREVIEW = "coarse_"
# Fixed factors of each channel, and the layers that they multiply the result of.
_GATES = {
    "gate_msa": ("attn.proj.weight", "attn.proj.bias"),
    "gate_mlp": ("mlp.w_down.weight",),
    "gate_ctx": ("context_proj.weight", "context_proj.bias"),
}


def diffusion_decoder_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's tensors among those of a file, by the module's names; gates become part of the layers before them.

    Products are made in float32 and rounded to the layer's dtype.  CheckpointError for a gate without its layer.
    """
    state = {}
    for key, tensor in tensors.items():
        if (found := _PART.match(key)) and not key[found.end() :].startswith(_PREVIEW):
            name = key[found.end() :]
            prefix = next((prefix for prefix in _TIME if name.startswith(prefix)), "")
            state[_TIME.get(prefix, "") + name.removeprefix(prefix)] = tensor
    for name in [name for name in state if name.rpartition(".")[2] in _GATES]:
        block, _, gate = name.rpartition(".")
        factors = state.pop(name).float()
        for layer in _GATES[gate]:
            target = f"{block}.{layer}"
            if target not in state:
                raise CheckpointError(
                    f"The diffusion decoder's {name} has no {target} to belong to; part of the file is missing: "
                    "download it again."
                )
            old = state[target]
            state[target] = (old.float() * factors.to(old.device).view(-1, *(1,) * (old.ndim - 1))).to(old.dtype)
    return state
