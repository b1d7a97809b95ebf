"""The workflows beyond the two basic ones, on a real server with the small model."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ltx_duo.demo_model.detectors import heard
from ltx_duo.scripts.demo import media, models, photo
from ltx_duo.scripts.demo.client import PromptRejected, set_inputs
from ltx_duo.tests.films import WORKFLOWS
from ltx_duo.tests.server.drawn import STAR, save_film, save_painted
from ltx_duo.tests.servers import PAINTED, write_tone

DISTILLED = "ltx-2.3-small-distilled.safetensors"
SHORT = {"width": 128, "height": 64, "frames": 9, "steps": 1}


@pytest.fixture
def two_images(server) -> tuple[str, str]:
    for number, name in enumerate(("first.png", "last.png")):
        photo.draw(server.base / "input" / name, 240, 160, seed=20 + number)
    return "first.png", "last.png"


def inputs_of(prompt: dict, node_type: str) -> list[dict]:
    return [entry["inputs"] for entry in prompt.values() if entry["class_type"] == node_type]


def test_first_and_last_frame(make, workflow, two_images):
    """Each image changes its own end of the film most."""

    def film(first: str, last: str):
        prompt = workflow("first-and-last-frame", **SHORT)
        for inputs, name in zip(inputs_of(prompt, "LoadImage"), (first, last), strict=True):
            inputs["image"] = name
        return make(prompt)

    def change(one, other) -> np.ndarray:
        return np.abs(one.pictures.astype(float) - other.pictures).mean(axis=(1, 2, 3))

    first, last = two_images
    both = film(first, last)
    assert len(both.pictures) == SHORT["frames"]
    other_last, other_first = change(both, film(first, first)), change(both, film(last, last))
    assert other_last[-1] > other_last[0]
    assert other_first[0] > other_first[-1]


def test_decode_plays_what_no_other_node_takes(client, server, small_model, workflow, tmp_path):
    models.link(small_model, server.base / "models")
    prompt = workflow("text-to-video", **SHORT)
    (save,) = [node for node, entry in prompt.items() if entry["class_type"] == "SaveVideo"]
    (decode,) = [node for node, entry in prompt.items() if entry["class_type"] == "LTXDuoAVDecode"]
    del prompt[save]
    shown = client.run(prompt).outputs[decode]
    assert shown["animated"] == [True]
    (entry,) = shown["images"]
    assert entry["type"] == "temp"
    with av.open(str(client.fetch(entry, tmp_path / "film.mp4"))) as container:
        assert sum(1 for _ in container.decode(video=0)) == SHORT["frames"]
        assert container.streams.audio[0].sample_rate == 48000


def test_distilled_takes_its_own_steps(make, workflow, server, small_model):
    models.link(small_model, server.base / "models")
    name = DISTILLED
    link = server.base / "models" / "checkpoints" / name
    link.unlink(missing_ok=True)
    link.symlink_to(small_model["checkpoint"].resolve())

    def film(steps: int):
        prompt = workflow("distilled", **{**SHORT, "steps": steps})
        for node_type, slot in (
            ("LTXDuoModelLoader", "checkpoint"),
            ("LTXDuoVAELoader", "checkpoint"),
            ("LTXDuoTextEncoderLoader", "projection"),
        ):
            set_inputs(prompt, node_type, **{slot: name})
        return make(prompt)

    one_step = film(1)
    assert one_step.pictures.shape == (9, 64, 128, 3)
    assert film(5).same_as(one_step)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("high-quality", "1 steps x 3 passes"),
        ("one-stage", "1 steps x 4 passes"),
        ("distilled-lora", "8 steps x 1 pass,"),
    ],
)
def test_other_ways_to_sample(name, told, make, workflow, client):
    """The asked size, with a sound; what the node says is the recipe."""
    prompt = workflow(name, **SHORT)
    film = make(prompt)
    assert film.pictures.shape == (9, 64, 128, 3) and film.pictures.std() > 5
    assert np.abs(film.sound).max() > 1e-4
    set_inputs(prompt, "LTXDuoModelLoader", weight_dtype="bf16")  # what is answered from the cache tells nothing anew
    outputs = client.run(prompt).outputs
    (sampler,) = [node for node, entry in prompt.items() if entry["class_type"] == "LTXDuoStageOneSampler"]
    assert outputs[sampler]["text"][0].startswith(told)


def test_keyframes(make, workflow, two_images):
    """An image on frame 0 changes the whole film, and in another way than as its first frame itself."""

    def film(first: str, how: str):
        prompt = workflow("keyframes", **SHORT)
        for inputs, name in zip(inputs_of(prompt, "LoadImage"), (first, two_images[1]), strict=True):
            inputs["image"] = name
        conditions = inputs_of(prompt, "LTXDuoImageCondition")
        assert [own["frame"] for own in conditions] == [0, -1] and conditions[0]["first_frame"] == "keyframe"
        conditions[0]["first_frame"] = how
        return make(prompt).pictures.astype(float)

    one, other = (film(name, "keyframe") for name in two_images)
    in_place = film(two_images[0], "in place")
    for another in (other, in_place):
        assert (np.abs(one - another).mean(axis=(1, 2, 3)) > 0.1).all()


@pytest.fixture
def saved(server, client, workflow, make) -> str:
    """The latent that the workflow preview-first keeps, as LTX Load Latent names it."""
    folder = server.base / "output" / "latents"
    before = set(folder.glob("*.latent"))
    preview = make(workflow("preview-first"))
    assert preview.pictures.shape == (17, 64, 96, 3)
    (path,) = set(folder.glob("*.latent")) - before
    name = f"latents/{path.name} [output]"
    choices = client.get("/object_info/LTXDuoLoadLatent")["LTXDuoLoadLatent"]["input"]["required"]["file"][1]["options"]
    assert choices[0] == name
    return name


def test_going_on_from_a_saved_preview_gives_the_film_of_the_whole_workflow(saved, make, workflow, text_film):
    prompt = workflow("continue-from-preview")
    set_inputs(prompt, "LTXDuoLoadLatent", file=saved)
    assert make(prompt).same_as(text_film)


def test_a_film_to_a_sound_has_that_sound_and_its_length(make, workflow, server):
    """0.7 s at 24 frames a second are 17 frames; the tone comes out at its own rate, as loud as it went in."""
    films = []
    for hertz in (440, 880):
        write_tone(server.base / "input" / f"{hertz}.wav", 0.7, 22050, hertz)
        prompt = workflow("sound-to-video")
        set_inputs(prompt, "LoadAudio", audio=f"{hertz}.wav")
        films.append(make(prompt))
    for film, hertz in zip(films, (440, 880), strict=True):
        info = media.probe(film.path)
        assert (info.frames, info.sample_rate, info.channels) == (17, 22050, 2)
        spectrum = np.abs(np.fft.rfft(film.sound[0]))
        heard = spectrum.argmax() * 22050 / film.sound.shape[1]
        assert abs(heard - hertz) < 5
        assert abs(film.sound[0, 4000:12000].std() - 8000 / 32768 / np.sqrt(2)) < 0.01
    assert not np.array_equal(films[0].pictures, films[1].pictures)


def test_a_sound_alone_is_as_long_as_was_asked_and_heard(client, workflow, server, small_model, tmp_path):
    models.link(small_model, server.base / "models")
    sounds = []
    for changes in ({"seconds": 1.2}, {"seconds": 1.2, "seed": 4}, {"seconds": 0.4}):
        prompt = workflow("text-to-sound", **changes)
        job = client.run(prompt)
        (file,) = job.files()
        assert file["subfolder"] == "audio"
        with av.open(str(client.fetch(file, tmp_path / file["filename"]))) as container:
            assert container.streams.audio[0].sample_rate == 48000 and not container.streams.video
            frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        sound = np.concatenate(frames, axis=1).astype(np.float32)
        sounds.append(sound.reshape(-1, 2) if len(sound) == 1 else sound.T)
        assert abs(len(sounds[-1]) / 48000 - changes["seconds"]) < 0.04
        assert sounds[-1].std(axis=0).min() > 1e-4 * np.abs(sounds[-1]).max() > 0
        (sampler,) = [node for node, entry in prompt.items() if entry["class_type"] == "LTXDuoSoundSampler"]
        assert job.outputs[sampler]["text"][0].startswith("2 steps x 3 passes")
    assert sounds[0].shape == sounds[1].shape and not np.array_equal(sounds[0], sounds[1])


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_the_trained_model_is_heard_without_being_seen(shape, client, server, tmp_path):
    """In its drawn world each shape that moves has a pitch of its own."""
    trained = models.trained()
    models.link(trained, server.base / "models")
    prompt = json.loads((WORKFLOWS / "api" / "text-to-sound.api.json").read_text())
    models.choose(prompt, trained)
    set_inputs(prompt, "LTXDuoTextEncode", prompt=f"A large red {shape} moves to the right.")
    set_inputs(prompt, "LTXDuoSoundSampler", seconds=1.4, steps=12, seed=5)
    (file,) = client.run(prompt).files()
    with av.open(str(client.fetch(file, tmp_path / file["filename"]))) as container:
        rate = container.streams.audio[0].sample_rate
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = torch.from_numpy(np.concatenate(frames, axis=1).reshape(-1, 2).T.astype(np.float32)) / 2**15
    assert abs(samples.shape[1] / rate - 1.4) < 0.04
    assert heard(samples, rate).shape == shape


def test_a_film_speaks_with_the_voice_that_is_given(make, workflow, server, two_images):
    """Another voice, another sound; identity guidance leads further to it."""

    def film(voice: str, **inputs):
        prompt = workflow("reference-voice", **SHORT)
        set_inputs(prompt, "LoadAudio", audio=voice)
        set_inputs(prompt, "LoadImage", image=two_images[0])
        set_inputs(prompt, "LTXDuoReferenceVoice", **inputs)
        return make(prompt)

    for hertz in (220, 880):
        write_tone(server.base / "input" / f"voice-{hertz}.wav", 2.0, 22050, hertz)
    low, high, unled = film("voice-220.wav"), film("voice-880.wav"), film("voice-220.wav", scale=0.0)
    for one in (low, high, unled):
        assert one.pictures.shape == (9, 64, 128, 3) and np.abs(one.sound).max() > 1e-4
    assert not np.array_equal(low.sound, high.sound) and not np.array_equal(low.sound, unled.sound)


SAVED = {"film-sound": slice(None), "retake": [*range(4), *range(12, 17)], "extend": range(12)}
"""Frames of the film that come out as they are: all, those outside 0.2 to 0.5 s, those before the last 0.2 s."""


def saved_frames(client, prompt: dict, node: str, folder: Path) -> np.ndarray:
    """(frames, height, width, 3): the first output of `node`, of which the prompt runs no more than it needs."""
    needed, asked = {}, [node]
    while asked:
        name = asked.pop()
        needed[name] = prompt[name]
        asked += [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    save = {"class_type": "SaveImage", "inputs": {"images": [node, 0], "filename_prefix": "frames"}}
    paths = [client.fetch(file, folder / file["filename"]) for file in client.run({**needed, "save": save}).files()]
    return np.stack([np.asarray(Image.open(path)) for path in sorted(paths)])


@pytest.fixture
def given_film(server, client, tmp_path) -> np.ndarray:
    """The frames of film.mp4, 17 at 24 a second, as ComfyUI reads them; painted.png has a painted square."""
    save_film(STAR, server.base / "input" / "film.mp4", frames=17)
    save_painted(STAR, server.base / "input" / "painted.png", PAINTED)
    read = {
        "film": {"class_type": "LoadVideo", "inputs": {"file": "film.mp4"}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["film", 0]}},
    }
    return saved_frames(client, read, "parts", tmp_path)


def differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(frames, height, width): where two films are not the same."""
    return (one != other).any(axis=-1)


