"""What was made of a film is put back into it: outside the windows and the mask are its own bits, inside they fade."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.progress import SILENT
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, GivenSound
from ltx_duo.ltx_core.sampling.conditions.fitting import fit_frame, fit_mask, resize_and_crop
from ltx_duo.ltx_core.splicing import (
    FADE_FRAMES,
    FADE_SECONDS,
    FEATHER,
    feathered,
    given_sound,
    splice_frames,
    splice_sound,
)

QUICK = settings(max_examples=50, deadline=None)
SIZE = (3, 5)
NTSC = 24000 / 1001


def shares(count: int, rate: float, windows, fade: int) -> torch.Tensor:
    """How much of what is made is seen in each of `count` units, by the rule: a unit that a window reaches is new, and
    counts the less the fewer units it is from where the film goes on."""
    result = torch.zeros(count)
    for start, end in windows:
        touched = [n for n in range(count) if (n + 1) / rate > start + 1e-9 and n / rate < end - 1e-9]
        if not touched:
            continue
        first, last = touched[0], touched[-1]
        steps = min(fade, len(touched) // 3)
        for n in touched:
            rising = (n - first + 1) / (steps + 1) if first > 0 else 1.0
            falling = (last - n + 1) / (steps + 1) if last < count - 1 else 1.0
            result[n] = max(result[n], min(1.0, rising, falling))
    return result


@st.composite
def films(draw, mask: bool = False):
    fps = draw(st.sampled_from([8.0, NTSC, 25.0, 30.0]))
    frames, before, after = draw(st.integers(1, 60)), 8 * draw(st.integers(0, 2)), 8 * draw(st.integers(0, 2))
    seconds = GivenFilm(torch.zeros(1, 1, 1, 3).expand(frames, -1, -1, -1), fps, before=before, after=after).seconds
    windows = []
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.floats(0, 1)) * seconds * 0.95
        windows.append((start, draw(st.sampled_from([math.inf, start + 0.01 + draw(st.floats(0, 2))]))))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return GivenFilm(torch.rand(frames, *SIZE, 3, generator=random), fps, None, tuple(windows), before, after)


class TestFrames:
    @QUICK
    @given(film=films())
    def test_outside_the_windows_are_the_films_bits_and_inside_it_gives_way(self, film):
        made = torch.rand(film.total, *SIZE, 3)
        result = splice_frames(film, made.clone())
        assert len(result) == film.length
        weights = shares(film.length, film.fps, film.windows, FADE_FRAMES)
        for number, weight in enumerate(weights.tolist()):
            source = film.source(number)
            if source is None or weight == 1:
                assert torch.equal(result[number], made[number])
            elif weight == 0:
                assert torch.equal(result[number], film.frames[source])
            else:
                expected = (1 - weight) * film.frames[source] + weight * made[number]
                torch.testing.assert_close(result[number], expected, atol=1e-5, rtol=0)

    def test_it_fades_over_four_frames_where_there_is_room(self):
        film = GivenFilm(torch.zeros(41, *SIZE, 3), 10.0, None, ((1.0, 2.5),))
        shown = splice_frames(film, torch.ones(41, *SIZE, 3))[:, 0, 0, 0]
        ramp = [0.2, 0.4, 0.6, 0.8]
        assert shown.tolist() == pytest.approx([0.0] * 10 + ramp + [1.0] * 7 + ramp[::-1] + [0.0] * 16)
        short = GivenFilm(torch.zeros(41, *SIZE, 3), 10.0, None, ((1.0, 1.3),))
        assert splice_frames(short, torch.ones(41, *SIZE, 3))[9:14, 0, 0, 0].tolist() == [0, 0.5, 1, 0.5, 0]

    def test_a_window_at_its_ends_has_nothing_to_fade_from(self):
        for window in ((0.0, 1.0), (0.0, 9.0), (3.1, 9.0)):
            film = GivenFilm(torch.zeros(41, *SIZE, 3), 10.0, None, (window,))
            shown = splice_frames(film, torch.ones(41, *SIZE, 3))[:, 0, 0, 0]
            assert shown[0] == (window[0] == 0) and shown[-1] == (window[1] > 4)

    def test_frames_at_23_976_are_where_their_seconds_are(self):
        """The window begins within frame 11, which begins at 0.4588 s, and ends within frame 23."""
        film = GivenFilm(torch.zeros(41, *SIZE, 3), NTSC, None, ((0.46, 1.0),))
        touched = splice_frames(film, torch.ones(41, *SIZE, 3))[:, 0, 0, 0].nonzero().flatten().tolist()
        assert touched == list(range(11, 24))

    def test_a_kept_picture_comes_out_as_it_went_in(self):
        film = GivenFilm(torch.rand(11, 7, 9, 3), 8.0, new_picture=False)
        assert splice_frames(film, torch.rand(17, 64, 64, 3)) is film.frames

    @pytest.mark.parametrize("size", [(6, 10), (7, 10), (6, 13)])
    def test_only_cropped_it_keeps_its_bits(self, size):
        frames = torch.rand(9, *size, 3)
        result = splice_frames(GivenFilm(frames, 8.0, None, ((0.5, 9.0),)), torch.rand(9, 6, 10, 3))
        top, left = (size[0] - 6) // 2, (size[1] - 10) // 2
        assert torch.equal(result[:4], frames[:4, top : top + 6, left : left + 10])

    def test_scaled_it_is_what_the_model_saw_of_it(self):
        frames = torch.rand(9, 11, 13, 3)
        result = splice_frames(GivenFilm(frames, 8.0, None, ((0.5, 9.0),)), torch.rand(9, 6, 10, 3))
        seen = (resize_and_crop(frames[2], 10, 6)[0, :, 0].permute(1, 2, 0) + 1) / 2
        torch.testing.assert_close(result[2], seen)

    def test_cancelling_is_looked_for_at_every_frame(self):
        asked = []

        class Reporter:
            def check_cancel(self):
                asked.append(1)

            step = SILENT.step

        film = GivenFilm(torch.zeros(9, *SIZE, 3), 8.0, None, ((0.5, 9.0),))
        splice_frames(film, torch.ones(9, *SIZE, 3), Reporter())
        assert len(asked) >= 9


class TestMask:
    @settings(max_examples=15, deadline=None)
    @given(size=st.tuples(st.integers(1, 60), st.integers(1, 60)), seed=st.integers(0, 2**31), few=st.booleans())
    def test_it_rises_with_the_distance_to_what_is_kept(self, size, seed, few):
        """A pixel counts a sixteenth for each step, king's moves, to the nearest pixel that is kept; more in small
        regions, over two thirds of their half width."""
        random = torch.Generator().manual_seed(seed)
        mask = (torch.rand(size, generator=random) > (0.002 if few else 0.3)).float()
        kept = (mask == 0).nonzero()
        places = torch.cartesian_prod(*(torch.arange(side) for side in size)).view(-1, 2)
        distance = torch.full((len(places),), 99.0)
        if len(kept):
            distance = (places[:, None] - kept[None]).abs().amax(-1).amin(-1).float()
        ramp = min(FEATHER, max(1, int(distance.max()) * 2 // 3))
        torch.testing.assert_close(feathered(mask).flatten(), (distance / ramp).clamp(max=1))

    def test_a_soft_mask_is_never_exceeded(self):
        mask = torch.rand(40, 50) * (torch.rand(40, 50) < 0.9)
        soft = feathered(mask)
        assert (soft <= mask + 1e-6).all() and (soft[mask == 0] == 0).all() and (soft[mask > 0] > 0).all()

    @settings(max_examples=20, deadline=None)
    @given(each=st.booleans(), scaled=st.booleans(), before=st.sampled_from([0, 8]), seed=st.integers(0, 2**31))
    def test_outside_the_mask_and_the_window_are_the_films_bits(self, each, scaled, before, seed):
        random = torch.Generator().manual_seed(seed)
        size = (37, 61) if scaled else (32, 64)
        frames, made = torch.rand(17, *size, 3, generator=random), torch.rand(17 + before, 32, 64, 3, generator=random)
        mask = (torch.rand(17 if each else 1, *size, generator=random) > 0.6).float()
        mask[:, 5:30, 10:50] = 1
        film = GivenFilm(frames, 8.0, None, ((0.5 + before / 8, 1.5 + before / 8),), before, mask=mask)
        result = splice_frames(film, made.clone())
        assert torch.equal(result[:before], made[:before])
        for number in range(17):
            own, shown = fit_frame(frames[number], 64, 32), result[before + number]
            stays = fit_mask(mask[number if each else 0], 64, 32) == 0
            if not 4 <= number < 12:
                assert torch.equal(shown, own)
            else:
                assert torch.equal(shown[stays], own[stays]) and (shown[~stays] != own[~stays]).float().mean() > 0.99
                between = (shown >= torch.minimum(own, made[before + number]) - 1e-6) & (
                    shown <= torch.maximum(own, made[before + number]) + 1e-6
                )
                assert between.all()
        middle = before + 8  # of the window, of the mask
        assert torch.equal(result[middle, 16, 30], made[middle, 16, 30]) or scaled


def tone(seconds: float, rate: int, channels: int, start: float = 0.0) -> GivenSound:
    return GivenSound(torch.rand(channels, round(seconds * rate)) * 2 - 1, rate, start)


class TestSound:
    @QUICK
    @given(
        film=films(),
        rate=st.sampled_from([1000, 1103]),
        made_rate=st.sampled_from([1000, 1200]),
        channels=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2])),
        seconds=st.floats(0.05, 3),
    )
    def test_outside_the_windows_are_its_own_samples(self, film, rate, made_rate, channels, seconds):
        """At its own rate and as long as the film; where its sound ends before, or frames come before it, silence."""
        own, made = tone(seconds, rate, channels[0]), tone(film.total / film.fps, made_rate, channels[1])
        film = GivenFilm(film.frames, film.fps, own, film.windows, film.before, film.after)
        result = splice_sound(film, made)
        length = round(film.length / film.fps * rate)
        assert result.sample_rate == rate and result.waveform.shape == (max(channels), length)
        expected = torch.zeros(channels[0], length)
        first = -round(-film.before / film.fps * rate)
        count = max(0, min(own.waveform.shape[1], length - first))
        expected[:, first : first + count] = own.waveform[:, :count]
        expected = expected.expand(max(channels), -1)
        weight = shares(length, rate, film.windows, round(FADE_SECONDS * rate))
        assert torch.equal(result.waveform[:, weight == 0], expected[:, weight == 0])
        assert (result.waveform - expected)[:, weight > 0].abs().sum() > 0
        if rate == made_rate:
            new = made.waveform[:, :length].expand(max(channels), -1)
            torch.testing.assert_close(result.waveform, torch.lerp(expected, new, weight), atol=1e-5, rtol=0)

    def test_it_fades_over_20_milliseconds_inside_the_window(self):
        film = GivenFilm(torch.zeros(41, *SIZE, 3), NTSC, GivenSound(torch.zeros(1, 2000), 1000), ((0.5, 1.0),))
        heard = splice_sound(film, GivenSound(torch.ones(1, 2000), 1000)).waveform[0]
        ramp = torch.arange(1, 21) / 21
        assert not heard[:500].any() and not heard[1000:].any() and len(heard) == round(41 / NTSC * 1000)
        torch.testing.assert_close(heard[500:1000], torch.cat((ramp, torch.ones(460), ramp.flip(0))))

    def test_what_is_made_is_heard_at_its_pitch(self):
        """At 48 kHz, put into a sound of 16 kHz."""
        times = torch.arange(48000) / 48000
        made = GivenSound(torch.sin(2 * math.pi * 440 * times)[None], 48000)
        film = GivenFilm(torch.zeros(25, *SIZE, 3), 25.0, tone(1.0, 16000, 1), ((0.2, 0.8),))
        part = splice_sound(film, made).waveform[0, 4000:12000]
        expected = torch.sin(2 * math.pi * 440 * torch.arange(4000, 12000) / 16000)
        torch.testing.assert_close(part, expected, atol=2e-3, rtol=0)

    def test_a_kept_sound_comes_out_as_it_went_in(self):
        """Where it stood: it has lasted a quarter of a second where the picture begins."""
        own = tone(3.0, 44100, 2, start=0.25)
        film = GivenFilm(torch.zeros(17, *SIZE, 3), 8.0, own, before=8, new_sound=False)
        heard = splice_sound(film, tone(4.0, 48000, 2))
        assert heard.sample_rate == 44100 and torch.equal(heard.waveform, splice_sound(film, None).waveform)
        silent, length = round(0.75 * 44100), round(25 / 8 * 44100)
        assert not heard.waveform[:, :silent].any() and heard.waveform.shape[1] == length
        assert torch.equal(heard.waveform[:, silent:], own.waveform[:, : length - silent])

    def test_a_silent_film_gets_what_is_made_or_stays_silent(self):
        made = tone(4.0, 48000, 2)
        film = GivenFilm(torch.zeros(20, *SIZE, 3), 8.0, None, ((0.5, 1.0),))
        heard = splice_sound(film, made)
        assert heard.sample_rate == 48000 and torch.equal(heard.waveform, made.waveform[:, : round(20 / 8 * 48000)])
        assert splice_sound(GivenFilm(torch.zeros(20, *SIZE, 3), 8.0, new_sound=False), made) is None


@QUICK
@given(seconds=st.floats(0.1, 2), after=st.floats(0.1, 2), overlap=st.floats(0, 1))
def test_an_extended_film_is_its_own_up_to_the_overlap(seconds, after, overlap):
    """Frames that it has too many for whole latents lead, and come out as they are."""
    frames = torch.rand(round((seconds + overlap) * 25) + 9, *SIZE, 3)
    own = tone(len(frames) / 25, 8000, 1)
    film = GivenFilm.added(frames, 25.0, own, after=after, overlap=overlap)
    kept = len(frames) - round(overlap * 25)
    made = tone(film.total / 25, 8000, 1)
    whole = splice_frames(film, torch.rand(film.total, *SIZE, 3))
    assert len(whole) == len(frames) + film.after and torch.equal(whole[:kept], frames[:kept])
    heard, first = splice_sound(film, made).waveform, round(film.lead / 25 * 8000)
    samples, new = round(kept / 25 * 8000), round(len(frames) / 25 * 8000) + 200
    assert heard.shape[1] == round(len(whole) / 25 * 8000)
    assert torch.equal(heard[:, :samples], own.waveform[:, :samples])
    assert torch.equal(heard[:, new:], made.waveform[:, new - first :])


def test_a_given_sound_begins_behind_the_lead():
    own = tone(2.0, 8000, 1)
    film = GivenFilm.added(torch.rand(44, *SIZE, 3), 25.0, own, after=0.5)
    given = tone(3.0, 16000, 2)
    heard, first = given_sound(film, given), round(film.lead / 25 * 16000)
    assert film.lead == 3 and heard.sample_rate == 16000
    assert torch.equal(heard.waveform[:, first:], given.waveform[:, : heard.waveform.shape[1] - first])
    assert heard.waveform[:, :first].any() and heard.waveform.shape == (2, round((44 + film.after) / 25 * 16000))
