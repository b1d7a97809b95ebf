"""The vendor's transformer, 1.0 (PyPI ltx-core 1.0.0) or 1.2 (its source), on the same weights and inputs as ours."""

import contextlib
import inspect
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from workload import GuidancePass, Scene


def build(config: dict, weights: dict[str, Tensor]) -> nn.Module:
    """The vendor's model around our tensors: nothing is copied."""
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator as configurator

    with torch.device("meta"):
        model = configurator.from_config(config) if _is_older() else configurator.from_metadata({"config": config})
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _is_older() -> bool:
    """Whether this is 1.0."""
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator

    return not hasattr(LTXModelConfigurator, "from_metadata")


def in_pytorch(config: dict, weights: dict[str, Tensor]) -> nn.Module:
    """`build`, with PyTorch's attention also where 1.2 finds a FlashAttention package, which computes no float32."""
    model = build(config, weights)
    if not _is_older():
        import vendor_source

        vendor_source.attend_by(model, _attention)
    return model


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's, of and as (B, T, H, D)."""
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def run(model: nn.Module, scene: Scene) -> list[tuple[Tensor, Tensor]]:
    """Velocities of every pass, one forward each, as the vendor does."""
    return prepared(scene)(model)


def prepared(scene: Scene) -> Callable[[nn.Module], list[tuple[Tensor, Tensor]]]:
    """`run` of this scene, with all that does not change from step to step made once."""
    from ltx_core.model.transformer.modality import Modality

    device = scene.video.device
    video_positions, audio_positions = scene.positions()
    inputs = []
    for guidance_pass in scene.passes():
        audio_times = torch.ones(1, scene.audio.shape[1], device=device) * scene.sigma
        video = Modality(
            enabled=True, latent=scene.video, sigma=scene.sigma, timesteps=scene.mask * scene.sigma,
            positions=video_positions, context=guidance_pass.video_context, context_mask=None,
        )  # fmt: skip
        audio = Modality(
            enabled=True, latent=scene.audio, sigma=scene.sigma, timesteps=audio_times,
            positions=audio_positions, context=guidance_pass.audio_context, context_mask=None,
        )  # fmt: skip
        inputs.append((video, audio, guidance_pass))

    def call(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
        return [
            model(video=video, audio=audio, perturbations=config)
            for (video, audio, _), config in zip(inputs, configs(len(model.transformer_blocks)), strict=True)
        ]

    @cache
    def configs(blocks: int) -> list:
        return [_perturbations(guidance_pass, blocks, scene.video) for _, _, guidance_pass in inputs]

    return call


def _perturbations(guidance_pass: GuidancePass, blocks: int, like: Tensor):
    from ltx_core.guidance import perturbations as p

    kind, perturbations = p.PerturbationType, []
    if guidance_pass.perturbed_video_blocks:
        own = sorted(guidance_pass.perturbed_video_blocks)
        perturbations = [
            p.Perturbation(kind.SKIP_VIDEO_SELF_ATTN, own),
            p.Perturbation(kind.SKIP_AUDIO_SELF_ATTN, own),
        ]
    if guidance_pass.isolated:
        perturbations = [
            p.Perturbation(kind.SKIP_A2V_CROSS_ATTN, None),
            p.Perturbation(kind.SKIP_V2A_CROSS_ATTN, None),
        ]
    made = [p.PerturbationConfig(perturbations)]
    if "num_blocks" in inspect.signature(p.BatchedPerturbationConfig).parameters:  # 1.2
        return p.BatchedPerturbationConfig(made, blocks, like.device, like.dtype)
    return p.BatchedPerturbationConfig(made)


@contextlib.contextmanager
def float32_compute():
    """Inside, linear layers and norms compute in their input's dtype whatever dtype their weights are stored in."""
    linear, norm = nn.Linear.forward, nn.RMSNorm.forward

    def wide_linear(self, x):
        return F.linear(x, self.weight.to(x), None if self.bias is None else self.bias.to(x))

    def wide_norm(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x), self.eps)

    nn.Linear.forward, nn.RMSNorm.forward = wide_linear, wide_norm
    try:
        yield
    finally:
        nn.Linear.forward, nn.RMSNorm.forward = linear, norm
