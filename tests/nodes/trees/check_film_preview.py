"""The small film that the decode node plays when no other node takes the video."""

from fractions import Fraction

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


def video(images: torch.Tensor):
    from comfy_api.latest import InputImpl, Types

    sound = {"waveform": torch.rand(1, 2, 48000) - 0.5, "sample_rate": 48000}
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=sound, frame_rate=Fraction(24)))


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
