"""A film on disk: opened again, it has the frames, the rate and the sound that it was given."""

import pytest
import torch

from ltx_duo.ltx_core import film
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.film import write_film
from ltx_duo.ltx_core.request import Result

RATE = 48000


def result(frames=25, height=64, width=96, fps=24.0, channels=2, rate=RATE) -> Result:
    """The left half goes from black to white and the right half is red; one tone a channel."""
    pixels = torch.zeros(frames, height, width, 3)
    pixels[:, :, : width // 2] = torch.linspace(0, 1, frames)[:, None, None, None]
    pixels[:, :, width // 2 :, 0] = 1.0
    time = torch.arange(round(frames / fps * rate)) / rate
    tones = [0.5 * torch.sin(2 * torch.pi * (440 * (1 + channel)) * time) for channel in range(channels)]
    return Result(pixels, fps, torch.stack(tones)[None], rate, None, None)


def read(path):
    """Frames (F, H, W, 3) in 0..1, their times in seconds, and samples (channels, N) of a file."""
    import av
    import numpy as np

    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    times, pictures = zip(*frames, strict=True)
    return torch.tensor(np.stack(pictures)).float() / 255, times, torch.tensor(sound)


def loudest(samples: torch.Tensor, rate: int) -> float:
    return (torch.fft.rfft(samples).abs().argmax() * rate / len(samples)).item()


@pytest.mark.parametrize("fps", [1.0, 23.976, 24.0, 30000 / 1001, 60.0])
@pytest.mark.parametrize("channels, rate", [(2, 48000), (1, 16000)])
def test_a_film_holds_what_it_was_given(fps, channels, rate, tmp_path):
    given = result(9, fps=fps, channels=channels, rate=rate)
    write_film(given, tmp_path / "film.mp4")
    frames, times, sound = read(tmp_path / "film.mp4")
    assert frames.shape == given.frames.shape
    assert (frames - given.frames).abs().mean() < 0.02
    assert times == pytest.approx([number / fps for number in range(9)], abs=1e-4)
    assert sound.shape[0] == channels
    assert sound.shape[1] == pytest.approx(given.waveform.shape[2], abs=2 * 1024)  # blocks of AAC
    for channel in range(channels):
        assert loudest(sound[channel], rate) == pytest.approx(440 * (1 + channel), rel=0.01)


def test_values_beyond_white_and_black_are_cut_off(tmp_path):
    given = result(9)
    wide = Result(given.frames * 3 - 1, given.fps, given.waveform, RATE, None, None)
    write_film(wide, tmp_path / "film.mp4")
    frames, *_ = read(tmp_path / "film.mp4")
    assert (frames - wide.frames.clamp(0, 1)).abs().mean() < 0.02


def test_a_film_takes_the_place_of_another_once_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    def stop(*_, **__):
        assert path.read_bytes() == b"old"
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(film, "_bytes", stop)
        write_film(result(9), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
    write_film(result(9), str(path))
    assert len(read(path)[0]) == 9
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    "given, words",
    [
        (result(9, height=65), "96x65.*even sides"),
        (result(9, width=63), "63x64.*even sides"),
        (result(9, channels=3), r"\(1, 3, 18000\)"),
        (result(9, rate=12345), "sampling rate"),
        (Result(torch.zeros(9, 64, 3), 24.0, torch.zeros(1, 2, 100), RATE, None, None), r"\(9, 64, 3\)"),
        (Result(torch.full((9, 64, 64, 3), torch.nan), 24.0, torch.zeros(1, 2, 100), RATE, None, None), "frames hold"),
        (Result(torch.zeros(9, 64, 64, 3), 24.0, torch.full((1, 2, 9), torch.inf), RATE, None, None), "waveform hold"),
    ],
)
def test_what_no_film_can_hold_is_refused(given, words, tmp_path):
    with pytest.raises(LTXError, match=words):
        write_film(given, tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LTXError, match="no folder .*nowhere"):
        write_film(result(9), tmp_path / "nowhere" / "film.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(LTXError, match="cannot be written to .*folder.mp4"):
        write_film(result(9), tmp_path / "folder.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.mp4"]
