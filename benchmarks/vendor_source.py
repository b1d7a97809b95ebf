"""The vendor's 1.2 at its best: its source from a folder, its compiled blocks, FlashAttention 3 and fp8 products."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

SOURCE = Path("packages/ltx-core/src")  # in a checkout of github.com/Lightricks/LTX-2
# What the vendor's fp8 files hold in float8 inside a block: the large products.
_IN_FP8 = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")


def use(path: Path) -> None:
    """From here on `ltx_core` is the package in this checkout, or in this folder."""
    folder = path / SOURCE if (path / SOURCE).is_dir() else path
    if not (folder / "ltx_core" / "model" / "transformer" / "compiling.py").is_file():
        raise SystemExit(f"{path} holds no source of the vendor's ltx-core 1.2")
    sys.path.insert(0, str(folder))


def attend_by(model: nn.Module, function: Callable) -> nn.Module:
    """Sets the attention without a mask, as their FlashAttention3 calls it."""
    from ltx_core.loader.attention_ops import set_attention_module_op

    def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
        batch, _, width = q.shape
        q, k, v = (x.view(batch, -1, heads, width // heads) for x in (q, k, v))
        return function(q.to(v.dtype), k.to(v.dtype), v).reshape(batch, -1, width)

    return set_attention_module_op(attention=attention).mutator(model)


def compiled(model: nn.Module) -> nn.Module:
    """Each block compiled for each shape, which is their fastest."""
    from ltx_core.model.transformer.compiling import CompilationConfig, compile_transformer

    return compile_transformer(model, CompilationConfig(dynamic=False, seq_dim_dynamic=False))


def in_fp8(model: nn.Module, evaluate: Callable[[nn.Module], object]) -> nn.Module:
    """Their float8 layers with a scale for each weight and for each input, as their files have them.

    `evaluate` runs the model once: the largest inputs that it meets make the inputs' scales.
    """
    from ltx_core.quantization import fp8_scaled_mm as fp8

    layers = {
        name: layer
        for name, layer in model.transformer_blocks.named_modules(prefix="transformer_blocks")
        if isinstance(layer, nn.Linear) and name.endswith(_IN_FP8)
    }
    largest = _largest_inputs(layers, lambda: evaluate(model))
    fp8._swap_linears_to_fp8(model, layers.__contains__)
    for name, linear in layers.items():
        own = model.get_submodule(name)
        weight, scale = fp8.quantize_weight_to_fp8_per_tensor(linear.weight)
        own.weight, own.bias = (nn.Parameter(x, requires_grad=False) for x in (weight, linear.bias))
        own.weight_scale.copy_(scale)
        own.input_scale.copy_(largest[name] / torch.finfo(torch.float8_e4m3fn).max)
    return model.requires_grad_(False)


def _largest_inputs(layers: dict[str, nn.Linear], evaluate: Callable[[], object]) -> dict[str, Tensor]:
    largest: dict[str, Tensor] = {}

    def noted(name: str):
        def note(_module, inputs) -> None:
            own = inputs[0].abs().amax().float()
            largest[name] = torch.maximum(largest.get(name, own), own)

        return note

    hooks = [layer.register_forward_pre_hook(noted(name)) for name, layer in layers.items()]
    try:
        evaluate()
    finally:
        for hook in hooks:
            hook.remove()
    return largest
