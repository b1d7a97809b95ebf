"""The workflows of LTX-2.5 and LTX-2.0 as they are shipped, on a real server with small models of both."""

import json

import av
import numpy as np
import pytest

from ltx_duo.scripts.demo import command, models, progress
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
        if name == "text-to-video-2-5":
            # How long a film the small model's random head asks for tells nothing.
            set_inputs(prompt, "LTXDuoPromptLength", shortest=0.3, longest=0.4)
        return prompt

    return load


@pytest.mark.parametrize("name", NEW)
def test_makes_a_film_with_sound(name, shipped, client, tmp_path):
    prompt = shipped(name)
    film = run_film(client, prompt, tmp_path)
    assert film.pictures.shape == (9, 64, 128, 3) and film.pictures.std() > 5
    assert np.isfinite(film.sound).all() and np.abs(film.sound).max() > 1e-4
    with av.open(str(film.path)) as container:
        assert container.streams.audio[0].sample_rate == (24000 if name.endswith("2-0") else 48000)


@pytest.mark.parametrize(("own", "rate"), [(models.MODEL_FILES_2_5, 48000), (models.MODEL_FILES_2_0, 24000)])
def test_demo_takes_a_folder_of_any_generation(own, rate, small_model, server, client, tmp_path):
    """The folder has all three; one that lacks the others' checkpoints is found by what it has."""
    folder = small_model["checkpoint"].parents[1]
    assert models.find(folder, sets=models.ALL_GENERATIONS) == small_model
    found = models.find(folder, sets=(own,))
    alone = tmp_path / "models"
    models.link(found, alone)
    assert {key: path.name for key, path in models.find(alone, sets=models.ALL_GENERATIONS).items()} == {
        key: path.name for key, path in found.items()
    }
    models.link(found, server.base / "models")
    sampling = {"width": 128, "height": 64, "frames": 9, "steps": 1}
    studio = command.Studio(client, server.base, found, sampling, progress.Clock())
    assert studio.make("a lake", None, tmp_path / "film.mp4").sample_rate == rate


def test_what_a_folder_lacks_is_said_of_the_generation_that_it_has_most_of(small_model, tmp_path):
    found = models.find(small_model["checkpoint"].parents[1], sets=(models.MODEL_FILES_2_5,))
    del found[models.AUDIO_VAE]
    models.link(found, tmp_path)
    with pytest.raises(models.ModelsMissing, match="audio VAE: ltx-2.5-audio-vae-bf16.safetensors from") as raised:
        models.find(tmp_path, sets=models.ALL_GENERATIONS)
    assert "LoRA" not in str(raised.value)
