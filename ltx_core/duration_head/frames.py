"""Seconds that a prompt asks for -> the frame count of a film."""

import logging
import math

import torch
from torch import Tensor

from ..errors import GeometryError, LTXError, NotFiniteError
from ..sampling.geometry import TEMPORAL_FACTOR, check_fps
from .model import DurationHead

log = logging.getLogger("ltx_duo")

# The vendor's limits of a predicted film.
SHORTEST, LONGEST = 1.0, 20.0


@torch.no_grad()
def predicted_frames(
    head: DurationHead,
    video: Tensor | None,
    audio: Tensor | None,
    fps: float,
    shortest: float = SHORTEST,
    longest: float = LONGEST,
) -> int:
    """The frame count (8n+1) of the film that one prompt's contexts (1, S, D) ask for, see `frames_of_seconds`."""
    seconds = head(video, audio)
    if seconds.numel() != 1:
        raise LTXError(
            f"The duration of {seconds.numel()} prompts was asked for at once, and one film has one length; ask for "
            "one prompt at a time."
        )
    return frames_of_seconds(seconds.item(), fps, shortest, longest)


def frames_of_seconds(seconds: float, fps: float, shortest: float = SHORTEST, longest: float = LONGEST) -> int:
    """The frame count (8n+1) of a film of about `seconds`, which is kept from `shortest` to `longest`.

    Frames are rounded, kept within the limits, and only then cut to 8n+1, or lengthened to it where the cut would fall
    below the shortest film; limits that hold no such count give the nearest.  Warns where a limit was met or missed.
    """
    check_fps(fps)
    if not 0 < shortest <= longest < math.inf:
        raise GeometryError(
            f"The limits of a film's length are {shortest:g} to {longest:g} s, expected two lengths above 0, the "
            "shorter first."
        )
    if not math.isfinite(seconds):
        raise NotFiniteError(
            f"The duration head predicts {seconds} seconds.",
            "Likely causes: text contexts that are not finite themselves, or of another model, or damaged weights.",
        )
    least, most = max(1, round(shortest * fps)), round(longest * fps)
    wanted = max(least, min(round(seconds * fps), most))
    frames = (wanted - 1) // TEMPORAL_FACTOR * TEMPORAL_FACTOR + 1
    longer = frames + TEMPORAL_FACTOR
    if frames < least and (longer <= most or longer - wanted < wanted - frames):
        frames = longer
    if not least <= frames <= most:
        log.warning(
            "No film of 8n+1 frames lasts from %g to %g s at %g fps: it gets %d frames (%.2f s).",
            shortest, longest, fps, frames, frames / fps,
        )  # fmt: skip
    elif not shortest <= seconds <= longest:
        log.warning(
            "The prompt asks for %.2f s, outside of %g to %g s: the film gets %d frames (%.2f s).",
            seconds, shortest, longest, frames, frames / fps,
        )  # fmt: skip
    return frames
