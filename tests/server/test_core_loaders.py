"""The shipped workflow with ComfyUI's own loaders and text encode, on a ComfyUI whose own Gemma is small."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ltx_duo.scripts.demo import media
from ltx_duo.scripts.demo.client import Client, set_inputs
from ltx_duo.scripts.demo.server import ComfyServer
from ltx_duo.tests.films import run_film
from ltx_duo.tests.servers import WORKFLOWS

SMALL = {"width": 128, "height": 64, "frames": 9, "steps": 2, "seed": 3}


def workflow(name: str) -> dict:
    """As it is shipped, but for a small size and a few steps."""
    prompt = json.loads((WORKFLOWS / "api" / f"{name}.api.json").read_text())
    set_inputs(prompt, "LTXDuoStageOneSampler", **SMALL)
    return prompt


def ids(prompt: dict, node_type: str) -> list[str]:
    return [node for node, entry in prompt.items() if entry["class_type"] == node_type]


def with_features_saved(prompt: dict, name: str, **texts: list) -> dict:
    """The prompt, and nodes that write what `texts` give, by positive and negative."""
    save = {
        text: {"class_type": "TestSaveFeatures", "inputs": {"conditioning": link, "name": f"{name}-{text}.safetensors"}}
        for text, link in texts.items()
    }
    return {**prompt, **save}


def features(server: ComfyServer, name: str) -> torch.Tensor:
    return load_file(server.base / "output" / f"{name}.safetensors")["features"]


@pytest.fixture(scope="module")
def films(core_server, tmp_path_factory) -> tuple:
    """Of ComfyUI's loaders, and of ours on the same files with the same words."""
    client = Client(core_server.url, core_server.check_alive)
    core = workflow("from-core-loaders")
    (timed,) = ids(core, "LTXVConditioning")
    words = [core[core[timed]["inputs"][slot][0]]["inputs"]["text"] for slot in ("positive", "negative")]
    ours = workflow("image-to-video")
    set_inputs(ours, "LTXDuoTextEncode", prompt=words[0], negative_prompt=words[1])
    (text,) = ids(ours, "LTXDuoTextEncode")
    core = with_features_saved(core, "core", positive=[timed, 0], negative=[timed, 1])
    ours = with_features_saved(ours, "ours", positive=[text, 0], negative=[text, 1])
    return tuple(run_film(client, prompt, tmp_path_factory.mktemp("film")) for prompt in (core, ours))


def test_film_is_whole(films):
    info = media.probe(films[0].path)
    assert (info.video_codec, info.width, info.height, info.frames, info.fps) == ("h264", 128, 64, 9, 24.0)
    assert (info.audio_codec, info.sample_rate, info.channels) == ("aac", 48000, 2)


@pytest.mark.parametrize("text", ["positive", "negative"])
def test_text_of_comfyuis_clip_is_that_of_ours(films, core_server, text):
    core, ours = (features(core_server, f"{side}-{text}") for side in ("core", "ours"))
    assert core.shape == ours.shape and core.shape[2] == 128 + 64
    torch.testing.assert_close(core, ours, rtol=0, atol=1e-5 * ours.abs().max().item())


def test_film_of_comfyuis_loaders_is_that_of_ours(films):
    core, ours = films
    change = np.abs(core.pictures.astype(float) - ours.pictures)
    assert change.max() <= 2 and change.mean() < 1e-3  # of 255
    assert np.abs(core.sound - ours.sound).max() < 1e-3 * np.abs(ours.sound).max()
