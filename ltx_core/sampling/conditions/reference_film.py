"""A reference film as it is given, and encoded as the reference that a stage takes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import ConditioningError, GeometryError
from ...progress import SILENT, Reporter
from ...video_vae.encoder import VideoEncoder
from ...video_vae.encoding_tiles import encode_tiled
from ...video_vae.params import PIXEL_CHANNELS
from ...video_vae.tiling import Tiling
from ..geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR, LatentGeometry
from .condition import checked_strength
from .fitting import resize_and_crop
from .reference import Reference


@dataclass(frozen=True, eq=False)
class GivenReference:
    """A film that an IC-LoRA reads beside the one that is made: (F, H, W, 3) float 0..1 on the CPU.

    Its frames stand at the frames of the same number, whatever its rate; what is longer than the film is not read.
    strength: how firmly it is kept, 0 to 1.  attention_strength: how strongly film and reference look at each other, 0
    to 1; mask: (F or 1, H, W) float 0..1 of any size, multiplied with it by places.  stage_two: whether stage two reads
    it too, at its own size; the vendor's pipeline refines without it.  ConditioningError for what is none of this.
    """

    frames: Tensor
    strength: float = 1.0
    attention_strength: float = 1.0
    mask: Tensor | None = None
    stage_two: bool = False

    def __post_init__(self):
        shape = tuple(self.frames.shape)
        if len(shape) != 4 or shape[-1] != 3 or 0 in shape or not self.frames.is_floating_point():
            raise ConditioningError(
                f"The reference is {self.frames.dtype} of shape {shape}, expected (frames, height, width, 3) RGB of "
                "floats in 0..1: give a film's frames."
            )
        checked_strength(self.strength, "reference")
        checked_strength(self.attention_strength, "reference's attention")
        mask = self.mask
        if mask is None:
            return
        if mask.ndim != 3 or 0 in mask.shape or len(mask) not in (1, shape[0]):
            raise ConditioningError(
                f"The reference's attention mask has shape {tuple(mask.shape)}, expected (1 or {shape[0]}, height, "
                "width): give one mask for all frames, or one for each."
            )
        if not (mask.min() >= 0 and mask.max() <= 1):  # NaN fails too
            raise ConditioningError("The reference's attention mask leaves 0 to 1: give one whose values lie between.")

    @property
    def weighted(self) -> bool:
        """Whether it is looked at less than fully anywhere."""
        return self.attention_strength < 1 or (self.mask is not None and bool((self.mask < 1).any()))

    def shown(self, frames: int, temporal_factor: int = 1) -> list[int]:
        """Its frames that a film of `frames` reads, 8n+1 of them: the first one, then every `temporal_factor`th."""
        seen = [0, *range(1, min(frames, len(self.frames)), temporal_factor)]
        return seen[: (len(seen) - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1]


def reference_size(geometry: LatentGeometry, downscale_factor: int) -> tuple[int, int]:
    """Width and height of a reference for a stage; GeometryError where the factor does not divide the stage's size into
    whole cells."""
    step = SPATIAL_FACTOR * downscale_factor
    for name, side in (("width", geometry.width), ("height", geometry.height)):
        if side % step:
            below = max(side // step * step, step)
            raise GeometryError(
                f"The IC-LoRA reads a reference of 1/{downscale_factor} of the size, and the stage's {name} of {side} "
                f"pixels divided by {downscale_factor} is no multiple of {SPATIAL_FACTOR}: choose a size at which the "
                f"stage's {name} is a multiple of {step}, such as {below} or {below + step}."
            )
    return geometry.width // downscale_factor, geometry.height // downscale_factor


@torch.no_grad()
def encode_reference(
    encoder: VideoEncoder,
    given: GivenReference,
    geometry: LatentGeometry,
    *,
    downscale_factor: int = 1,
    temporal_factor: int = 1,
    dtype: torch.dtype,
    device: torch.device | str | None = None,
    tiling: Tiling | None = None,
    reporter: Reporter = SILENT,
) -> Reference:
    """Fits the reference to a stage's size over `downscale_factor`, as images are, and encodes it there, whole without
    `tiling`; the factors are the IC-LoRA's.  Every stage that reads it encodes its own.

    The vendor's append_ic_lora_reference_video_conditionings: frames are not compressed first.
    """
    width, height = reference_size(geometry, downscale_factor)
    shown = given.shown(geometry.frames, temporal_factor)
    pixels = torch.empty(1, PIXEL_CHANNELS, len(shown), height, width, dtype=dtype)
    for number, frame in enumerate(shown):
        reporter.check_cancel()
        pixels[:, :, number] = resize_and_crop(given.frames[frame], width, height, reporter)[:, :, 0]
    latent = encode_tiled(encoder, pixels, tiling, device, reporter)
    mask = None
    if given.mask is not None:
        mask = _cells(given.mask, geometry, latent.shape[2:], temporal_factor, reporter).to(latent.device)
    return Reference(latent, downscale_factor, temporal_factor, given.strength, given.attention_strength, mask)


def _cells(
    mask: Tensor, geometry: LatentGeometry, cells: torch.Size, temporal_factor: int, reporter: Reporter
) -> Tensor:
    """The mean of a mask (F or 1, H, W) over each of a latent's `cells` (F', H', W'): (1, F', H', W').

    Fitted to the stage's size first, as the reference is; its first frame belongs to the first cell alone.
    """
    count, sides = cells[0], cells[1:]
    used = mask[: (count - 1) * TEMPORAL_FACTOR * temporal_factor + 1]
    small = []
    for own in used:
        reporter.check_cancel()
        picture = own[..., None].expand(-1, -1, PIXEL_CHANNELS).float()
        fitted = (resize_and_crop(picture, geometry.width, geometry.height)[0, :1] + 1) / 2
        small.append(F.interpolate(fitted, size=sides, mode="area")[0, 0])
    first, rest = small[0][None], torch.stack(small[1:] or small)
    if len(used) == 1:
        return first.expand(cells)[None].clamp(0, 1)
    by_cell = [part.mean(dim=0, keepdim=True) for part in rest.split(TEMPORAL_FACTOR * temporal_factor)]
    return torch.cat((first, *by_cell))[None].clamp(0, 1)