@pytest.mark.parametrize("name", SAVED)
def test_what_is_not_made_anew_of_a_film_comes_out_as_it_is(name, make, workflow, given_film):
    prompt = workflow(name, steps=1)
    if name == "retake":
        set_inputs(prompt, "LTXDuoRetake", start=0.2, end=0.5)
    if name == "extend":
        set_inputs(prompt, "LTXDuoExtend", after=0.3, overlap=0.2)
    made = make(prompt)
    kept = np.zeros(len(made.pictures), bool)
    kept[SAVED[name]] = True
    assert len(kept) == (25 if name == "extend" else 17)
    changed = differs(made.pictures[:17], given_film).mean(axis=(1, 2))
    assert (changed[kept[:17]] == 0).all() and (changed[~kept[:17]] > 0.5).all()
    assert made.pictures[17:].std() > 5 or name != "extend"
    info = media.probe(made.path)
    assert (info.frames, info.fps, info.width) == (len(kept), 24.0, 128)
    assert abs(info.sound_seconds - info.video_seconds) < 0.06


@pytest.fixture
def distilled(server, small_model):
    """Sets a prompt's loaders to the small model under the name of a distilled one."""
    models.link(small_model, server.base / "models", {"checkpoint": DISTILLED})

    def choose(prompt: dict) -> dict:
        for node_type in ("LTXDuoModelLoader", "LTXDuoVAELoader"):
            set_inputs(prompt, node_type, checkpoint=DISTILLED)
        set_inputs(prompt, "LTXDuoTextEncoderLoader", projection=DISTILLED)
        return prompt

    return choose


