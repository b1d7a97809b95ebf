"""The motion of a clip, from where the shape is, how large and how turned."""

from torch import Tensor
from torch.nn.functional import avg_pool1d

GROWN = 1.6  # area at the end to area at the beginning; a growing shape reaches 2.8
TRAVELLED = 0.15  # of the picture; a moving shape travels 0.4
STRAIGHT = 0.5  # the most it may stray, for each part of its way
BACK = 0.04  # of the picture: a bouncing shape rises at least by 0.11
TURNING = 2.0  # degrees a frame; a rotating shape turns 5


def motion_of(centres: Tensor, areas: Tensor, turn: float) -> str | None:
    """One of the world's motions; None for something between them.  centres (F, 2), areas (F,), turn in degrees."""
    if bounces_of(centres[:, 1]):
        return "bouncing"
    third = max(1, len(areas) // 11)
    if areas[-third:].mean() > GROWN * areas[:third].mean():
        return "growing"
    right, down = (centres[-third:].mean(dim=0) - centres[:third].mean(dim=0)).tolist()
    if max(abs(right), abs(down)) > TRAVELLED:
        if min(abs(right), abs(down)) > STRAIGHT * max(abs(right), abs(down)):
            return None
        if abs(right) > abs(down):
            return "right" if right > 0 else "left"
        return "down" if down > 0 else "up"
    return "rotating" if abs(turn) > TURNING else "still"


def bounces_of(heights: Tensor) -> list[int]:
    """Frames in which a fall turns into a rise: lowest points with BACK above them on both sides.

    heights (F,): y downwards, in 0..1.  A lowest point in the last frames counts if the shape already rises.
    """
    smooth = avg_pool1d(heights[None, None], 3, 1, 1, count_include_pad=False)[0, 0].tolist()
    found = []
    highest = lowest = 0  # frames: since the last bounce, since the highest point
    for frame, height in enumerate(smooth):
        if height > smooth[lowest]:
            lowest = frame
        if height < smooth[highest] and lowest <= highest:
            highest = lowest = frame
        if smooth[lowest] - smooth[highest] > BACK and smooth[lowest] - height > BACK:
            found.append(lowest)
            highest = lowest = frame
    return found
