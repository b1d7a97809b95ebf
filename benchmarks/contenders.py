"""Who is compared: ours in bfloat16 and float8, and the peers, all around one set of weights."""

from collections.abc import Callable

import diffusers_peer
import torch
import vendor
from torch import Tensor, nn
from workload import Scene

from ltx_duo.ltx_core.execution.graphs import BlockGraphs
from ltx_duo.ltx_core.execution.precompile import finish_transformer
from ltx_duo.ltx_core.kernels.attention import fastest_attention
from ltx_duo.ltx_core.kernels.fp8_linear import convert_linears
from ltx_duo.ltx_core.transformer.model import AVTransformer

# Prepares a scene once, as a stage does, and returns what is timed: one evaluation of all its passes.
Prepare = Callable[[Scene], Callable[[], list[tuple[Tensor, Tensor]]]]

OURS, OURS_FP8 = "ours", "ours fp8"
PEERS = ("vendor 1.0", "vendor 1.0 compiled", "diffusers", "diffusers compiled")


def ours(model: AVTransformer) -> Prepare:
    def prepare(scene: Scene):
        ropes = model.rope_tables(*scene.positions())
        inputs, passes, graphs = scene.inputs(ropes), scene.passes(), BlockGraphs()

        def call() -> list[tuple[Tensor, Tensor]]:
            finish_transformer(model, scene.video.dtype, scene.video.device)
            return model(*inputs, passes, graphs)

        return call

    return prepare


def in_fp8(model: AVTransformer) -> AVTransformer:
    """The same model with float8 weights where they pay; what stays is shared."""
    with torch.device("meta"):
        copy = AVTransformer(model.params)
    copy.load_state_dict(model.state_dict(), strict=True, assign=True)
    return convert_linears(copy.eval().requires_grad_(False))


def peer(name: str, settings: dict, model: AVTransformer) -> Prepare:
    """One of PEERS around our tensors, with the attention that is fastest here for them too.

    Compiled ones compile every shape for itself, which is their fastest mode.
    """
    weights = model.state_dict()
    is_vendor = name.startswith("vendor")
    module: nn.Module = vendor.build(settings, weights) if is_vendor else diffusers_peer.build(model.params, weights)
    run = vendor.run if is_vendor else diffusers_peer.run
    if name.endswith("compiled"):
        # Blocks know their number: without this, all but the first few would not be compiled.
        torch._dynamo.config.allow_unspec_int_on_nn_module = True
        torch._dynamo.config.recompile_limit = 2 * len(module.transformer_blocks)
        for block in module.transformer_blocks:
            block.compile(dynamic=False)

    def call(scene: Scene) -> list[tuple[Tensor, Tensor]]:
        with fastest_attention():
            return run(module, scene)

    return lambda scene: lambda: call(scene)
