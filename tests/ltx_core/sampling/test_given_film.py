"""A film that is given: how long the film that is made of it is, what of it is made anew, and what is refused.

Masks are compared with rules written out frame by frame and hop by hop; windows also meet the vendor's own code in
tests/parity/sampling.
"""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import ConditioningError, LTXError
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, GivenSound
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry

RATES = [8.0, 16.0, 23.976, 24.0, 25.0, 29.97, 60.0]
QUICK = settings(max_examples=60, deadline=None)
LATE = (5.0, math.inf)


def pictures(frames: int, height: int = 2, width: int = 2) -> torch.Tensor:
    return torch.zeros(1, height, width, 3).expand(frames, -1, -1, -1)


def geometry(film: GivenFilm, width: int = 64, height: int = 32) -> LatentGeometry:
    return LatentGeometry(width, height, film.total, film.fps)


def sound(seconds: float = 1.0, rate: int = 8000, **settings) -> GivenSound:
    return GivenSound(torch.zeros(1, round(seconds * rate)), rate, **settings)


@st.composite
def windows(draw) -> tuple[tuple[float, float], ...]:
    """One or two, in 64ths of a second, which bounds of latents at 8 and 16 frames a second fall on."""
    starts = draw(st.lists(st.integers(-32, 100), min_size=1, max_size=2))
    lengths = [draw(st.integers(1, 80)) for _ in starts]
    return tuple((start / 64, (start + length) / 64) for start, length in zip(starts, lengths, strict=True))


