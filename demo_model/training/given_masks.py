"""What of a clip is given and what is made anew, drawn by lot as people ask for it.

A cell of the picture or the sound is made anew where a pixel or a moment of it is, by the rule of `GivenFilm`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .flow import draw_first_frames
from .latents import geometry

# What is asked for: an image or nothing given; the sound given; the film given; a window in time; a box in the picture.
IMAGE, SOUND, FILM, WINDOW, BOX = range(5)
SHARES = (0.44, 0.2, 0.08, 0.16, 0.12)
OTHERS = {WINDOW: (0.45, 0.35, 0.1, 0.1), BOX: (0.15, 0.25, 0.35, 0.25)}  # of the family's groups: what is kept
PICTURE_ONLY, SOUND_ONLY = 0.25, 0.15  # of the windows
PADDING = 0.15  # the most that a box is larger than what it holds, on each side


@dataclass(frozen=True)
class Masks:
    """True where a token is made anew: video (B, T), audio (B, T'); low (B,): the noise of the others of the video, as
    a share of the noise level; other (B,): group ^ other is the one that is kept."""

    video: Tensor
    audio: Tensor
    low: Tensor
    other: Tensor


def draw_tasks(count: int, generator: torch.Generator) -> Tensor:
    """(count,) tasks by their shares, stratified."""
    device = generator.device
    even = (torch.arange(count, device=device) + torch.rand(count, generator=generator, device=device)) / count
    order = torch.rand(count, generator=generator, device=device).argsort()
    edges = torch.tensor(SHARES, device=device).cumsum(0)[:-1]
    return torch.bucketize(even[order], edges)


def draw_masks(tasks: Tensor, boxes: Tensor, size: int, generator: torch.Generator) -> Masks:
    """For tasks (B,) at a size; boxes (B, 4, 4): for each `other` what both shapes cover, see `Families.paths`."""
    device, place = generator.device, geometry(size)
    count, tokens, sounds = len(tasks), place.video_tokens, place.audio_frames
    lots = torch.rand(5, count, generator=generator, device=device)
    low = draw_first_frames(torch.ones(count, device=device), generator)[:, 0]
    other = torch.zeros_like(tasks)
    for task, shares in OTHERS.items():
        drawn = torch.bucketize(lots[0], torch.tensor(shares, device=device).cumsum(0)[:-1])
        other = torch.where(tasks == task, drawn, other)
    windows = draw_windows(count, generator)
    inside = in_windows(windows, size)
    around = boxes[torch.arange(count, device=device), other]
    anywhere = draw_boxes(count, generator)
    padding = PADDING * torch.rand(count, 4, generator=generator, device=device)
    padded = around + padding * torch.tensor([-1, -1, 1, 1], device=device)
    cells = in_boxes(torch.where((other == 0)[:, None], anywhere, padded), size)
    briefly = (lots[1] < 0.25)[:, None]

    first = torch.arange(tokens, device=device) < place.frame_tokens
    image = ~(first & (low < 1)[:, None])
    full, full_sound = torch.ones_like(image), torch.ones(count, sounds, dtype=torch.bool, device=device)
    window_video = inside[0] & ~((lots[2] > 1 - SOUND_ONLY)[:, None])
    window_audio = inside[1] & ~((lots[2] < PICTURE_ONLY)[:, None])
    box_video = cells & (inside[0] | ~briefly)
    box_audio = (inside[1] | ~briefly) & (lots[3] < 0.5)[:, None]
    video = _chosen(tasks, (image, image, ~full, window_video, box_video))
    audio = _chosen(tasks, (full_sound, ~full_sound, full_sound, window_audio, box_audio))
    return Masks(video, audio, torch.where(tasks <= SOUND, low, 0.0), other)


def _chosen(tasks: Tensor, masks: tuple[Tensor, ...]) -> Tensor:
    """Each row of its task's."""
    return torch.stack(masks)[tasks, torch.arange(len(tasks), device=tasks.device)]


def draw_windows(count: int, generator: torch.Generator) -> Tensor:
    """(count, 2) seconds: a quarter at the beginning, a quarter at the end, the others between."""
    kind, start, length = torch.rand(3, count, generator=generator, device=generator.device)
    begins = torch.where(kind < 0.25, -1.0, 0.1 + start * (1.1 - 0.2 * (kind > 0.5)))
    ends = torch.where(kind < 0.25, 0.1 + start, begins + 0.1 + 0.6 * length)
    return torch.stack((begins, torch.where((kind >= 0.25) & (kind < 0.5), torch.inf, ends)), dim=1)


def in_windows(windows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Tokens of picture (B, T) and sound (B, T') of which any moment lies in windows (B, 2)."""
    place = geometry(size)
    picture = place.video_positions(windows.device)[0, 0]
    return tuple(_overlap(bounds, windows) for bounds in (picture, place.audio_positions(windows.device)[0, 0]))


def draw_boxes(count: int, generator: torch.Generator) -> Tensor:
    """(count, 4): left, top, right, bottom, anywhere in the picture."""
    corner, extent = torch.rand(2, count, 2, generator=generator, device=generator.device)
    extent = 0.2 + 0.4 * extent
    corner = corner * (1 - extent)
    return torch.cat((corner, corner + extent), dim=1)


def in_boxes(boxes: Tensor, size: int) -> Tensor:
    """Tokens (B, T) of the picture of which any pixel lies in boxes (B, 4), in 0..1."""
    places = geometry(size).video_positions(boxes.device)[0] / size  # of the latent's cells, in pixels
    return _overlap(places[1], boxes[:, 1::2]) & _overlap(places[2], boxes[:, ::2])


def _overlap(bounds: Tensor, spans: Tensor) -> Tensor:
    """(B, N): of bounds (N, 2), which lie partly in spans (B, 2)."""
    return (bounds[:, 1] > spans[:, :1]) & (bounds[:, 0] < spans[:, 1:])
