"""Picture latents to frames, by either of LTX's video decoders, in one piece or in tiles that fit."""

from collections.abc import Callable
from functools import partial

import comfy.model_management as mm
import torch
from torch import Tensor

from ...ltx_core import two_stage
from ...ltx_core.execution import memory_estimates
from ...ltx_core.execution.diffusion_estimate import diffusion_decoder
from ...ltx_core.execution.precompile import compile_video_decoder
from ...ltx_core.sampling.geometry import geometry_of_latent
from ...ltx_core.video_vae.diffusion_tiling import DIFFUSION_TILING, decode_by_diffusion
from ...ltx_core.video_vae.tiling import Tiling, largest_tile
from . import compat, stage_info
from .checks import custom_tiling
from .core_vae import VideoVAE
from .memory import PatchedModule, check_finite
from .progress import PhaseReporter
from .report import NodeReport
from .tiles import MODEST, automatic, first_that_fits

# The vendor's tiles, then smaller ones with its overlaps, which are as wide as its blocks see; with less only at last.
DIFFUSION_TILINGS = (DIFFUSION_TILING, Tiling(512, 160, 80, 40), Tiling(320, 160, 80, 40), Tiling(256, 96, 32, 16))
# For latents without a record of the stages' random numbers.
SEED = 0
NO_RECORD = (
    "The latent does not tell where the stages' random numbers stopped, or they were another kind of device's: the "
    "diffusion decoder draws its noise from seed 0."
)

Need = Callable[[Tiling | None], float]


def decode_picture(
    vae: VideoVAE,
    video: Tensor,
    info: stage_info.StageInfo | None,
    tiling: str,
    tile: tuple[int, int, int, int],
    reporter: PhaseReporter,
    report: NodeReport,
) -> Tensor:
    """Frames (F, H, W, 3) of a picture latent (1, 128, F', H', W').

    `tiling` and `tile` as the decode node has them.  `info`: where the stages' random numbers stopped, from which a
    diffusion decoder goes on.
    """
    component = vae.video_decoder()
    size = geometry_of_latent(video, 1.0)
    if vae.by_diffusion:
        ways, need = (None, *DIFFUSION_TILINGS), partial(_need_of_diffusion, component, video)
        # Overlaps are decoded twice: smaller tiles than the vendor's cost much more than the models that have to go.
        modest = need(DIFFUSION_TILING)
        generator, told = _generator(info, component.device)
        report.warn(told)
        decode = partial(_by_diffusion, component, video, generator, reporter)
        if tiling == "custom":
            report.warn(_narrow(custom_tiling(*tile)))
    else:
        ways, need = automatic(size.frames, size.height, size.width), partial(_need, component, video)
        modest = MODEST
        decode = partial(_by_convolutions, component, video, reporter)
        if component.device.type == "cuda":
            compile_video_decoder(component.module.params, component.compute_dtype, component.device)
    if tiling != "auto":
        ways = (None if tiling == "off" else custom_tiling(*tile),)
    advice = "Set its tiling to auto. " if len(ways) == 1 else ""
    images = first_that_fits(component, ways, need, decode, "decoding the video", advice, modest)
    check_finite(images, "decoded video", component)
    return images.to(device=mm.intermediate_device(), dtype=compat.intermediate_dtype())


def _by_convolutions(component: PatchedModule, video: Tensor, reporter: PhaseReporter, way: Tiling | None) -> Tensor:
    latent = video.to(component.device, component.compute_dtype)
    return two_stage.decode_video(component.module, latent, way, reporter)


def _by_diffusion(
    component: PatchedModule,
    video: Tensor,
    generator: torch.Generator,
    reporter: PhaseReporter,
    way: Tiling | None,
) -> Tensor:
    latent = video.to(component.device, component.compute_dtype)
    own = torch.Generator(generator.device)  # a way that did not fit has drawn, too
    own.set_state(generator.get_state())
    return decode_by_diffusion(component.module, latent, own, way, reporter)


def _narrow(tiling: Tiling) -> str | None:
    """What is to be said of overlaps that are narrower than what the decoder sees."""
    wide = DIFFUSION_TILING
    if tiling.spatial_overlap >= wide.spatial_overlap and tiling.temporal_overlap >= wide.temporal_overlap:
        return None
    return (
        f"The diffusion decoder sees {wide.spatial_overlap} pixels and {wide.temporal_overlap} frames around: with "
        f"tile_overlap {tiling.spatial_overlap} and tile_frame_overlap {tiling.temporal_overlap} borders of tiles may "
        f"show. Set them to {wide.spatial_overlap} and {wide.temporal_overlap}, or tiling to auto."
    )


def _generator(info: stage_info.StageInfo | None, device: torch.device) -> tuple[torch.Generator, str | None]:
    """What noise is drawn from, and what is to be said of it."""
    if info is not None and info.generator_device in ("cpu", device.type):
        where = device if info.generator_device == device.type else "cpu"
        generator = torch.Generator(where)
        stage_info.continue_noise(generator, info)
        return generator, None
    return torch.Generator("cpu").manual_seed(SEED), NO_RECORD


def _need(component: PatchedModule, video: Tensor, way: Tiling | None) -> float:
    params, itemsize = component.module.params, component.compute_dtype.itemsize
    size = geometry_of_latent(video, 1.0)
    whole = size.frames, size.height, size.width
    if way is None:
        return memory_estimates.video_decoder(params, *whole, itemsize)
    return memory_estimates.tiled_decoder(params, whole, largest_tile(video.shape, way), itemsize)


def _need_of_diffusion(component: PatchedModule, video: Tensor, way: Tiling | None) -> float:
    size = geometry_of_latent(video, 1.0)
    itemsize = component.compute_dtype.itemsize
    return diffusion_decoder(component.module.params, size.frames, size.height, size.width, way, itemsize)
