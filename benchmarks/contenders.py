"""Who is compared: ours in bfloat16 and float8, and the peers, all around one set of weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import diffusers_peer
import torch
import vendor
import vendor_source
from flash_attention import flash_attention
from torch import Tensor, nn
from workload import Scene

from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.precompile import finish_transformer
from ltx_duo.ltx_core.kernels.attention import attend, fastest_attention, scaled_dot_product
from ltx_duo.ltx_core.kernels.fp8_linear import convert_linears
from ltx_duo.ltx_core.transformer.attention import Attention, AttentionFunction
from ltx_duo.ltx_core.transformer.model import AVTransformer

# Prepares a scene once, as a stage does, and returns what is timed: one evaluation of all its passes.
Prepare = Callable[[Scene], Callable[[], list[tuple[Tensor, Tensor]]]]

OURS, OURS_FP8 = "ours", "ours fp8"
WITH_FA3 = " FA3"  # at a name's end
VENDOR_1_0 = ("vendor 1.0", "vendor 1.0 compiled")
VENDOR_1_2 = ("vendor 1.2", "vendor 1.2 compiled", "vendor 1.2 compiled FA3", "vendor 1.2 fp8 compiled FA3")
DIFFUSERS = ("diffusers", "diffusers compiled", "diffusers compiled FA3")
PEERS = (*VENDOR_1_0, *VENDOR_1_2, *DIFFUSERS)


@dataclass(frozen=True)
class Contender:
    module: nn.Module
    prepare: Prepare


def ours(model: AVTransformer) -> Prepare:
    def prepare(scene: Scene):
        ropes = model.rope_tables(*scene.positions())
        inputs, passes, graphs = scene.inputs(ropes), scene.passes(), BlockGraphs()

        def call() -> list[tuple[Tensor, Tensor]]:
            finish_transformer(model, scene.video.dtype, scene.video.device)
            return model(*inputs, passes, graphs)

        return call

    return prepare


def ours_each(model: AVTransformer, fp8: AVTransformer, with_flash: bool) -> dict[str, Contender]:
    """Ours in both precisions with PyTorch's attention; with FlashAttention, too."""
    result = {}
    for end, attention in (("", scaled_dot_product), (WITH_FA3, attend))[: 1 + with_flash]:
        for name, own in ((OURS, model), (OURS_FP8, fp8)):
            module = with_attention(own, attention)
            result[name + end] = Contender(module, ours(module))
    return result


def with_attention(model: AVTransformer, attention: AttentionFunction) -> AVTransformer:
    """The same model, its tensors shared, with another attention."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    copy = deepcopy(model, shared)
    for module in copy.modules():
        if isinstance(module, Attention):
            module.attention = attention
    return copy


def in_fp8(model: AVTransformer) -> AVTransformer:
    """The same model with float8 weights where they pay; what stays is shared."""
    with torch.device("meta"):
        copy = AVTransformer(model.params)
    copy.load_state_dict(model.state_dict(), strict=True, assign=True)
    return convert_linears(copy.eval().requires_grad_(False))


def peer(name: str, settings: dict, model: AVTransformer, scene: Scene) -> Contender:
    """One of PEERS around our tensors, with the attention that is fastest here for them too.

    Compiled ones compile every shape for itself, which is their fastest mode.  `scene`: from which float8 takes the
    scales of its inputs.
    """
    build = _vendor if name.startswith("vendor") else _diffusers
    module, prepare = build(name, settings, model, scene)

    def prepared(scene: Scene):
        run = prepare(scene)

        def call() -> list[tuple[Tensor, Tensor]]:
            with fastest_attention():
                return run(module)

        return call

    return Contender(module, prepared)


def _vendor(name: str, settings: dict, model: AVTransformer, scene: Scene):
    module = vendor.build(settings, model.state_dict())
    if " fp8" in name:
        with fastest_attention():
            vendor_source.in_fp8(module, vendor.prepared(scene))
    if name.endswith(WITH_FA3):
        vendor_source.attend_by(module, flash_attention(scene.video.device.type))
    if "compiled" in name:
        module = vendor_source.compiled(module) if name in VENDOR_1_2 else _compiled(module)
    return module, vendor.prepared


def _diffusers(name: str, settings: dict, model: AVTransformer, scene: Scene):
    module, device = diffusers_peer.build(model.params, model.state_dict()), scene.video.device.type
    if name.endswith(WITH_FA3):
        diffusers_peer.attend_by(module, flash_attention(device), device)
    if "compiled" in name:
        _compiled(module)
    return module, lambda scene: lambda module: diffusers_peer.run(module, scene)


def _compiled(module: nn.Module) -> nn.Module:
    # Blocks know their number: without this, all but the first few would not be compiled.
    torch._dynamo.config.allow_unspec_int_on_nn_module = True
    torch._dynamo.config.recompile_limit = 2 * len(module.transformer_blocks)
    for block in module.transformer_blocks:
        block.compile(dynamic=False)
    return module
