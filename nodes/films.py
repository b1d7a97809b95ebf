"""A film as the nodes pass it on: out of ComfyUI's VIDEO, into a chain of conditions, and what is said of it."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from ..ltx_core.errors import ConditioningError
from ..ltx_core.sampling.conditions import GivenFilm, GivenSound
from ..ltx_core.sampling.geometry import SPATIAL_FACTOR
from .given import NOTHING, Given
from .sounds import sound_of

ONE_FILM = "One film can be given: take one of the nodes that give a film out of the chain."
STEP = 2 * SPATIAL_FACTOR  # of the final width and height
_LONGER = 0.25  # seconds by which sound and picture of a film may differ without a word


def film_of(video: object) -> tuple[Tensor, float, GivenSound | None]:
    """Frames (F, H, W, 3) float32 in 0..1 on the CPU, their rate and the sound of a VIDEO; ConditioningError for
    anything else."""
    if not hasattr(video, "get_components"):
        raise ConditioningError(
            f"The video input holds a {type(video).__name__}; expected VIDEO, such as Load Video or Create Video gives."
        )
    components = video.get_components()
    frames = components.images
    if frames.ndim != 4 or not len(frames) or frames.shape[-1] not in (3, 4):
        raise ConditioningError(f"The video holds frames of shape {tuple(frames.shape)}; expected pictures in colour.")
    has_sound = components.audio is not None and components.audio["waveform"].shape[-1] > 0
    sound = sound_of(components.audio, 0.0) if has_sound else None
    return frames[..., :3].float().cpu(), float(components.frame_rate), sound


def mask_of(mask: object, frames: Tensor) -> Tensor:
    """A MASK, (1 or F, H, W), of the size of the film's frames (F, H, W, 3), which it is scaled to; ConditioningError
    for a mask of another length, an empty one, and anything else."""
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        shape = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ConditioningError(f"The mask is {shape}; expected MASK, (1 or {len(frames)}, height, width).")
    mask = (mask if mask.ndim == 3 else mask[None]).float().cpu()
    if len(mask) not in (1, len(frames)):
        raise ConditioningError(
            f"The mask has {len(mask)} frames, the film {len(frames)}. Give one mask for the whole film, or one for "
            "each frame."
        )
    size = tuple(frames.shape[1:3])
    if tuple(mask.shape[1:]) == size:
        return mask
    return F.interpolate(mask[:, None], size, mode="nearest-exact")[:, 0]


def add_film(conditions: Given | None, film: GivenFilm, vae: object | None = None) -> Given:
    """A new chain with a film; ConditioningError where the chain has one already."""
    given = conditions or NOTHING
    if given.film is not None:
        raise ConditioningError(f"The chain of conditions has a film already. {ONE_FILM}")
    return replace(given, film=film, sound_vae=given.sound_vae or vae)


def final_size(film: GivenFilm) -> tuple[int, int]:
    """Width and height of the film to be made, whole steps of 64 pixels that need no scaling; ConditioningError for a
    film that is smaller."""
    height, width = film.frames.shape[1:3]
    if min(height, width) < STEP:
        raise ConditioningError(
            f"The film is {width}x{height} pixels; expected at least {STEP} on each side. Enlarge it first."
        )
    return width // STEP * STEP, height // STEP * STEP


def cropped(film: GivenFilm) -> GivenFilm:
    """The film at its final size: its edges are cropped, its pixels stay what they are.  One whose picture is kept
    stays as it is."""
    if not film.new_picture:
        return film
    (height, width), (right, bottom) = film.frames.shape[1:3], final_size(film)
    top, left = (height - bottom) // 2, (width - right) // 2
    rows, columns = slice(top, top + bottom), slice(left, left + right)
    mask = None if film.mask is None else film.mask[:, rows, columns]
    return replace(film, frames=film.frames[:, rows, columns], mask=mask)


def remarks(film: GivenFilm) -> Iterator[str]:
    """What becomes of the film that its user may not expect."""
    height, width = film.frames.shape[1:3]
    fitted = final_size(film)
    if film.new_picture and fitted != (width, height):
        yield (
            f"The film is {width}x{height}; width and height give {fitted[0]}x{fitted[1]}, whole steps of {STEP}: "
            f"{width - fitted[0]} columns and {height - fitted[1]} rows at its edges are cropped."
        )
    lost = len(film.frames) - film.lead - film.used
    if lost > 0:
        yield f"The last {lost} frames give way to new ones: what is added begins after whole steps of 8 frames."
    if film.sound is None and film.new_picture and film.new_sound:
        yield "The film has no sound: one is made for all of it."
    seconds = len(film.frames) / film.fps
    if film.sound is not None and not film.after and abs(film.sound.seconds - seconds) > _LONGER:
        yield (
            f"The film's picture lasts {seconds:.2f} s at {film.fps:g} frames a second, its sound "
            f"{film.sound.seconds:.2f} s: if its frame rate varies, both drift apart. Convert it to a fixed rate."
        )
