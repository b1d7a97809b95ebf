"""The vendor's sampling code (v1.0, the newest on a package index) and its image conditioning, for both test files."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core.sampling.conditions import Keyframe, shown_at


@pytest.fixture(scope="session")
def vendor():
    """The vendor's modules by short names."""
    return SimpleNamespace(
        **{
            name.rsplit(".", 1)[-1]: importlib.import_module(name)
            for name in (
                "ltx_core.types",
                "ltx_core.tools",
                "ltx_core.components.schedulers",
                "ltx_core.components.noisers",
                "ltx_core.components.guiders",
                "ltx_core.components.diffusion_steps",
                "ltx_core.components.patchifiers",
                "ltx_core.conditioning",
                "ltx_core.guidance.perturbations",
                "ltx_core.model.transformer",
                "ltx_pipelines.retake",
                "ltx_pipelines.utils.constants",
                "ltx_pipelines.utils.helpers",
                "ltx_pipelines.utils.media_io",
                "ltx_pipelines.utils.samplers",
            )
        }
    )


@pytest.fixture
def image_items(vendor, rng):
    """Makes the same images, encoded for `geometry`, as the vendor's conditioning items and as ours."""

    def make(geometry, dtype, strengths=(1.0, 1.0), frames=(0, 8)):
        shape = (1, 128, 1, geometry.latent_height, geometry.latent_width)
        ours = [
            shown_at(torch.randn(shape, generator=rng).to(dtype), frame, strength)
            for frame, strength in zip(frames, strengths, strict=True)
        ]
        by_index = vendor.conditioning.VideoConditionByLatentIndex
        by_frame = vendor.conditioning.VideoConditionByKeyframeIndex
        theirs = [
            by_index(latent=i.latent, strength=i.strength, latent_idx=0)
            if not isinstance(i, Keyframe)
            else by_frame(keyframes=i.latent, frame_idx=i.frame, strength=i.strength)
            for i in ours
        ]
        return theirs, ours

    return make


@pytest.fixture
def float32_guider(vendor):
    """Makes the vendor's v1.0 guider with the casts that v1.2 put around its sums; in float32 it is v1.0's own."""

    class Guider(vendor.guiders.MultiModalGuider):
        def calculate(self, cond, *others):
            others = [x.float() if isinstance(x, torch.Tensor) else x for x in others]
            return super().calculate(cond.float(), *others).to(cond.dtype)

    def make(scales, skip_step=0, stg_blocks=(), negative=None):
        params = vendor.guiders.MultiModalGuiderParams(
            cfg_scale=scales.cfg,
            stg_scale=scales.stg,
            rescale_scale=scales.rescale,
            modality_scale=scales.modality,
            skip_step=skip_step,
            stg_blocks=sorted(stg_blocks),
        )
        return Guider(params=params, negative_context=negative)

    return make
