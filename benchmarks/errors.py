"""How far results are from a float32 run of the same weights, at the end and after every block."""

import torch
import vendor
from contenders import ours
from torch import Tensor
from workload import Scene

from ltx_duo.ltx_core.transformer.model import AVTransformer


def relative(result: Tensor, exact: Tensor) -> float:
    """Relative L2 error; NaN where either holds NaN."""
    return ((result.double() - exact.double()).norm() / exact.double().norm()).item()


def velocity_errors(velocities, exact, names: list[str]) -> dict[str, dict[str, float]]:
    """Error of video and audio velocity of every pass."""
    return {
        name: {kind: relative(x, y) for kind, x, y in zip(("video", "audio"), own, reference, strict=True)}
        for name, own, reference in zip(names, velocities, exact, strict=True)
    }


def float32_velocities(theirs, scene: Scene):
    """The vendor's velocities with all arithmetic in float32."""
    with vendor.float32_compute():
        return vendor.run(theirs, scene.to(torch.float32))


def block_errors(models: dict[str, AVTransformer], reference: AVTransformer, scene: Scene) -> dict[str, list[float]]:
    """Error of the video stream after every block of each model, in the pass with the prompt alone."""
    alone = scene.without_guidance()
    with vendor.float32_compute():
        exact = _streams(reference, alone.to(torch.float32))
    return {
        name: [relative(stream, other) for stream, other in zip(_streams(model, alone), exact, strict=True)]
        for name, model in models.items()
    }


def _streams(model: AVTransformer, scene: Scene) -> list[Tensor]:
    kept: list[Tensor] = []
    # A copy: the fused kernels go on in the stream's own storage.
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: kept.append(out[0].clone()))
        for block in model.transformer_blocks
    ]
    try:
        ours(model)(scene)()
    finally:
        for hook in hooks:
            hook.remove()
    return kept
