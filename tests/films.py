"""Films that the shipped workflows make on a real server with the small model, for tests/server."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ltx_duo.scripts.demo import models, photo
from ltx_duo.scripts.demo.client import Client, set_inputs
from ltx_duo.scripts.demo.server import PACK, ComfyServer

WORKFLOWS = PACK / "workflows"
SMALL = {"width": 192, "height": 128, "frames": 17, "steps": 2, "seed": 3}
SHORT_SOUND = {"seconds": 0.6, "steps": 2, "seed": 3}
IMAGE = "lake.png"


@dataclass(frozen=True)
class Film:
    """What a workflow made.  Its frames are saved beside the MP4, because H.264 encoding varies from run to run."""

    path: Path
    pictures: np.ndarray  # (frames, height, width, 3) uint8
    sound: np.ndarray  # (channels, samples) float32

    def same_as(self, other: "Film") -> bool:
        return np.array_equal(self.pictures, other.pictures) and np.array_equal(self.sound, other.sound)


def run_film(client: Client, prompt: dict, folder: Path) -> Film:
    decode = next(node for node, entry in prompt.items() if entry["class_type"] == "LTXDuoAVDecode")
    frames = {"class_type": "SaveImage", "inputs": {"images": [decode, 1], "filename_prefix": "frame"}}
    files = client.run({**prompt, "frames": frames}).files()
    paths = [client.fetch(file, folder / file["filename"]) for file in files]
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(paths) if path.suffix == ".png"])
    (path,) = [path for path in paths if path.suffix == ".mp4"]
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    return Film(path, pictures, sound)


@pytest.fixture(scope="session")
def workflow(small_model) -> Callable[[str], dict]:
    """A shipped workflow in API format, with the small model, a small size and a few steps."""

    def load(name: str, **changes) -> dict:
        prompt = json.loads((WORKFLOWS / "api" / f"{name}.api.json").read_text())
        models.choose(prompt, small_model)
        if name == "text-to-sound":
            set_inputs(prompt, "LTXDuoSoundSampler", **{**SHORT_SOUND, **changes})
        elif name != "continue-from-preview":
            (sampler,) = [e["inputs"] for e in prompt.values() if e["class_type"] == "LTXDuoStageOneSampler"]
            small = {**SMALL, **changes}.items()  # but for what comes from a sound or a film
            sampler.update({key: value for key, value in small if not isinstance(sampler[key], list)})
        if name in ("image-to-video", "sound-to-video"):
            set_inputs(prompt, "LoadImage", image=IMAGE)
        return prompt

    return load


def furnish(server: ComfyServer, small_model: dict[str, Path]) -> Client:
    models.link(small_model, server.base / "models")
    photo.draw(server.base / "input" / IMAGE, 240, 160)
    return Client(server.url, server.check_alive)


@pytest.fixture(scope="session")
def film_on(small_model) -> Callable[[ComfyServer, dict, Path], Film]:
    """Runs a prompt on a server of the test's own."""
    return lambda server, prompt, folder: run_film(furnish(server, small_model), prompt, folder)


@pytest.fixture(scope="session")
def make(server, small_model, tmp_path_factory) -> Callable[[dict], Film]:
    """Runs a prompt on the server and reads the film that it saves."""
    client = furnish(server, small_model)
    return lambda prompt: run_film(client, prompt, tmp_path_factory.mktemp("film"))


@pytest.fixture(scope="session")
def film(make, workflow) -> Film:
    return make(workflow("image-to-video"))


@pytest.fixture(scope="session")
def text_film(make, workflow) -> Film:
    return make(workflow("text-to-video"))
