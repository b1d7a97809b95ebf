"""Tensors of LTX-2.5's diffusion decoder as they are published, and as `DiffusionVideoDecoder` has them."""

from collections.abc import Mapping

from torch import Tensor

from .errors import CheckpointError

ANCHOR = "conv_in_x_t.weight"  # no other decoder has it
_TIME = {
    "t_embedder.mlp.0.": "t_embedder.linear_1.",
    "t_embedder.mlp.2.": "t_embedder.linear_2.",
    "t_embedder.timestep_embedder.": "t_embedder.",
}
# A smaller head for previews, which is no part of decoding.
PREVIEW = "coarse_"
# Fixed factors of each channel, and the layers that they multiply the result of.
_GATES = {
    "gate_msa": ("attn.proj.weight", "attn.proj.bias"),
    "gate_mlp": ("mlp.w_down.weight",),
    "gate_ctx": ("context_proj.weight", "context_proj.bias"),
}


def decoder_name(name: str) -> str:
    """The module's name of a tensor, from its name below `decoder.` in a file."""
    prefix = next((prefix for prefix in _TIME if name.startswith(prefix)), "")
    return _TIME.get(prefix, "") + name.removeprefix(prefix)


def is_gate(name: str) -> bool:
    """Whether the tensor becomes part of others in `with_gates_folded`."""
    return name.rpartition(".")[2] in _GATES


def with_gates_folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's tensors by the module's names, with its gates as part of the layers before them.

    Products are made in float32 and rounded to the layer's dtype.  CheckpointError for a gate without its layer.
    """
    folded = {name: tensor for name, tensor in state.items() if not is_gate(name)}
    for name in filter(is_gate, state):
        block, _, gate = name.rpartition(".")
        factors = state[name].float()
        for layer in _GATES[gate]:
            target = f"{block}.{layer}"
            if target not in folded:
                raise CheckpointError(
                    f"The diffusion decoder's {name} has no {target} to belong to; part of the file is missing: "
                    "download it again."
                )
            old = folded[target]
            scale = factors.to(old.device).view(-1, *(1,) * (old.ndim - 1))
            folded[target] = (old.float() * scale).to(old.dtype)
    return folded