class TestLength:
    @QUICK
    @given(frames=st.integers(1, 200), before=st.integers(0, 5), after=st.integers(0, 5))
    def test_what_belongs_to_the_new_film(self, frames, before, after):
        """Without frames behind it none of its own is left out; with some, the fewest that latents do not hold."""
        film = GivenFilm(pictures(frames), 24.0, before=8 * before, after=8 * after)
        assert film.used % 8 == film.total % 8 == 1 and film.total == film.before + film.used + film.after
        if after:
            assert frames - 8 < film.used <= frames
        else:
            assert frames <= film.used < frames + 8
        own = min(frames, film.used)
        assert film.length == film.before + own + film.after and film.seconds == film.length / 24.0
        shown = [film.source(frame) for frame in range(film.total)]
        repeated = [frames - 1] * (film.used - own)
        assert shown == [None] * film.before + list(range(own)) + repeated + [None] * film.after

    @QUICK
    @given(
        frames=st.integers(1, 120),
        fps=st.sampled_from(RATES),
        before=st.floats(0, 3),
        after=st.floats(0, 3),
        overlap=st.floats(0, 2),
    )
    def test_seconds_are_added_in_whole_latents_and_meet_the_film_in_the_overlap(
        self, frames, fps, before, after, overlap
    ):
        """The windows are the vendor's: what is new and round(overlap * fps) frames of the film beside it."""
        assume(before > 1e-3 or after > 1e-3)
        frames += 2 * round(overlap * fps) + 32  # of which some stay
        film = GivenFilm.added(pictures(frames), fps, before=before, after=after, overlap=overlap)
        for seconds, added in ((before, film.before), (after, film.after)):
            assert added % 8 == 0 and added - 8 < seconds * fps + 1e-4 and added > seconds * fps - 1e-4
        share, expected = round(overlap * fps), []
        if film.before:
            expected.append((0.0, min(film.before + share, film.total) / fps))
        if film.after:
            expected.append((max(0, film.before + film.used - share) / fps, math.inf))
        torch.testing.assert_close(torch.tensor(film.windows), torch.tensor(expected))
        # In front of what is seen nothing is missed; where frames stand there too, it is the last ones that do not fit.
        assert film.lead == (0 if film.before else (frames - 1) % 8)
        assert film.source(film.before) == film.lead

    @QUICK
    @given(frames=st.integers(70, 160), fps=st.sampled_from(RATES), context=st.floats(0.9, 6))
    def test_of_a_long_film_the_end_alone_is_seen(self, frames, fps, context):
        film = GivenFilm.added(pictures(frames), fps, sound(20.0), after=0.5, context=context)
        assert film.used == film.total - film.after == frames - film.lead
        assert 0 <= film.used - 1 - context * fps < 8 or film.used == (frames - 1) // 8 * 8 + 1 < context * fps + 8
        assert film.source(0) == film.lead and film.source(film.used - 1) == frames - 1
        assert film.placed_sound().start == film.lead / fps

    def test_a_lead_longer_than_the_sound_leaves_silence(self):
        film = GivenFilm.added(pictures(99), 8.0, sound(2.0), after=1.0, context=4.0)
        assert not film.placed_sound().waveform.any()

    @pytest.mark.parametrize("both", [False, True])
    def test_an_overlap_of_all_that_is_seen_is_refused(self, both):
        """Frame 0 alone is the first latent frame: of nine frames eight can be made anew."""
        GivenFilm.added(pictures(9), 24.0, after=1.0, overlap=8 / 24)
        with pytest.raises(ConditioningError, match="nothing would be kept"):
            GivenFilm.added(pictures(9), 24.0, after=1.0, overlap=9 / 24)
        with pytest.raises(ConditioningError, match="nothing would be kept"):
            GivenFilm.added(pictures(25), 24.0, before=1.0, after=1.0 if both else 0.0, overlap=0.5 if both else 1.0)

    def test_a_second_of_whole_latents_is_not_rounded_up(self):
        film = GivenFilm.added(pictures(49), 24.0, before=1.0, after=1 / 3)
        assert (film.before, film.after) == (24, 8) and film.windows == ((0.0, 1.5), (61 / 24, math.inf))
        ntsc = GivenFilm.added(pictures(25), 24000 / 1001, after=16 * 1001 / 24000)
        assert ntsc.after == 16

    def test_its_sound_stands_where_its_picture_stands(self):
        film = GivenFilm(pictures(17), 8.0, sound(4.0, start=0.5), before=16)
        placed = film.placed_sound()
        assert placed.start == 0.5 - 2.0 and placed.sample_rate == 8000
        assert placed.waveform is film.sound.waveform
        assert GivenFilm(pictures(17), 8.0).placed_sound() is None

    def test_it_says_something_of_the_sound_unless_all_of_it_is_made_from_noise(self):
        whole, part = ((0.0, math.inf),), ((0.25, math.inf),)
        assert GivenFilm(pictures(9), 8.0, new_sound=False).gives_sound()
        assert GivenFilm(pictures(9), 8.0, sound(), part).gives_sound()
        assert GivenFilm(pictures(9), 8.0, sound(), whole).gives_sound(from_noise=False)
        assert not GivenFilm(pictures(9), 8.0, sound(), whole).gives_sound()
        assert not GivenFilm(pictures(9), 8.0, None, part).gives_sound(from_noise=False)


