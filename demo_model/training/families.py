"""Clips of one family differ in shape and colour alone: what is kept of one and what is made anew may be of two.

A family has four groups, (shape, colour) of two each; clip n of every group lies and moves alike.  The groups of a
family are neighbours, so that `group ^ 1` has the other colour, `group ^ 2` the other shape, `group ^ 3` both.
"""

import functools
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..world import Scene, caption, draw_scene
from ..world.motion import track
from ..world.palette import COLOURS
from ..world.scenes import FPS, FRAMES, SHAPES, floor
from . import audio_vae, video_vae
from .latents import alike, encode_sounds, encode_videos
from .pools import UNCONDITIONAL, stage_sizes
from .run import Run
from .text_features import TextPool

PIECE = "families"
# What a caption tells; columns of the captions' numbers: the first four are whole captions, then one of each kind.
WHOLE, NO_SHAPE, NO_MOTION, NEITHER = range(4)
_TELLING = {NO_SHAPE: (False, True), NO_MOTION: (True, False), NEITHER: (False, False)}
WHOLE_CAPTIONS = 4


@dataclass(frozen=True)
class Counts:
    """Families, and clips of a group at both sizes."""

    families: int
    clips: tuple[int, int]


FULL, SMALL = Counts(224, (16, 8)), Counts(3, (4, 4))


def relatives(scene: Scene, generator: random.Random) -> tuple[Scene, Scene]:
    """The scene in another colour, and with another shape of about the same place."""
    colour = generator.choice([name for name in COLOURS if name != scene.colour])
    # Only a smaller shape surely stays inside the picture.
    shapes = [name for name in SHAPES if name != scene.shape and SHAPES[name].reach <= SHAPES[scene.shape].reach]
    shape = generator.choice([name for name in shapes if (name, scene.motion) != ("circle", "rotating")])
    return replace(scene, colour=colour), reshaped(scene, shape)


def reshaped(scene: Scene, shape: str) -> Scene:
    """The scene with another shape; a bouncing one falls as deep as before."""
    other = replace(scene, shape=shape)
    return replace(other, y=scene.y + floor(other) - floor(scene)) if scene.motion == "bouncing" else other


def draw_with_relatives(generator: random.Random) -> Scene:
    """A scene that has relatives: not the smallest shape of those that move so."""
    while True:
        scene = draw_scene(generator)
        if scene.shape != "circle" and (scene.motion, scene.shape) != ("rotating", "square"):
            return scene


def families(run: Run, count: int, clips: int) -> list[list[Scene]]:
    """4 * `count` groups of `clips` scenes."""
    # Two of them: however many clips there are, the captions stay the same.
    generator, places = random.Random(f"{run.seed}/{PIECE}"), random.Random(f"{run.seed}/{PIECE}/places")
    groups = []
    for _ in range(count):
        first = draw_with_relatives(generator)
        recoloured, other = relatives(first, generator)
        scenes = [first, *(alike(first, places) for _ in range(clips - 1))]
        for shape in (first.shape, other.shape):
            for colour in (first.colour, recoloured.colour):
                groups.append([replace(reshaped(scene, shape), colour=colour) for scene in scenes])
    return groups


def captions(run: Run, groups: list[list[Scene]]) -> list[list[str]]:
    """WHOLE_CAPTIONS whole ones of each group, then one of each kind that tells less."""
    words = random.Random(f"{run.seed}/{PIECE}/captions")
    return [
        [caption(group[0], words) for _ in range(WHOLE_CAPTIONS)]
        + [caption(group[0], words, shape=shape, motion=motion) for shape, motion in _TELLING.values()]
        for group in groups
    ]


@dataclass(frozen=True)
class Families:
    """videos by size and audio: (groups, clips, T, 128); paths (groups, clips, 4): left, top, right, bottom of where
    the shape comes, in 0..1; told (groups, 7): numbers of the captions in `text`; unconditional (2,)."""

    videos: dict[int, Tensor]
    audio: Tensor
    paths: Tensor
    text: TextPool
    told: Tensor
    unconditional: Tensor

    def captions(self, groups: Tensor, telling: Tensor, generator: torch.Generator, dropout: float) -> Tensor:
        """A caption's number for each of `groups` (C,) that tells as much; an unconditional one with `dropout`."""
        device = generator.device
        which, dropped = torch.rand(2, len(groups), generator=generator, device=device)
        whole = (which * WHOLE_CAPTIONS).long().clamp(max=WHOLE_CAPTIONS - 1)
        column = torch.where(telling == WHOLE, whole, WHOLE_CAPTIONS - 1 + telling)
        untold = self.unconditional[(which * len(self.unconditional)).long().clamp(max=len(self.unconditional) - 1)]
        return torch.where(dropped < dropout, untold, self.told[groups, column])


@functools.cache
def family_pools(run: Run) -> Families:
    """Drawn and encoded at the first call, their captions' text from the piece `text`; `run.small` makes few."""
    from .text import bank  # the piece asks here for its captions

    counts = SMALL if run.small else FULL
    (stage_one, final), (many, fewer) = stage_sizes(run), counts.clips
    groups = families(run, counts.families, many)
    text = bank(run)
    dtype = torch.bfloat16 if run.device.type == "cuda" else torch.float32
    encoder = video_vae.trained(run).encoder.to(dtype)
    videos = {}
    for size, clips in ((stage_one, many), (final, fewer)):
        scenes = [scene for group in groups for scene in group[:clips]]
        videos[size] = encode_videos(encoder, scenes, size, run.device, dtype).unflatten(0, (-1, clips))
    audio_encoder = audio_vae.trained(run).encoder.to(dtype)
    scenes = [scene for group in groups for scene in group]
    audio = encode_sounds(audio_encoder, scenes, run.device, dtype).unflatten(0, (-1, many))
    numbers = [[text.numbers[words] for words in own] for own in captions(run, groups)]
    return Families(
        videos,
        audio,
        paths(scenes).to(run.device).unflatten(0, (-1, many)),
        text.pool,
        torch.tensor(numbers, device=run.device),
        torch.tensor([text.numbers[words] for words in UNCONDITIONAL], device=run.device),
    )


def paths(scenes: list[Scene]) -> Tensor:
    """(scenes, 4): left, top, right, bottom of all that the shape covers in its clip, in 0..1."""
    way = track(scenes, torch.arange(FRAMES) / FPS)
    reach = way.radius * torch.tensor([[SHAPES[scene.shape].reach] for scene in scenes])
    least = [(place - reach).amin(1) for place in (way.x, way.y)]
    most = [(place + reach).amax(1) for place in (way.x, way.y)]
    return torch.stack((*least, *most), dim=1).clamp(0, 1)
