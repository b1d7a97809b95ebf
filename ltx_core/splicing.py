"""What was made of a given film, put back into it: outside the windows and the mask are the film's own bits.

Both fade into each other inside the windows and the mask, so that nothing outside changes.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .audio_vae import resample
from .progress import SILENT, Reporter
from .sampling.conditions import GivenFilm, GivenSound
from .sampling.conditions.fitting import fit_frame, fit_mask

FADE_FRAMES = 4
FADE_SECONDS = 0.02
FEATHER = 16  # pixels


def splice_frames(film: GivenFilm, made: Tensor, reporter: Reporter = SILENT) -> Tensor:
    """The frames (F, H, W, 3) in 0..1 of the film that comes out, from those `made`, which are written over.

    Frames of the given film are fitted to the size of those made.  A film whose picture is kept comes out as it was
    given, whatever that size.
    """
    if not film.new_picture:
        return film.frames
    height, width = made.shape[1:3]
    made = made[: film.length]
    in_time = _weights(film, film.length, film.fps, FADE_FRAMES)
    for number, frame in enumerate(made):
        reporter.check_cancel()
        own = film.source(number)
        if own is None:
            continue
        weight = in_time[number]
        if film.mask is not None and weight > 0:
            mask = film.mask[min(own, len(film.mask) - 1)]
            weight = (feathered(fit_mask(mask, width, height)) * weight)[..., None]
        if bool((weight == 1).all()):
            continue
        given = fit_frame(film.frames[own], width, height).to(frame)
        frame.copy_(torch.where(weight == 0, given, torch.lerp(given, frame, weight)))
    if not film.lead:
        return made
    whole = made.new_empty(film.lead + film.length, *made.shape[1:])
    for number in range(film.lead):
        reporter.check_cancel()
        whole[number] = fit_frame(film.frames[number], width, height)
    whole[film.lead :] = made
    return whole


def splice_sound(film: GivenFilm, made: GivenSound | None) -> GivenSound | None:
    """The sound of the film that comes out, from the one `made`, which a film that keeps its own can do without.

    At the film's own rate, mono only if both are; silent films get the sound as it was made.

    None where a silent film keeps its silence.
    """
    if film.sound is None and not film.new_sound:
        return None
    frames, lead = film.lead + film.length, film.lead / film.fps
    if film.sound is None:
        return GivenSound(made.waveform, made.sample_rate, -lead).part(frames, film.fps)
    start, rate = film.sound.start - film.before / film.fps, film.sound.sample_rate
    own = GivenSound(film.sound.waveform, rate, start).part(frames, film.fps)
    if not film.new_sound:
        return own
    new = GivenSound(resample(made.waveform, made.sample_rate, rate), rate, -lead).part(frames, film.fps).waveform
    channels = max(len(own.waveform), len(new))
    own, new = (sound.expand(channels, -1) for sound in (own.waveform, new))
    first = round(lead * rate)
    weight = _weights(film, own.shape[1] - first, rate, round(FADE_SECONDS * rate))
    weight = torch.cat((torch.zeros(first), weight))
    return GivenSound(torch.where(weight == 0, own, torch.lerp(own, new, weight)), rate)


def given_sound(film: GivenFilm, given: GivenSound) -> GivenSound:
    """The sound of the film that comes out where one was `given` in place of its own: at that one's rate, behind the
    film's own over its lead."""
    rate, frames, lead = given.sample_rate, film.lead + film.length, film.lead / film.fps
    whole = GivenSound(given.waveform, rate, given.start - lead).part(frames, film.fps).waveform
    if film.sound is None or not film.lead:
        return GivenSound(whole, rate)
    own = film.sound.part(film.lead, film.fps)
    own = resample(own.waveform, own.sample_rate, rate)[:, : round(lead * rate)]
    channels = max(len(own), len(whole))
    whole = whole.expand(channels, -1).clone()
    whole[:, : own.shape[1]] = own
    return GivenSound(whole, rate)


def feathered(mask: Tensor, feather: int = FEATHER) -> Tensor:
    """A mask (H, W) that rises from its edges inwards over `feather` pixels; 0 wherever it was 0.

    Over two thirds of the way to its middle where that is less, so that small regions show what was made of them.
    """
    steps = [mask.float()[None, None]]
    while len(steps) < feather * 3 // 2:
        smaller = -F.max_pool2d(-steps[-1], 3, stride=1, padding=1)
        if not smaller.any():
            break
        steps.append(smaller)
    return torch.stack(steps[: min(feather, max(1, len(steps) * 2 // 3))]).mean(0)[0, 0]


def _weights(film: GivenFilm, count: int, rate: float, fade: int) -> Tensor:
    """How much of what is made counts, (count,) for units of 1/rate seconds: 0 outside the windows, 1 inside, rising
    and falling over `fade` units within them where the given film goes on beside them."""
    total = torch.zeros(count)
    for start, end in film.windows:
        first = max(0, math.floor(start * rate + 1e-6))
        last = count if math.isinf(end) else min(count, math.ceil(end * rate - 1e-6))
        weight = torch.ones(last - first)
        ramp = _ramp(min(fade, len(weight) // 3))
        if first > 0:
            weight[: len(ramp)] = ramp
        if last < count:
            weight[len(weight) - len(ramp) :] = ramp.flip(0)
        total[first:last] = torch.maximum(total[first:last], weight)
    return total


def _ramp(length: int) -> Tensor:
    return torch.arange(1, length + 1) / (length + 1)
