"""Workflows without a browser: checked offline, run by comfy-cli and by the example client."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest

from ltx_duo.scripts.demo import media
from ltx_duo.scripts.demo.client import set_inputs
from ltx_duo.scripts.demo.server import PACK
from ltx_duo.tests.servers import NAMES, WORKFLOWS, shipped_words

VALIDATE_ALL = Path(__file__).with_name("validate_all.py")
WRONG = "wrong.api.json"
SMALL = {"width": 128, "height": 128, "frames": 9, "steps": 2}


@pytest.fixture(scope="session")
def object_info_file(furnished_server, client, tmp_path_factory) -> Path:
    """The nodes of a ComfyUI that has all files which the workflows name: models, and what other workflows saved."""
    names = [word.removesuffix(" [output]") for word in shipped_words() if word.endswith(" [output]")]
    missing = [path for name in names if not (path := furnished_server.base / "output" / name).exists()]
    for path in missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    file = tmp_path_factory.mktemp("offline") / "object_info.json"
    file.write_text(json.dumps(client.get("/object_info")))
    for path in missing:  # the next test that saves gets the name that its workflow expects
        path.unlink()
    return file


@pytest.fixture(scope="session")
def validated(command, object_info_file, tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Of each file of a workflow, and of one with a wrong value, the exit code of `comfy workflow validate` and its
    output."""
    wrong = tmp_path_factory.mktemp("wrong") / WRONG
    (right,) = WORKFLOWS.rglob("text-to-video.api.json")
    prompt = json.loads(right.read_text())
    set_inputs(prompt, "LTXDuoTextEncoderLoader", text_encoder="nowhere.safetensors")
    wrong.write_text(json.dumps(prompt))
    files = [*WORKFLOWS.rglob("*.json"), wrong]
    ran = command("python", str(VALIDATE_ALL), str(object_info_file), *map(str, files))
    assert ran.returncode == 0, ran.stdout
    return {Path(path).name: verdict for path, verdict in json.loads(ran.stdout).items()}


@pytest.mark.parametrize("ending", [".json", ".api.json"])
@pytest.mark.parametrize("name", NAMES)
def test_workflow_validates_offline(name, ending, validated):
    code, said = validated[name + ending]
    assert code == 0, said


def test_a_wrong_value_does_not_validate(validated):
    code, said = validated[WRONG]
    assert code == 1 and "nowhere.safetensors" in said


@pytest.fixture
def api_file(tmp_path) -> Path:
    """The text-to-video workflow in a small size."""
    (path,) = WORKFLOWS.rglob("text-to-video.api.json")
    prompt = json.loads(path.read_text())
    set_inputs(prompt, "LTXDuoStageOneSampler", **SMALL, seed=21)
    small = tmp_path / path.name
    small.write_text(json.dumps(prompt))
    return small


def test_comfy_run(furnished_server, command, api_file):
    address = urlsplit(furnished_server.url)
    before = set((furnished_server.base / "output").rglob("*.mp4"))
    where = ["--host", address.hostname, "--port", str(address.port)]
    ran = command("comfy", "run", "--workflow", str(api_file), "--wait", *where)
    assert ran.returncode == 0, ran.stdout
    (film,) = set((furnished_server.base / "output").rglob("*.mp4")) - before
    assert media.probe(film).frames == SMALL["frames"]


def run_client(server, *arguments: str) -> subprocess.CompletedProcess:
    address = urlsplit(server.url).netloc
    command = [sys.executable, str(PACK / "docs" / "client.py"), *arguments, "--server", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_example_client_shows_progress_and_saves_the_video(furnished_server, api_file, tmp_path):
    film = tmp_path / "film.mp4"
    prompt = json.loads(api_file.read_text())
    by_number = next(node for node, entry in prompt.items() if entry["class_type"] == "LTXDuoStageOneSampler")
    changes = ["LTXDuoStageOneSampler.frames=17", f"{by_number}.fps=12", "LTXDuoTextEncode.prompt=1 + 1 = 2"]
    ran = run_client(furnished_server, str(api_file), str(film), *(word for c in changes for word in ("--set", c)))
    assert ran.returncode == 0, ran.stderr
    assert "LTXDuoStageOneSampler: 100%" in ran.stdout
    info = media.probe(film)
    assert (info.frames, info.fps, info.sample_rate) == (17, 12.0, 48000)


def test_example_client_saves_a_sound(furnished_server, tmp_path):
    (path,) = WORKFLOWS.rglob("text-to-sound.api.json")
    sound = tmp_path / "sound.flac"
    changes = ["LTXDuoSoundSampler.seconds=0.6", "LTXDuoSoundSampler.steps=2"]
    ran = run_client(furnished_server, str(path), str(sound), *(word for c in changes for word in ("--set", c)))
    assert ran.returncode == 0, ran.stderr
    with av.open(str(sound)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert abs(samples / 48000 - 0.6) < 0.04


def test_example_client_prints_what_the_server_refuses(furnished_server, api_file, tmp_path):
    film = tmp_path / "film.mp4"
    ran = run_client(furnished_server, str(api_file), str(film), "--set", "LTXDuoStageOneSampler.width=100")
    assert ran.returncode == 1
    assert "width" in ran.stderr
    assert not film.exists()


def test_example_client_fits_on_a_screen():
    assert len((PACK / "docs" / "client.py").read_text().splitlines()) <= 60
