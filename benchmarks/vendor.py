"""The vendor's transformer (PyPI ltx-core 1.0.0) on the same weights and inputs as ours."""

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from workload import Scene


def build(config: dict, weights: dict[str, Tensor]) -> nn.Module:
    """The vendor's model around our tensors: nothing is copied."""
    from ltx_core.model.transformer.model_configurator import LTXModelConfigurator

    with torch.device("meta"):
        model = LTXModelConfigurator.from_config(config)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def run(model: nn.Module, scene: Scene) -> list[tuple[Tensor, Tensor]]:
    """Velocities of every pass, one forward each, as the vendor 1.0 does."""
    from ltx_core.guidance import perturbations as p
    from ltx_core.model.transformer.modality import Modality

    kind = p.PerturbationType
    device = scene.video.device
    video_positions, audio_positions = scene.positions()
    results = []
    for guidance_pass in scene.passes():
        perturbations = []
        if guidance_pass.perturbed_video_blocks:
            blocks = sorted(guidance_pass.perturbed_video_blocks)
            perturbations = [
                p.Perturbation(kind.SKIP_VIDEO_SELF_ATTN, blocks),
                p.Perturbation(kind.SKIP_AUDIO_SELF_ATTN, blocks),
            ]
        if guidance_pass.isolated:
            perturbations = [
                p.Perturbation(kind.SKIP_A2V_CROSS_ATTN, None),
                p.Perturbation(kind.SKIP_V2A_CROSS_ATTN, None),
            ]
        audio_times = torch.ones(1, scene.audio.shape[1], device=device) * scene.sigma
        video = Modality(
            enabled=True, latent=scene.video, sigma=scene.sigma, timesteps=scene.mask * scene.sigma,
            positions=video_positions, context=guidance_pass.video_context, context_mask=None,
        )  # fmt: skip
        audio = Modality(
            enabled=True, latent=scene.audio, sigma=scene.sigma, timesteps=audio_times,
            positions=audio_positions, context=guidance_pass.audio_context, context_mask=None,
        )  # fmt: skip
        config = p.BatchedPerturbationConfig([p.PerturbationConfig(perturbations)])
        results.append(model(video=video, audio=audio, perturbations=config))
    return results


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
