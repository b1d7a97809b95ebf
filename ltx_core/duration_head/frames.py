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
    frames, remark = frames_and_remark(seconds, fps, shortest, longest)
    if remark is not None:
        log.warning("%s", remark)
    return frames


def check_limits(shortest: float, longest: float) -> None:
    """GeometryError unless both are lengths in seconds, the shorter first."""
    if not 0 < shortest <= longest < math.inf:
        raise GeometryError(
            f"The limits of a film's length are {shortest:g} to {longest:g} s, expected two lengths above 0, the "
            "shorter first."
        )


def frames_and_remark(seconds: float, fps: float, shortest: float, longest: float) -> tuple[int, str | None]:
    """As `frames_of_seconds`, with what is to be said where a limit was met or missed."""
    check_fps(fps)
    check_limits(shortest, longest)
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
    remark = None
    if not least <= frames <= most:
        remark = (
            f"No film of 8n+1 frames lasts from {shortest:g} to {longest:g} s at {fps:g} fps: it gets {frames} frames "
            f"({frames / fps:.2f} s)."
        )
    elif not shortest <= seconds <= longest:
        remark = (
            f"The prompt asks for {seconds:.2f} s, outside of {shortest:g} to {longest:g} s: the film gets {frames} "
            f"frames ({frames / fps:.2f} s)."
        )
    return frames, remark
