"""What `demo.sh` makes with the trained model: what was asked for is seen and heard."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx_duo.scripts.demo import command, gallery, media, models, progress
from ltx_duo.scripts.demo.server import PACK
from ltx_duo.tests.server.drawn import SQUARE, STAR, save_film, words

SURE = 28.0  # dB: how like the given picture the first frame is, after two stages, decoding and H.264


def run_demo(*arguments: str) -> subprocess.CompletedProcess:
    """`demo.sh` without its set-up, which the tests have behind them."""
    environment = {**os.environ, "PYTHONPATH": str(PACK / "scripts")}
    line = [sys.executable, "-m", "demo", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600)


def likeness(frame: Image.Image, picture: Image.Image) -> float:
    """PSNR in dB."""
    error = np.asarray(frame.convert("RGB"), float) - np.asarray(picture.convert("RGB").resize(frame.size), float)
    return float(10 * np.log10(255**2 / np.square(error).mean()))


@pytest.fixture(scope="module")
def studio(server, client) -> command.Studio:
    """The trained model on the tests' server."""
    found = models.trained()
    models.link(found, server.base / "models")
    return command.Studio(client, server.base, found, command.SIZE, progress.Clock())


@pytest.fixture(scope="module")
def default_film(tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a run without a prompt, and what its last line says."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_demo("--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder.resolve(), json.loads(done.stdout.splitlines()[-1])


def test_without_arguments_there_is_a_film_with_its_sheet(default_film):
    folder, said = default_film
    assert (said["width"], said["height"], said["frames"], said["fps"]) == (256, 256, 33, 24.0)
    assert Path(said["path"]).parent == Path(said["contact_sheet"]).parent == folder
    assert len(media.read_frames(Path(said["path"]))) == 33
    assert Image.open(said["contact_sheet"]).width > 1000


def test_without_arguments_a_red_star_moves_to_the_left_with_its_tone(default_film):
    assert words(Path(default_film[1]["path"])) == ("red", "star", "left", "star")


def test_picture_of_a_blue_square_stays_one(studio, tmp_path):
    film = tmp_path / "film.mp4"
    studio.make("a blue square moving to the right, medium tone", gallery.BLUE_SQUARE, film)
    assert words(film) == ("blue", "square", "right", "square")
    assert likeness(media.read_frames(film)[0], Image.open(gallery.BLUE_SQUARE)) > SURE


def test_drawn_films_would_do(tmp_path):
    """So that what the tests above ask for can be given."""
    star, square = (save_film(scene, tmp_path / f"{scene.shape}.mp4", 256) for scene in (STAR, SQUARE))
    assert words(star) == ("red", "star", "left", "star")
    assert words(square) == ("blue", "square", "right", "square")
    assert likeness(media.read_frames(square)[0], Image.open(gallery.BLUE_SQUARE)) > SURE


def test_random_weights_show_and_sound_like_nothing(text_film):
    """So that the tests above cannot be passed by a detector that sees stars everywhere."""
    assert not set(words(text_film.path)) & {"red", "star", "left", "blue", "square", "right"}


MISSING = {
    "nowhere.png is not there": {"image": Path("nowhere.png")},
    "nowhere is no folder": {"models": Path("nowhere")},
    "lacks .*\n  checkpoint: ltx-2.3-22b-dev-fp8.safetensors .29 GB. from": {"models": Path(".")},
}


@pytest.mark.parametrize("said", MISSING)
def test_missing_file_is_named_before_a_server_starts(said, tmp_path, monkeypatch):
    missing = MISSING[said]
    monkeypatch.chdir(tmp_path)
    options = {"out": tmp_path, "prompt": None, "image": None, "models": None, "gallery": None}
    monkeypatch.setattr(command, "ComfyServer", None)
    with pytest.raises((command.DemoError, models.ModelsMissing), match=said):
        command.make_film(Namespace(**options | missing))