@pytest.mark.parametrize("name", ["reference-control", "reference-edit"])
def test_the_reference_leads(name, make, workflow, given_film, server, distilled):
    """Another film, another result; the edit keeps the film's own sound."""

    def film():
        return make(distilled(workflow(name)))

    made = film()
    assert made.pictures.shape == (17, 128, 128, 3)
    save_film(STAR, server.base / "input" / "film.mp4", frames=25, width=192)
    other = film()
    assert len(other.pictures) == 25
    info = media.probe(other.path)
    assert info.fps == 24.0 and abs(info.sound_seconds - info.video_seconds) < 0.06
    assert not np.array_equal(other.pictures[:17], made.pictures)


@pytest.mark.parametrize("name", ["region", "reference-inpaint"])
def test_a_region_of_a_film_changes_where_it_is_painted(name, make, workflow, given_film, distilled):
    prompt = workflow(name, steps=1)
    changed = differs(make(distilled(prompt) if name == "reference-inpaint" else prompt).pictures, given_film)
    left, top, right, bottom = PAINTED
    assert changed[:, top + 8 : bottom - 8, left + 8 : right - 8].mean() > 0.5
    changed[:, top:bottom, left:right] = False
    assert not changed.any()


def test_what_is_painted_and_a_margin_are_green_for_the_ic_lora(client, workflow, given_film, tmp_path):
    prompt = workflow("reference-inpaint")
    set_inputs(prompt, "ImagePadForOutpaint", left=64, bottom=128)
    (painted,) = [node for node, entry in prompt.items() if entry["class_type"] == "ImageCompositeMasked"]
    shown = saved_frames(client, prompt, painted, tmp_path)
    green = np.zeros(shown.shape[1:3], bool)
    left, top, right, bottom = PAINTED
    green[top:bottom, left:right] = green[128:] = green[:, :64] = True
    assert shown.shape == (17, 256, 192, 3)
    # ComfyUI stretches the colour over the picture, which rounds it, and cuts what is behind the point when it saves.
    assert (np.abs(shown[:, green] - np.array([102.0, 255.0, 0.0])) <= 1).all()
    given = np.zeros_like(shown)
    given[:, :128, 64:] = given_film
    assert (shown == given).all(axis=-1)[:, ~green].all()


