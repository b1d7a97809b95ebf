"""The workflows of LTX-2.5 and LTX-2.0 as they are shipped, on a real server with small models of both."""

import json

import av
import numpy as np
import pytest

from ltx_duo.scripts.demo.client import set_inputs
from ltx_duo.tests.films import WORKFLOWS, run_film
from ltx_duo.tests.servers import NAMES

SMALL = {"width": 128, "height": 64, "frames": 9, "steps": 1, "seed": 3}
NEW = [name for name in NAMES if name.endswith(("-2-5", "-2-0"))]


@pytest.fixture
def shipped(furnished_server):
    """The workflow as it is shipped, files and all, at a small size; what comes through a link stays."""

    def load(name: str) -> dict:
        prompt = json.loads((WORKFLOWS / "api" / f"{name}.api.json").read_text())
        (sampler,) = (e["inputs"] for e in prompt.values() if e["class_type"] == "LTXDuoStageOneSampler")
        sampler.update({key: value for key, value in SMALL.items() if not isinstance(sampler[key], list)})
        # The shortest film: how long one is that the small model's random head asks for tells nothing.
        set_inputs(prompt, "LTXDuoPromptLength", shortest=0.3, longest=0.4)
        return prompt

    return load


@pytest.mark.parametrize("name", NEW)
def test_makes_a_film_with_sound(name, shipped, client, tmp_path):
    prompt = shipped(name)
    film = run_film(client, prompt, tmp_path)
    lengths = [entry for entry in prompt.values() if entry["class_type"] == "LTXDuoPromptLength"]
    assert film.pictures.shape == (9, 64, 128, 3) and film.pictures.std() > 5
    assert np.isfinite(film.sound).all() and np.abs(film.sound).max() > 1e-4
    assert bool(lengths) == (name == "text-to-video-2-5")
    with av.open(str(film.path)) as container:
        assert container.streams.audio[0].sample_rate == (24000 if name.endswith("2-0") else 48000)
