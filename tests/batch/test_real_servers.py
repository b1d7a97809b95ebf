"""The script on two real ComfyUIs with the small model, one of which is killed in the middle."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from ltx_duo.scripts.demo import media, models, photo
from ltx_duo.scripts.demo.server import PACK, ComfyServer, make_base
from ltx_duo.tests.servers import running, write_tone

from .conftest import films, manifest, small_jobs, write_jobs

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Place:
    servers: tuple[ComfyServer, ComfyServer]
    workflow: Path

    def options(self) -> list[str]:
        return [
            "--servers",
            *(urlsplit(server.url).netloc for server in self.servers),
            "--workflow",
            str(self.workflow),
        ]


@pytest.fixture
def place(server, small_model, tmp_path) -> Place:
    """Two servers with the small model, of which the second is the test's own, and a workflow with its files."""
    prompt = json.loads((PACK / "workflows" / "api" / "text-to-video.api.json").read_text())
    models.choose(prompt, small_model)
    workflow = tmp_path / "small.api.json"
    workflow.write_text(json.dumps(prompt))
    base = make_base(tmp_path / "comfyui")
    for folder in (server.base, base):
        models.link(small_model, folder / "models")
    for own in running(ComfyServer(base)):
        yield Place((server, own), workflow)


def wait_until_at_work(server: ComfyServer) -> None:
    while True:
        with urlopen(f"{server.url}/queue") as answer:
            if json.load(answer)["queue_running"]:
                return
        time.sleep(0.1)


@pytest.mark.timeout(600)
def test_the_films_of_a_killed_server_are_made_by_the_other(place, start_batch, tmp_path):
    photo.draw(tmp_path / "lake.png", 96, 64)
    write_tone(tmp_path / "tone.wav", seconds=0.4)
    listed, out = small_jobs(8), tmp_path / "films"
    listed[0] |= {"image": ["lake.png", {"path": "lake.png", "frame": -1, "strength": 0.5}], "guidance": "none"}
    listed[1] |= {"sound": "tone.wav", "guidance": {"video_cfg": 2, "stg_blocks": [1]}, "tiling": "tiles"}
    listed[2] |= {
        "stage_one_sound": False,
        "negative_prompt": "dull",
        "set": {"LTXDuoStageTwoSampler.noise": "new seed"},
    }
    listed[3] |= {"guidance": {"stg_blocks": [47]}}  # a block that the small model does not have
    process = start_batch(write_jobs(tmp_path / "jobs.jsonl", listed), "--out", out, *place.options())
    wait_until_at_work(place.servers[1])
    place.servers[1].stop()
    said = process.stdout.read()
    assert process.wait() == 1, said
    assert "server 2 was lost" in said
    assert "the model has blocks 0 to 3" in said
    assert films(out) == [f"film-{number:02}.mp4" for number in range(8) if number != 3]
    entries = {entry["name"]: entry for entry in manifest(out)}
    assert len(entries) == len(manifest(out)) == 8
    assert [name for name, entry in entries.items() if entry["status"] == "failed"] == ["film-03"]
    for name in ("film-00", "film-01", "film-07"):
        info = media.probe(out / f"{name}.mp4")
        assert (info.width, info.height, info.frames, info.video_codec) == (128, 128, 9, "h264")
    sound, rate = media.read_sound(out / "film-01.mp4")
    assert rate == 22050
    assert abs(sound).max() > 0.1
