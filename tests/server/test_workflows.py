"""The shipped workflows on a real server with the small model: what comes out, and what each input changes."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from ltx_duo.scripts.demo import media, photo
from ltx_duo.scripts.demo.client import ExecutionFailed, set_inputs


@pytest.mark.parametrize("which", ["film", "text_film"])
def test_mp4_holds_what_was_asked_for(which, request):
    info = media.probe(request.getfixturevalue(which).path)
    assert (info.video_codec, info.width, info.height, info.frames, info.fps) == ("h264", 192, 128, 17, 24.0)
    assert (info.audio_codec, info.sample_rate, info.channels) == ("aac", 48000, 2)
    assert abs(info.sound_seconds - info.video_seconds) < 0.06


def test_picture_and_sound_are_alive(film):
    assert film.pictures.std() > 5
    assert np.abs(np.diff(film.pictures.astype(float), axis=0)).mean() > 0.2, "all frames are alike"
    assert np.abs(film.sound).max() > 1e-4
    assert np.isfinite(film.sound).all()


def graph(prompt: dict) -> dict:
    """A prompt without what ComfyUI notes beside it."""
    return {node: (entry["class_type"], entry["inputs"]) for node, entry in prompt.items()}


def test_mp4_carries_the_workflow(film, workflow):
    with av.open(str(film.path)) as container:
        carried = json.loads(container.metadata["prompt"])
    assert graph(carried).items() >= graph(workflow("image-to-video")).items()


def test_seed_changes_picture_and_sound(film, make, workflow):
    other = make(workflow("image-to-video", seed=4))
    assert not np.array_equal(other.pictures, film.pictures)
    assert not np.array_equal(other.sound, film.sound)


@pytest.mark.parametrize("words", ["prompt", "negative_prompt"])
def test_words_change_picture_and_sound(words, film, make, workflow):
    prompt = workflow("image-to-video")
    set_inputs(prompt, "LTXDuoTextEncode", **{words: "two astronauts argue in a kitchen"})
    other = make(prompt)
    assert not np.array_equal(other.pictures, film.pictures)
    assert not np.array_equal(other.sound, film.sound)


def test_image_changes_the_film(film, make, workflow, server):
    photo.draw(server.base / "input" / "other.png", 240, 160, seed=11)
    prompt = workflow("image-to-video")
    set_inputs(prompt, "LoadImage", image="other.png")
    assert not np.array_equal(make(prompt).pictures, film.pictures)


def test_text_to_video_is_image_to_video_without_the_image(text_film, make, workflow):
    text_prompt = next(n for n in workflow("text-to-video").values() if n["class_type"] == "LTXDuoTextEncode")
    prompt = workflow("image-to-video")
    set_inputs(prompt, "LTXDuoTextEncode", prompt=text_prompt["inputs"]["prompt"])
    assert not make(prompt).same_as(text_film)
    set_inputs(prompt, "LTXDuoImageCondition", strength=0.0)
    assert make(prompt).same_as(text_film)


def rotated(picture: Image.Image) -> tuple[Image.Image, dict]:
    """The picture lying on its side, with the EXIF mark that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    return picture.transpose(Image.Transpose.ROTATE_90), {"exif": exif}


@pytest.mark.parametrize("kind", ["alpha", "grey", "rotated"])
def test_any_kind_of_image_works(kind, server, make, workflow):
    """An image with alpha, grey or with EXIF rotation gives the film of its plain RGB picture."""
    picture = Image.open(photo.draw(server.base / "input" / "plain.png", 241, 159, seed=5))
    options = {}
    if kind == "grey":
        picture = picture.convert("L")
    picture.convert("RGB").save(server.base / "input" / f"plain-{kind}.png")
    if kind == "alpha":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    if kind == "rotated":
        picture, options = rotated(picture)
    picture.save(server.base / "input" / f"{kind}.png", **options)

    films = []
    for name in (f"plain-{kind}.png", f"{kind}.png"):
        prompt = workflow("image-to-video", frames=9, steps=1)
        set_inputs(prompt, "LoadImage", image=name)
        films.append(make(prompt))
    if kind == "grey":  # ComfyUI 0.30 itself reads grey files up to one level of 255 darker than the same in RGB
        first, second = (film.pictures[0].astype(float) for film in films)
        assert np.abs(first - second).mean() < 1
    else:
        assert films[0].same_as(films[1])


def test_progress_and_cancel(client, make, film, workflow):
    """A run can be stopped while it samples, and the next one is as if nothing had happened."""
    moved = []

    def interrupt_once_sampling(node: str, run) -> None:
        if node in run.progress and not moved and prompt[node]["class_type"] == "LTXDuoStageOneSampler":
            moved.append(node)
            client.post("/interrupt", {})

    prompt = workflow("image-to-video", steps=500, seed=77)
    with pytest.raises(ExecutionFailed) as stopped:
        client.run(prompt, interrupt_once_sampling)
    assert stopped.value.exception_type == "interrupted"
    assert moved
    prompt = workflow("image-to-video")
    set_inputs(prompt, "LTXDuoImageCondition", frame=-17)  # the first frame by another name: nothing is cached
    assert make(prompt).same_as(film)


@pytest.mark.parametrize("name", ["image-to-video", "text-to-video"])
def test_oldest_comfyui_runs_the_workflow(name, oldest_server, film_on, workflow, tmp_path):
    film = film_on(oldest_server, workflow(name), tmp_path)
    assert film.pictures.shape == (17, 128, 192, 3)
    info = media.probe(film.path)
    assert (info.video_codec, info.frames, info.audio_codec, info.sample_rate) == ("h264", 17, "aac", 48000)
    assert abs(info.sound_seconds - info.video_seconds) < 0.06