class TestWindows:
    @QUICK
    @given(
        frames=st.integers(1, 40),
        fps=st.sampled_from([8.0, 16.0]),
        before=st.integers(0, 2),
        after=st.integers(0, 2),
        windows=windows(),
    )
    def test_a_latent_frame_is_made_anew_if_any_of_its_frames_is(self, frames, fps, before, after, windows):
        """Frame f lasts from f to f + 1: that it touches a window does not count, nor where it has no own frame."""
        film = GivenFilm(pictures(frames), fps, before=8 * before, after=8 * after)
        windows = tuple(w for w in windows if w[1] > 0 and w[0] < film.seconds)
        assume(windows)
        film = GivenFilm(pictures(frames), fps, None, windows, 8 * before, 8 * after)

        def anew(frame: int) -> bool:
            time = Fraction(frame) / int(fps), Fraction(frame + 1) / int(fps)
            return film.source(frame) is None or any(time[1] > start and time[0] < end for start, end in windows)

        mask = film.video_mask(geometry(film))
        assert mask.dtype == torch.float32 and mask.shape == (1, (film.total - 1) // 8 + 1, 1, 2)
        expected = [any(map(anew, range(max(0, 8 * cell - 7), 8 * cell + 1))) for cell in range(mask.shape[1])]
        assert mask[0, :, 0, 0].tolist() == mask[0, :, 0, 1].tolist() == expected

    @QUICK
    @given(frames=st.integers(9, 60), fps=st.sampled_from([8.0, 16.0]), windows=windows())
    def test_a_latent_of_sound_is_made_anew_if_any_of_its_hops_is(self, frames, fps, windows):
        """Of 10 ms each: the first latent has one, every other four."""
        film = GivenFilm(pictures(frames), fps)
        windows = tuple(w for w in windows if w[1] > 0 and w[0] < film.seconds)
        assume(windows)
        film = GivenFilm(pictures(frames), fps, sound(), windows)

        def anew(hop: int) -> bool:
            time = Fraction(hop, 100), Fraction(hop + 1, 100)
            return any(time[1] > start and time[0] < end for start, end in windows)

        mask = film.audio_mask(geometry(film))
        assert mask.shape == (1, geometry(film).audio_frames) and mask.dtype == torch.float32
        expected = [any(map(anew, range(max(0, 4 * i - 3), 4 * i + 1))) for i in range(mask.shape[1])]
        assert mask[0].tolist() == expected

    @QUICK
    @given(fps=st.sampled_from(RATES), start=st.floats(0, 3), length=st.floats(0.01, 2))
    def test_at_any_rate_what_is_anew_lies_within_a_latent_of_the_window(self, fps, start, length):
        film = GivenFilm(pictures(round(5 * fps)), fps, None, ((start, start + length),))
        inside = film.video_mask(geometry(film))[0, :, 0, 0].nonzero().flatten().tolist()
        assert inside == list(range(inside[0], inside[-1] + 1))
        begin, end = max(0, 8 * inside[0] - 7) / fps, (8 * inside[-1] + 1) / fps
        assert begin <= start + 1e-5 and end >= min(start + length, film.total / fps) - 1e-5
        assert begin > start - 8 / fps - 1e-5 and end < start + length + 8 / fps + 1e-5

    def test_the_vendors_example(self):
        """24 frames a second, from 1 to 2 s: latent frames 3 to 6, latents 25 to 50 of the sound."""
        film = GivenFilm(pictures(73), 24.0, sound(), ((1.0, 2.0),))
        assert film.video_mask(geometry(film))[0, :, 0, 0].nonzero().flatten().tolist() == [3, 4, 5, 6]
        assert film.audio_mask(geometry(film))[0].nonzero().flatten().tolist() == list(range(25, 51))

    def test_what_is_kept_has_no_window(self):
        film = GivenFilm(pictures(17), 8.0, sound(), new_picture=False)
        assert not film.video_mask(geometry(film)).any() and film.audio_mask(geometry(film)).all()
        film = GivenFilm(pictures(17), 8.0, sound(), new_sound=False)
        assert film.video_mask(geometry(film)).all() and not film.audio_mask(geometry(film)).any()


class TestMask:
    @QUICK
    @given(
        frames=st.integers(1, 20),
        cells=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        before=st.integers(0, 1),
        after=st.integers(0, 1),
        each=st.booleans(),
        half=st.booleans(),
        seed=st.integers(0, 2**31),
    )
    def test_a_cell_is_kept_only_if_every_pixel_is(self, frames, cells, before, after, each, half, seed):
        """The largest value of the pixels behind it in space and time, at the size of the film and at half of it.

        Frames that are added are made anew as a whole.
        """
        random = torch.Generator().manual_seed(seed)
        side = 64 if half else 32
        height, width = (count * side for count in cells)
        values = torch.rand(frames if each else 1, height, width, generator=random)
        values *= torch.rand(values.shape, generator=random) < 2 / side**2  # few pixels: some cells have none
        assume(values.any())
        film = GivenFilm(pictures(frames, height, width), 8.0, None, mask=values, before=8 * before, after=8 * after)
        mask = film.video_mask(geometry(film, cells[1] * 32, cells[0] * 32))[0]
        for cell in range(mask.shape[0]):
            sources = [film.source(frame) for frame in range(max(0, 8 * cell - 7), 8 * cell + 1)]
            for y, x in ((y, x) for y in range(cells[0]) for x in range(cells[1])):
                area = values[:, y * side : (y + 1) * side, x * side : (x + 1) * side]
                own = [1.0 if source is None else area[source if each else 0].max().item() for source in sources]
                assert mask[cell, y, x].item() == max(own)

    @QUICK
    @given(
        size=st.tuples(st.integers(40, 200), st.integers(40, 200)),
        cells=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        data=st.data(),
    )
    def test_one_pixel_of_a_film_of_any_size_is_seen_where_it_falls(self, size, cells, data):
        """The picture is scaled to cover the stage's, and its middle cut out."""
        (height, width), (rows, columns) = size, cells
        y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        values = torch.zeros(1, height, width)
        values[0, y, x] = 1
        film = GivenFilm(pictures(1, height, width), 8.0, mask=values)
        mask = film.video_mask(geometry(film, columns * 32, rows * 32))[0, 0]
        scale = max(32 * rows / height, 32 * columns / width)
        sides = math.ceil(height * scale), math.ceil(width * scale)

        def reached(place: int, source: int, side: int, target: int) -> tuple[float, float]:
            corner = (side - target) // 2
            return place * side / source - corner, (place + 1) * side / source - corner

        up, down = reached(y, height, sides[0], 32 * rows)
        left, right = reached(x, width, sides[1], 32 * columns)
        for row in range(rows):
            for column in range(columns):
                over = min(down - 32 * row, 32 * row + 32 - up, right - 32 * column, 32 * column + 32 - left)
                if abs(over) > 1.01:  # pixels of the scaled picture: nearer than that, rounding decides
                    assert mask[row, column].item() == (over > 0)
                elif over > 0.01:
                    assert mask[row, column].item() == 1

    def test_it_counts_inside_the_windows_alone(self):
        values = torch.zeros(1, 64, 64)
        values[0, 40, 10] = 0.25
        film = GivenFilm(pictures(33, 64, 64), 8.0, None, ((1.2, 2.0),), mask=values)
        mask = film.video_mask(geometry(film, 64, 64))[0]
        assert mask[:, 1, 0].tolist() == [0, 0, 0.25, 0, 0] and mask.sum() == 0.25

    def test_the_sound_has_none(self):
        values = torch.zeros(1, 2, 2)
        values[0, 0, 0] = 1
        film = GivenFilm(pictures(17), 8.0, sound(), mask=values)
        assert film.audio_mask(geometry(film)).all()


FRAMES = pictures(17)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"frames": torch.zeros(17, 2, 2)}, r"shape \(17, 2, 2\), expected \(frames, height, width, 3\)"),
            ({"frames": torch.zeros(17, 3, 2, 2)}, r"shape \(17, 3, 2, 2\), expected"),
            ({"frames": torch.zeros(0, 2, 2, 3)}, r"shape \(0, 2, 2, 3\)"),
            ({"frames": torch.zeros(17, 2, 2, 3, dtype=torch.uint8)}, "torch.uint8, expected floats in 0..1"),
            ({"frames": torch.full((17, 2, 2, 3), torch.nan)}, "values that are not numbers"),
            ({"frames": torch.cat((FRAMES[:16], torch.full((1, 2, 2, 3), torch.inf)))}, "values that are not numbers"),
            ({"fps": 0.0}, "fps is 0.0, expected 1 to 1000"),
            ({"fps": math.nan}, "fps is nan"),
            ({"before": 4}, "before is 4 frames, expected a multiple of 8"),
            ({"after": -8}, "after is -8 frames, expected a multiple of 8 from 0"),
            ({"new_picture": False, "new_sound": False}, "Neither picture nor sound is made anew"),
            ({"windows": ((1.0, 1.0),)}, "from 1 to 1 s; its end must be the later one"),
            ({"windows": ((math.nan, 1.0),)}, "end must be the later one"),
            ({"windows": ((0.0, 0.5), (1.5, 1.25))}, "from 1.5 to 1.25 s; its end must be the later one"),
            ({"windows": ((2.125, 3.0),)}, r"from 2.125 to 3 s lies outside the film, which lasts 2\.12 s"),
            ({"windows": ((-1.0, 0.0),)}, "lies outside the film"),
            ({"mask": torch.ones(1, 2, 3)}, r"mask has shape \(1, 2, 3\), expected \(1 or 17, 2, 2\)"),
            ({"mask": torch.ones(2, 2, 2)}, r"mask has shape \(2, 2, 2\)"),
            ({"mask": torch.ones(2, 2)}, r"mask has shape \(2, 2\)"),
            ({"mask": torch.full((1, 2, 2), 1.5)}, "leaves 0 to 1"),
            ({"mask": torch.full((1, 2, 2), torch.nan)}, "leaves 0 to 1"),
            ({"mask": torch.zeros(1, 2, 2)}, "mask is empty"),
        ],
    )
    def test_what_is_no_film_or_makes_nothing(self, changes, words):
        with pytest.raises(LTXError, match=words):
            GivenFilm(**{"frames": FRAMES, "fps": 8.0, **changes})

    def test_a_mask_that_is_painted_outside_the_window(self):
        mask = torch.zeros(17, 2, 2)
        mask[7] = 1
        assert (
            GivenFilm(FRAMES, 8.0, None, ((0.95, 2.0),), mask=mask).video_mask(geometry(GivenFilm(FRAMES, 8.0))).any()
        )
        with pytest.raises(ConditioningError, match="empty wherever the film is made anew"):
            GivenFilm(FRAMES, 8.0, None, ((1.0, 2.0),), mask=mask)

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            ({}, "Nothing is added"),
            ({"before": -1.0, "after": 1.0}, "before is -1 s, expected"),
            ({"after": math.nan}, "after is nan s"),
            ({"after": math.inf}, "after is inf s"),
            ({"after": 1.0, "overlap": -0.5}, "overlap is -0.5 s"),
        ],
    )
    def test_what_cannot_be_added(self, seconds, words):
        with pytest.raises(ConditioningError, match=words):
            GivenFilm.added(FRAMES, 8.0, **seconds)
        with pytest.raises(ConditioningError, match="shape"):
            GivenFilm.added(torch.zeros(17, 2, 2), 8.0, after=1.0)
        with pytest.raises(LTXError, match="fps is 0"):
            GivenFilm.added(FRAMES, 0.0, after=1.0)

    def test_a_film_of_another_length_or_rate(self):
        film = GivenFilm(pictures(20), 24000 / 1001, before=8, after=0)
        film.check(33, 23.976)
        with pytest.raises(ConditioningError, match="has 23.976 frames a second, the film is made at 24"):
            film.check(33, 24.0)
        with pytest.raises(ConditioningError, match=r"needs 33 frames \(20 of its own\), the film is made with 25"):
            film.check(25, 23.976)

    def test_what_does_not_go_beside_it(self):
        kept = GivenFilm(FRAMES, 8.0, new_picture=False)
        longer = GivenFilm.added(FRAMES, 8.0, after=1.0)
        part = GivenFilm(FRAMES, 8.0)
        for film in (longer, part):
            film.check_beside(True, images=True, sound=True)
        for film in (kept, part):
            film.check_beside(False, images=False, sound=False)
        with pytest.raises(ConditioningError, match="first sigma is below 1: set denoise to 1"):
            longer.check_beside(False, images=False, sound=False)
        with pytest.raises(ConditioningError, match="images in it change nothing"):
            kept.check_beside(True, images=True, sound=False)
        with pytest.raises(ConditioningError, match="nothing is left to make"):
            kept.check_beside(True, images=False, sound=True)
