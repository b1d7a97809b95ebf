"""Held-out films of which something is given: how often what is made beside it is as it should be.

Sound given and no shape told; a window of the film in another colour; a box with another shape.
"""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from ...ltx_core.audio_vae import AudioEncoder
from ...ltx_core.sampling.schedule import ltx2_sigmas
from ...ltx_core.text.negative_prompt import NEGATIVE_PROMPT
from ..detectors import seen
from ..world import Scene, caption
from . import audio_vae
from .families import draw_with_relatives, paths, relatives
from .given_masks import PADDING, in_boxes, in_windows
from .latents import encode_sounds, encode_videos
from .network import TextToAV
from .pools import stage_sizes
from .run import Run
from .samples import Keep, contexts, judged, sample, share_right
from .showing import Prompts, held_out_scenes, sheet, sounds, video_autoencoder

WINDOW = (0.45, 10.0)  # seconds: from here on the film is made anew


@dataclass(frozen=True)
class Scenes:
    """Held-out scenes, and of each one in another colour and one with another shape."""

    first: list[Scene]
    recoloured: list[Scene]
    reshaped: list[Scene]


@dataclass(frozen=True)
class Films:
    """prompts: whole ones of other scenes; the scenes with the texts of their captions, which are of the first ones
    without shape, of the recoloured ones, of the reshaped ones, and of the first ones without motion; video of the
    first ones at stage one's size and their audio, (B, T, 128)."""

    prompts: Prompts
    scenes: Scenes
    texts: tuple[Prompts, Prompts, Prompts, Prompts]
    video: Tensor
    audio: Tensor


def held_out_given(run: Run) -> tuple[Scenes, list[list[str]]]:
    """The scenes, and the captions of each of the texts."""
    lots = random.Random(f"{run.seed}/given/held out")
    first = [draw_with_relatives(lots) for _ in range(4 if run.small else 32)]
    recoloured, reshaped = (list(scenes) for scenes in zip(*(relatives(scene, lots) for scene in first), strict=True))
    told = (
        [caption(scene, lots, shape=False) for scene in first],
        [caption(scene, lots) for scene in recoloured],
        [caption(scene, lots) for scene in reshaped],
        [caption(scene, lots, motion=False) for scene in first],
    )
    return Scenes(first, recoloured, reshaped), list(told)


def held_out_captions(run: Run) -> list[list[str]]:
    """All that `held_out` needs the text of."""
    return [held_out_scenes(run)[1], *held_out_given(run)[1], [NEGATIVE_PROMPT]]


@torch.no_grad()
def held_out(run: Run, dtype: torch.dtype) -> Films:
    from .text import bank  # which asks here for the captions

    texts, (scenes, told) = bank(run), held_out_given(run)

    def prompts(own: list[Scene], captions: list[str]) -> Prompts:
        return Prompts(own, captions, texts.of([*captions, NEGATIVE_PROMPT]))

    owners = (scenes.first, scenes.recoloured, scenes.reshaped, scenes.first)
    encoder, audio_encoder = video_autoencoder(run, dtype).encoder, audio_encoder_of(run, dtype)
    return Films(
        prompts(*held_out_scenes(run)),
        scenes,
        tuple(prompts(own, captions) for own, captions in zip(owners, told, strict=True)),
        encode_videos(encoder, scenes.first, stage_sizes(run)[0], run.device, dtype),
        encode_sounds(audio_encoder, scenes.first, run.device, dtype),
    )


def audio_encoder_of(run: Run, dtype: torch.dtype) -> AudioEncoder:
    return audio_vae.trained(run).encoder.to(dtype)


@torch.no_grad()
def show_given(run: Run, network: TextToAV, films: Films, name: str) -> dict[str, float]:
    """Shares that are right, of stage one; leaves the sheets `<name>-sound`, `<name>-window` and `<name>-box`."""
    size, device = stage_sizes(run)[0], run.device
    count, decoder = len(films.video), video_autoencoder(run, films.video.dtype).decoder
    nothing = torch.zeros(films.audio.shape[:2], dtype=torch.bool, device=device)
    no_picture = torch.zeros(films.video.shape[:2], dtype=torch.bool, device=device)
    window = in_windows(torch.tensor(WINDOW, device=device).expand(count, 2), size)
    both = torch.stack([paths(scenes) for scenes in (films.scenes.first, films.scenes.reshaped)]).to(device)
    boxes = torch.cat((both[..., :2].amin(0) - PADDING / 2, both[..., 2:].amax(0) + PADDING / 2), dim=1)
    box = in_boxes(boxes, size)

    def made(text: Prompts, video: Tensor | None, audio: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decoded films and audio latents, where the masks tell what is made anew; None makes all of it anew."""
        kept = tuple(
            None if mask is None else Keep(tokens, mask)
            for tokens, mask in ((films.video, video), (films.audio, audio))
        )
        given = contexts(network, text.text)
        latent, sound = sample(
            network.transformer, size, given, run.generator("given", "samples"),
            sigmas=ltx2_sigmas(4 if run.small else 30), kept=kept,
        )  # fmt: skip
        return torch.cat([decoder(part) for part in latent.split(8)]), sound

    no_shape, recoloured, reshaped, _ = films.texts
    to_sound, _ = made(no_shape, None, nothing)
    _, to_film = made(no_shape, no_picture, None)
    turned, _ = made(recoloured, *window)
    changed, _ = made(reshaped, box, None)
    for text, own, kind in ((no_shape, to_sound, "sound"), (recoloured, turned, "window"), (reshaped, changed, "box")):
        sheet(run, f"{name}-{kind}", text, [own])
    numbers = {f"{word}, sound given": share for word, share in judged(to_sound, films.scenes.first).items()}
    moving = [number for number, scene in enumerate(films.scenes.first) if scene.motion != "still"]
    heard = judged([to_sound[number] for number in moving], [films.scenes.first[number] for number in moving])
    numbers["shape of what is heard, sound given"] = heard["shape"]
    numbers |= {f"{word}, film given": share for word, share in sounds(run, to_film, no_shape).items()}
    kept_frames = 9  # before the window
    numbers["colour before the window"] = colours(turned[:, :, :kept_frames], films.scenes.first)
    numbers["colour in the window"] = colours(turned[:, :, kept_frames + 8 :], films.scenes.recoloured)
    return numbers | {f"{word}, box": share for word, share in judged(changed, films.scenes.reshaped).items()}


def colours(films: Tensor, scenes: list[Scene]) -> float:
    """The share of films (B, 3, F, H, W) in [-1, 1] whose colour is the scene's."""
    found = [seen((film.float().clamp(-1, 1) + 1).permute(1, 2, 3, 0).cpu() / 2).colour for film in films]
    return share_right(found, [scene.colour for scene in scenes])
