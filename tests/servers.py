"""Real ComfyUI servers with this pack and the small model, shared by tests/server, tests/canvas and tests/registry."""

import json
import wave
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from ltx_duo.scripts.demo import models, photo
from ltx_duo.scripts.demo.client import Client
from ltx_duo.scripts.demo.server import OLDEST_COMFYUI, PACK, ComfyServer, make_base
from ltx_duo.scripts.demo.workflows import model_files
from ltx_duo.scripts.small_model_parts.write_split import split_files
from ltx_duo.tests import core_gemma
from ltx_duo.tests.server import drawn

LOG_TAIL = 40
PAINTED = (32, 32, 96, 96)
"""The square, in pixels of 128x128."""
PREVIEWS = ("--preview-method", "latent2rgb")  # off by default, and on with most people
WORKFLOWS = PACK / "workflows"
NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.rglob("*.api.json"))
SERVERS: list[ComfyServer] = []
FOLDERS = {Path(__file__).parent / name for name in ("canvas", "registry", "server")}

# The small models' files stand in for the official ones under their names: workflows run as they are shipped.
STAND_INS = (
    ("*upscaler*.safetensors", "upsampler"),
    ("*lora*.safetensors", "distilled LoRA"),
    ("ltx-2*.safetensors", "checkpoint"),
)

_SPLIT = split_files("ltx-2.5-small")
OTHER_GENERATIONS = {
    model_files.DEV_2_5: _SPLIT.transformer,
    model_files.DISTILLED_2_5: _SPLIT.transformer,
    model_files.TEXT_ENCODER_2_5: _SPLIT.text_encoder,
    model_files.VIDEO_VAE_2_5: _SPLIT.video_vae,
    model_files.AUDIO_VAE_2_5: _SPLIT.audio_vae,
    model_files.LORA_2_5: _SPLIT.lora,
    model_files.UPSAMPLER_2_5: _SPLIT.upsampler,
    model_files.DURATION_HEAD: _SPLIT.duration_head,
    model_files.DEV_2_0: Path("checkpoints", "ltx-2.0-small-dev.safetensors"),
    model_files.LORA_2_0: Path("loras", "ltx-2.0-small-distilled-lora.safetensors"),
    model_files.UPSAMPLER_2_0: Path("latent_upscale_models", "ltx-2.0-small-spatial-upscaler-x2.safetensors"),
}


def pytest_collection_modifyitems(items):
    for item in items:
        if FOLDERS.intersection(item.path.parents):
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and "server" in item.keywords:
        for server in SERVERS:
            tail = "\n".join(server.log().splitlines()[-LOG_TAIL:])
            report.sections.append((f"log of {server.comfyui.name}", tail))


def running(server: ComfyServer) -> Iterator[ComfyServer]:
    with server:
        SERVERS.append(server)
        yield server
        SERVERS.remove(server)


def shipped_words() -> set[str]:
    """Every text that is a value of an input in the shipped workflows."""
    prompts = [json.loads(path.read_text()) for path in WORKFLOWS.rglob("*.api.json")]
    values = [value for prompt in prompts for entry in prompt.values() for value in entry["inputs"].values()]
    return {value for value in values if isinstance(value, str)}


def stand_in(name: str) -> str | None:
    return next((what for pattern, what in STAND_INS if fnmatch(name, pattern)), None)


def write_tone(path: Path, seconds: float = 0.7, rate: int = 22050, hertz: float = 440.0) -> Path:
    """A WAV file of a stereo tone."""
    wave_form = np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", None))
        file.writeframes(np.repeat((8000 * wave_form).astype(np.int16), 2).tobytes())
    return path


def furnish(server: ComfyServer, small_model: dict[str, Path]) -> ComfyServer:
    """Gives a server all files that the workflows name: models, the image that ComfyUI ships, a sound, a film, and a
    frame of it with a painted square."""
    folder = small_model["checkpoint"].parents[1]
    for file, own in OTHER_GENERATIONS.items():
        if (folder / own).exists():
            target = server.base / "models" / file.folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to((folder / own).resolve())
    for name in filter(stand_in, shipped_words() - {file.name for file in OTHER_GENERATIONS}):
        what = stand_in(name)
        models.link({what: small_model[what]}, server.base / "models", {what: name})
    folder = small_model["text encoder"]  # beside it lies the same as one file
    file = server.base / "models" / "text_encoders" / model_files.GEMMA.name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to(folder.with_name(f"{folder.name}.safetensors").resolve())
    photo.draw(server.base / "input" / "example.png", 768, 512)
    write_tone(server.base / "input" / "speech.wav")
    drawn.save_film(drawn.STAR, server.base / "input" / "film.mp4", frames=17, width=192)
    drawn.save_painted(drawn.STAR, server.base / "input" / "painted.png", PAINTED)
    return server


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> dict[str, Path]:
    """The small model's files, by what they are (see scripts/demo/models.py)."""
    return models.find(models.write_small_model(tmp_path_factory.mktemp("small-model")))


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[ComfyServer]:
    """The pinned ComfyUI, or the one in COMFYUI_DIR."""
    yield from running(ComfyServer(make_base(tmp_path_factory.mktemp("pinned")), arguments=PREVIEWS))


@pytest.fixture(scope="session")
def furnished_server(server, small_model) -> ComfyServer:
    return furnish(server, small_model)


@pytest.fixture(scope="session")
def core_server(tmp_path_factory) -> Iterator[ComfyServer]:
    """A ComfyUI whose own Gemma is small, with files of the official forms under the official names."""
    base = make_base(tmp_path_factory.mktemp("core"))
    (base / "custom_nodes" / core_gemma.NODE.name).symlink_to(core_gemma.NODE)
    model = models.find(core_gemma.write_core_model(tmp_path_factory.mktemp("core-model")))
    for server in running(ComfyServer(base, arguments=PREVIEWS)):
        yield furnish(server, model)


@pytest.fixture(scope="session")
def oldest_server(tmp_path_factory) -> Iterator[ComfyServer]:
    """The oldest supported ComfyUI."""
    yield from running(ComfyServer(make_base(tmp_path_factory.mktemp("oldest")), OLDEST_COMFYUI))


@pytest.fixture(scope="session")
def client(server) -> Client:
    return Client(server.url, server.check_alive)


@pytest.fixture(scope="session")
def object_info(client) -> dict:
    return client.get("/object_info")


@pytest.fixture(scope="session")
def oldest_object_info(oldest_server) -> dict:
    return Client(oldest_server.url, oldest_server.check_alive).get("/object_info")
