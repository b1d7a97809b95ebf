"""Jobs filled, checked and named, and what their hash depends on."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.scripts.batching import requests
from ltx_duo.scripts.batching.clips import differences, settle
from ltx_duo.scripts.batching.faults import Faults, JobFault
from ltx_duo.scripts.batching.jobs import ImageFile, Job, SoundFile
from ltx_duo.tests.servers import write_tone

MODEL = {"engine": {"checkpoint": "a.safetensors"}}
STAR = Job(1, "A red star, moving!", seed=3)


def settled(*jobs: Job, made_with=MODEL, check=lambda job, sound: None):
    return settle(list(jobs), requests.DEFAULTS, made_with, check)


def faults_of(*jobs: Job, **options) -> list[str]:
    with pytest.raises(Faults) as raised:
        settled(*jobs, **options)
    return raised.value.found


@pytest.fixture
def image(tmp_path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_what_a_job_leaves_out_is_filled():
    (clip,) = settled(Job(1, "a star", height=512))
    assert (clip.job.width, clip.job.height, clip.job.frames, clip.job.fps, clip.job.seed) == (1536, 512, 121, 24.0, 10)
    assert clip.settings["width"] == 1536
    assert clip.settings["made_with"] == MODEL


def test_a_film_lasts_as_long_as_its_sound(tmp_path):
    sound = SoundFile(write_tone(tmp_path / "tone.wav", seconds=2.0))
    lengths = [clip.job.frames for clip in settled(*(Job(1, "a", sound=sound, fps=fps) for fps in (24.0, 12.0)))]
    assert lengths == [49, 25]
    (clip,) = settled(Job(1, "a", sound=sound, frames=9))
    assert clip.job.frames == 9


def test_a_name_of_its_own_stays_when_lines_move():
    (clip,) = settled(STAR)
    assert clip.name == f"a-red-star-moving-{clip.digest[:10]}"
    moved = settled(Job(1, "another"), replace(STAR, line=2))[1]
    assert moved.name == clip.name
    (strange,) = settled(Job(1, "星 " * 100))
    assert strange.name == f"film-{strange.digest[:10]}"
    (long,) = settled(Job(1, "very " * 100))
    assert len(long.name) < 64


CHANGES = {
    "prompt": "A blue star",
    "negative_prompt": "",
    "width": 64,
    "height": 64,
    "frames": 9,
    "fps": 25.0,
    "steps": 3,
    "seed": 4,
    "guidance": {"video_cfg": 2.0},
    "stage_one_sound": False,
    "tiling": "whole",
    "inputs": {"A.b": 1},
}


@pytest.mark.parametrize("setting", CHANGES)
def test_the_hash_sees_every_setting(setting):
    (before,), (after,) = settled(STAR), settled(replace(STAR, **{setting: CHANGES[setting]}))
    assert after.digest != before.digest
    said = differences(before.settings, after.settings)
    assert said.startswith(f"{setting} was ")
    assert ", is " in said


def test_every_setting_is_tried():
    others = {"line", "name", "images", "sound"}
    assert CHANGES.keys() | others == Job.__dataclass_fields__.keys()


def test_the_hash_sees_the_model():
    assert settled(STAR)[0].digest != settled(STAR, made_with={"engine": {"checkpoint": "b.safetensors"}})[0].digest


def test_the_hash_sees_what_files_hold_and_not_where_they_lie(image, tmp_path):
    (before,) = settled(replace(STAR, images=(ImageFile(image),)))
    assert before.files[0].sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    moved = image.rename(tmp_path / "moved.png")
    assert settled(replace(STAR, line=9, name="sea", images=(ImageFile(moved),)))[0].digest == before.digest
    assert settled(replace(STAR, images=(ImageFile(moved, frame=-1),)))[0].digest != before.digest
    Image.new("RGB", (64, 64), "blue").save(moved)
    assert settled(replace(STAR, images=(ImageFile(moved),)))[0].digest != before.digest


def test_what_says_what_it_would_be_without_saying_it_is_the_same():
    assert settled(STAR)[0].digest == settled(replace(STAR, width=1536, fps=24.0))[0].digest


def test_the_same_film_twice_is_refused():
    (fault,) = faults_of(STAR, replace(STAR, line=7))
    assert fault.startswith("line 7: it asks for the same film as line 1")
    clip = settled(STAR)[0]
    (fault,) = faults_of(STAR, Job(8, "other", name=clip.name.upper()))
    assert fault.startswith("line 8: it is called as line 1")


def test_files_that_are_missing_or_something_else(image, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    jobs = [
        Job(1, "a", images=(ImageFile(image),)),
        Job(2, "b", images=(ImageFile(tmp_path / "gone.png"),)),
        Job(3, "c", images=(ImageFile(image), ImageFile(text, frame=-1))),
        Job(4, "d", sound=SoundFile(text)),
        Job(5, "e", sound=SoundFile(image)),
        Job(6, "f", sound=SoundFile(write_tone(tmp_path / "tone.wav"), start=5.0)),
        Job(7, "g", sound=SoundFile(tmp_path / "tone.wav"), fps=0.0),
        Job(8, "h", images=(ImageFile(tmp_path),)),
    ]
    faults = faults_of(*jobs)
    expected = ["gone.png cannot be read", "text.png cannot be read", "text.png: The sound cannot", "holds no sound"]
    expected += ["second 5 of a sound that lasts 0.70 s", "fps is 0.0", "cannot be read: Is a directory"]
    for number, (fault, text) in enumerate(zip(faults, expected, strict=True), start=2):
        assert fault.startswith(f"line {number}: ")
        assert text in fault


@pytest.mark.parametrize("error", [LTXError("too large"), JobFault("too large")])
def test_what_cannot_be_made_is_named(error):
    def check(job, sound):
        if job.line == 2:
            raise error

    assert faults_of(STAR, Job(2, "b"), check=check) == ["line 2: too large"]


def test_a_file_that_changes_while_the_batch_runs(image):
    (clip,) = settled(replace(STAR, images=(ImageFile(image),)))
    assert clip.files[0].read() == image.read_bytes()
    image.write_bytes(b"other")
    with pytest.raises(JobFault, match="has changed since the batch began"):
        clip.files[0].read()
