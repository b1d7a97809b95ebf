"""A film as a file: its frames, its rate and its sound are those of the result."""

import sys
from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core import film
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.film import write_film
from ltx_duo.ltx_core.image_compression import pyav
from ltx_duo.ltx_core.request import Result
from ltx_duo.ltx_core.sampling.stage import AVLatent

RATE, SECONDS, TONE = 24000, 9 / 24, 440.0
NONE = AVLatent(torch.zeros(0), None)


def result(frames: torch.Tensor, fps: float = 24.0) -> Result:
    """Frames, with a tone in the left ear and silence in the right."""
    times = torch.arange(round(SECONDS * RATE)) / RATE
    left = 0.5 * torch.sin(2 * torch.pi * TONE * times)
    return Result(frames, fps, torch.stack((left, torch.zeros_like(left)))[None], RATE, NONE, NONE)


def greys(*values: float) -> torch.Tensor:
    """Frames (N, 64, 96, 3) of one grey each."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 64, 96, 3)


@pytest.fixture
def written(tmp_path):
    """Writes a result, and reads the file: (rate, frames (N, H, W, 3) 0..255, sound (2, N), its rate)."""

    def write(of: Result, name: str = "film.mp4"):
        write_film(of, tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        av = pyav("A test")
        with av.open(str(tmp_path / name)) as container:
            rate = container.streams.video[0].average_rate
            sound_rate = container.streams.audio[0].rate
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        with av.open(str(tmp_path / name)) as container:
            sound = [torch.from_numpy(frame.to_ndarray()) for frame in container.decode(audio=0)]
        return rate, torch.stack([torch.from_numpy(frame) for frame in frames]), torch.cat(sound, dim=1), sound_rate

    return write


def test_each_frame_is_there_in_its_order_and_brightness(written):
    values = [0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4, 0.6]
    _, frames, _, _ = written(result(greys(*values)))
    assert frames.shape == (9, 64, 96, 3)
    assert frames.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([255 * value for value in values], abs=4)


def test_left_is_left_and_above_is_above_and_red_is_red(written):
    frames = torch.zeros(9, 64, 96, 3)
    frames[:, :32, :48, 0] = 1.0
    _, found, _, _ = written(result(frames))
    corner = found[4, 8:24, 8:40].float().mean(dim=(0, 1))
    assert corner[0] > 200 and corner[1:].max() < 60
    assert found[4, 40:, 56:].float().mean() < 20


def test_values_outside_are_the_nearest_that_can_be_shown(written):
    _, frames, _, _ = written(result(greys(*[-0.3] * 4, *[1.3] * 5)))
    shades = frames.float().mean(dim=(1, 2, 3))
    assert shades[:4].max() < 8 and shades[4:].min() > 247


@pytest.mark.parametrize("fps", [1.0, 24.0, 30.0, 23.976, 24000 / 1001, 12.5])
def test_a_film_runs_at_its_own_rate(written, fps):
    assert float(written(result(greys(*[0.5] * 9), fps))[0]) == pytest.approx(fps, rel=1e-9)


def test_sound_keeps_its_pitch_length_and_sides(written):
    _, _, sound, rate = written(result(greys(*[0.5] * 9)))
    assert rate == RATE and sound.shape[0] == 2
    # AAC pads at both ends by up to two of its blocks of 1024.
    assert 0 <= sound.shape[1] - SECONDS * RATE <= 2 * 1024 + 1024
    left, right = sound[:, 2048:8192].float()
    strongest = torch.fft.rfft(left * torch.hann_window(len(left))).abs().argmax() * RATE / len(left)
    assert strongest.item() == pytest.approx(TONE, abs=RATE / len(left))
    assert left.std() == pytest.approx(0.5 / 2**0.5, rel=0.1) and right.abs().max() < 0.02


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_one_channel_stays_one(written, rate):
    mono = replace(result(greys(*[0.5] * 9)), sample_rate=rate)
    mono = replace(mono, waveform=mono.waveform[:, :1])
    _, _, sound, found = written(mono)
    assert found == rate and sound.shape[0] == 1
    assert sound.std() > 0.2


def test_a_film_without_sound_has_no_track_for_it(tmp_path):
    path = tmp_path / "film.mp4"
    write_film(replace(result(greys(0.2, *[0.8] * 8)), waveform=None, sample_rate=None), path)
    with pyav("A test").open(str(path)) as container:
        assert not container.streams.audio
        shades = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert shades == pytest.approx([0.2 * 255, *[0.8 * 255] * 8], abs=4)


def test_a_film_that_is_there_stays_until_the_new_one_is_whole(tmp_path, written, monkeypatch):
    """...and what was begun goes."""
    path, good = tmp_path / "film.mp4", result(greys(*[0.5] * 9))
    path.write_bytes(b"the old one")

    def stop(part, _):
        assert part.stat().st_size > 1000
        raise InterruptedError("in the midst")

    with monkeypatch.context() as patch, pytest.raises(LTXError, match="cannot be written to .*in the midst"):
        patch.setattr(film.os, "replace", stop)
        write_film(good, path)
    assert path.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [path]
    written(good)
    assert path.read_bytes() != b"the old one"


GREY = result(greys(*[0.5] * 9))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"frames": GREY.frames[:, :63]}, "96x63 pixels, expected even sides"),
        ({"frames": GREY.frames[:, :, :95]}, "95x64 pixels, expected even sides"),
        ({"frames": GREY.frames[0]}, r"frames have shape \(64, 96, 3\), expected"),
        ({"frames": GREY.frames * torch.nan}, "frames hold NaN or infinity"),
        ({"waveform": torch.zeros(1, 3, 100)}, r"waveform has shape \(1, 3, 100\), expected"),
        ({"waveform": torch.zeros(2, 100)}, r"waveform has shape \(2, 100\), expected"),
        ({"waveform": GREY.waveform * torch.inf}, "waveform hold NaN or infinity"),
        ({"sample_rate": 12345}, "a sampling rate that AAC has"),
    ],
)
def test_what_no_film_can_hold_is_refused(change, words, tmp_path):
    with pytest.raises(LTXError, match=words):
        write_film(replace(GREY, **change), tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(LTXError, match="no folder .*nowhere"):
        write_film(GREY, tmp_path / "nowhere" / "film.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(LTXError, match="cannot be written to .*folder.mp4"):
        write_film(GREY, tmp_path / "folder.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_without_pyav_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(LTXError, match="Writing a film needs PyAV: pip install av"):
        write_film(result(greys(0.5)), tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []
