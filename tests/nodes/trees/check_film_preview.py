"""The small film that the decode node plays when no other node takes the video."""

import os
import resource
from fractions import Fraction
from pathlib import Path

import av
import folder_paths
import pytest
import torch

from ltx_duo.nodes.comfyui import film_preview
from ltx_duo.nodes.prompt_graph import PromptGraph


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


def video(images: torch.Tensor, rate: int = 24, sample_rate: int = 48000):
    from comfy_api.latest import InputImpl, Types

    sound = {"waveform": torch.rand(1, 2, 48000) - 0.5, "sample_rate": sample_rate}
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=sound, frame_rate=Fraction(rate)))


def test_film_is_small_and_whole(temp):
    images = torch.rand(9, 2, 3, 3).repeat_interleave(320, 1).repeat_interleave(512, 2)  # 640 x 1536
    entry = film_preview.save(video(images))
    assert entry["type"] == "temp" and entry["subfolder"] == ""
    with av.open(str(temp / entry["filename"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 9 and frames[0].shape == (212, 512, 3)
    with av.open(str(temp / entry["filename"])) as container:
        assert container.streams.audio[0].sample_rate == 48000
    second = film_preview.save(video(images))
    assert second["filename"] != entry["filename"]


@pytest.mark.parametrize(
    ("size", "result"), [((64, 128), (64, 128)), ((513, 300), (256, 150)), ((1024, 1536), (340, 512))]
)
def test_shrinking_averages_and_keeps_sides_even(size, result):
    images = torch.rand(2, *size, 3)
    small = film_preview.shrink(images)
    assert small.shape == (2, *result, 3)
    factor = -(-max(size) // 512)
    torch.testing.assert_close(small[1, 3, 5], images[1, 3 * factor :, 5 * factor :][:factor, :factor].mean((0, 1)))


def test_a_full_disk_costs_nothing_but_the_preview(monkeypatch, caplog):
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: "/dev/null/nowhere")
    assert film_preview.save(video(torch.rand(9, 64, 64, 3))) is None
    assert "could not be written" in caplog.text


@pytest.fixture
def small_disk():
    """Sets the most bytes that a file may have."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def descriptors(folder: Path) -> list[str]:
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [target for link in links if os.path.islink(link) and (target := os.readlink(link)).startswith(str(folder))]


@pytest.mark.parametrize("space", [0, 4096])
def test_a_disk_that_fills_up_keeps_nothing(temp, small_disk, caplog, space):
    film = video(torch.rand(9, 256, 256, 3))
    small_disk(space)
    assert film_preview.save(film) is None
    assert "could not be written" in caplog.text
    assert os.listdir(temp) == [] and descriptors(temp) == []


@pytest.mark.parametrize("film", [{"rate": 0}, {"sample_rate": 7}, {"images": torch.rand(9, 1, 64, 3)}])
def test_what_cannot_be_encoded_costs_nothing_but_the_preview(temp, caplog, film):
    assert film_preview.save(video(**{"images": torch.rand(9, 64, 64, 3), **film})) is None
    assert "could not be written" in caplog.text
    assert os.listdir(temp) == [] and descriptors(temp) == []


def test_who_is_used():
    graph = PromptGraph(
        {
            "1": {"class_type": "A", "inputs": {}},
            "2": {"class_type": "B", "inputs": {"x": ["1", 1], "y": 3}},
            "3": {"class_type": "C", "inputs": {"x": "1"}},
        }
    )
    assert graph.is_used("1")
    assert not graph.is_used("2") and not graph.is_used("3")


def test_a_film_that_cannot_even_be_made_small_is_told(monkeypatch, caplog):
    def fail(images):
        raise MemoryError("no room")

    monkeypatch.setattr(film_preview, "shrink", fail)
    assert film_preview.save(video(torch.rand(1, 64, 64, 3))) is None
    assert "could not be written: no room" in caplog.text