def test_mixing_with_cores_nodes_changes_nothing_in_the_picture(make, workflow, text_film):
    """Core's schedule and sigmas are the ones that our samplers take by themselves."""
    prompt = workflow("mixed-with-native")
    set_inputs(prompt, "LTXVScheduler", steps=inputs_of(prompt, "LTXDuoStageOneSampler")[0]["steps"])
    mixed = make(prompt)
    assert np.abs(mixed.pictures.astype(float) - text_film.pictures).mean() < 1.0
    assert mixed.sound.shape == text_film.sound.shape
    assert np.abs(mixed.sound).max() > 1e-4


def test_saved_latents_lie_in_comfyuis_folders_only(client, workflow, server, small_model):
    models.link(small_model, server.base / "models")
    (server.base / "secret.latent").write_bytes(b"")
    for name in ("latents/gone.latent [output]", "../secret.latent [output]", "latents/x.latent"):
        prompt = workflow("continue-from-preview")
        set_inputs(prompt, "LTXDuoLoadLatent", file=name)
        with pytest.raises(PromptRejected, match="LTX Save Latent"):
            client.run(prompt)


def test_nodes_tell_what_they_did(client, make, workflow):
    """The texts that nodes show are in the history too; `make` has put the files in place."""
    prompt = workflow("text-to-video", **{**SHORT, "seed": 12})
    set_inputs(prompt, "LTXDuoModelLoader", weight_dtype="bf16")  # what is answered from the cache tells nothing anew
    outputs = client.run(prompt).outputs
    told = {prompt[node]["class_type"]: shown["text"][0] for node, shown in outputs.items() if "text" in shown}
    assert told["LTXDuoStageOneSampler"].startswith("1 steps x 4 passes")
    assert "sigma 0.9094 to 0" in told["LTXDuoStageTwoSampler"]
    assert "LTX-2.3 dev" in told["LTXDuoModelLoader"]
