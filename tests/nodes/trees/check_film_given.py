"""A film that is given: what is kept stays in both stages and comes out bit for bit, and only the rest is made."""

from fractions import Fraction

import pytest
import torch
from comfy_api.latest import InputImpl, Types

from ltx_duo.ltx_core.errors import ConditioningError, LTXError
from ltx_duo.ltx_core.sampling.conditions import encode_film
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.nodes.comfyui import latents

FPS, RATE = 25.0, 16000
FINAL = LatentGeometry(128, 64, 25, FPS)


def video(frames: int = 25, height: int = 64, width: int = 128, rate: int | None = RATE, fps=Fraction(25), channels=2):
    """A VIDEO of noise, with a sound as long unless its `rate` is None."""
    generator = torch.Generator().manual_seed(frames + height)
    images = torch.rand(frames, height, width, 3, generator=generator)
    audio = None
    if rate is not None:
        samples = torch.randn(1, channels, round(frames / fps * rate), generator=generator) * 0.1
        audio = {"waveform": samples, "sample_rate": rate}
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=audio, frame_rate=fps))


@pytest.fixture
def sizes():
    return lambda given: dict(zip(("width", "height", "frames", "fps"), given[1:], strict=True))


@pytest.fixture
def made(model, stage_one, stage_two, enlarged, sizes):
    """Latents of both stages from what a node that gives a film gives."""

    def make(given, **chain):
        first = stage_one(model, conditions=given[0], **sizes(given))
        return first, stage_two(model, enlarged(first), conditions=chain.get("two", given[0]))

    return make


@pytest.fixture
def decoded(run, vae, names):
    def decode(latent):
        film, images, audio = run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)
        return film.get_components(), images, audio

    return decode


def parts(source) -> tuple[torch.Tensor, torch.Tensor]:
    components = source.get_components()
    return components.images, components.audio["waveform"]


RETAKE = {"start": 0.4, "end": 0.7, "remake": "picture and sound"}


def test_a_retake_in_one_stage_at_the_films_own_size(run, model, stage_one, decoded, watched, sizes):
    source = video(frames=33)
    given = run("Retake", video=source, **RETAKE)
    latent = stage_one(model, conditions=given[0], size="full", **sizes(given))
    (stage,) = watched
    assert (stage.geometry.width, stage.geometry.height) == (128, 64)
    _, images, _ = decoded(latent)
    pictures, _ = parts(source)
    changed = (images != pictures).any(dim=-1).float().mean(dim=(1, 2))
    assert (changed[10:18] > 0.9).all() and (changed[:10] == 0).all() and (changed[18:] == 0).all()


@pytest.mark.parametrize("remake", ["picture and sound", "picture", "sound"])
def test_the_films_sound_is_decoded_alone_as_beside_its_picture(run, model, stage_one, decoded, sizes, vae, remake):
    """Spliced into the film's own where it is made anew, else the film's own; a silent film that stays so has none."""
    given = run("Retake", video=video(frames=33), **{**RETAKE, "remake": remake})
    latent = stage_one(model, conditions=given[0], **sizes(given))
    alone, (_, _, beside) = run("SoundDecode", latent=latent, audio_vae=vae), decoded(latent)
    assert alone["sample_rate"] == beside["sample_rate"] and torch.equal(alone["waveform"], beside["waveform"])
    if remake == "picture":
        given = run("Retake", video=video(frames=33, rate=None), **{**RETAKE, "remake": remake})
        with pytest.raises(LTXError, match="film without a sound"):
            run("SoundDecode", latent=stage_one(model, conditions=given[0], **sizes(given)), audio_vae=vae)


def test_a_retake_changes_what_is_inside_the_window_alone(run, made, decoded, watched, vae):
    source = video(frames=33)
    given = run("Retake", video=source, **RETAKE)
    latent = made(given)[1]
    assert given[1:] == (128, 64, 33, 25.0)
    film, images, audio = decoded(latent)
    pictures, wave = parts(source)
    begin, end = 10, 18  # 0.7 s are 17.5 frames
    assert torch.equal(images[:begin], pictures[:begin]) and torch.equal(images[end:], pictures[end:])
    assert all((images[i] != pictures[i]).float().mean() > 0.9 for i in range(begin, end))
    assert torch.equal(audio["waveform"][..., : round(0.4 * RATE)], wave[..., : round(0.4 * RATE)])
    assert torch.equal(audio["waveform"][..., round(0.7 * RATE) :], wave[..., round(0.7 * RATE) :])
    changed = audio["waveform"][..., round(0.4 * RATE) : round(0.7 * RATE)] != wave[..., 6400:11200]
    assert changed.float().mean() > 0.9 and audio["sample_rate"] == RATE
    assert film.frame_rate == 25
    # What is kept of it stands in both stages: all but latent frames 2 and 3, which are frames 9 to 24.
    encoder, longer = vae.video_encoder().load(), LatentGeometry(128, 64, 33, FPS)
    for stage, geometry in zip(watched, (longer.half(), longer), strict=True):
        own = encode_film(encoder, given[0].film, geometry, dtype=torch.float32)
        kept = stage.video.conditions[0]
        assert torch.equal(kept.latent, own.latent)
        assert kept.mask[0, :, 0, 0].tolist() == [0, 0, 1, 1, 0]
    picture = latents.take(latent)[0]
    assert torch.equal(picture[:, :, [0, 1, 4]], own.latent[:, :, [0, 1, 4]])
    assert not torch.equal(picture[:, :, [2, 3]], own.latent[:, :, [2, 3]])


def test_what_is_kept_is_a_noise_mask_for_cores_nodes(run, made, nodes):
    first, second = made(run("Retake", video=video(), **RETAKE))
    for latent, size in ((first, (1, 2)), (second, (2, 4))):
        picture, sound = latent["noise_mask"].unbind()
        assert tuple(picture.shape) == (1, 1, 4, *size) and tuple(sound.shape[2:]) == (25, 16)
        assert picture[0, 0, :, 0, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("remake", "stream"), [("picture", "audio"), ("sound", "video")])
def test_what_is_not_remade_is_frozen(run, made, decoded, watched, remake, stream):
    source = video(rate=44100, channels=1)
    latent = made(run("Retake", video=source, **(RETAKE | {"remake": remake})))[1]
    for stage in watched:
        assert getattr(stage, stream).frozen and getattr(stage, stream).noise_scale == 0
    _, images, audio = decoded(latent)
    pictures, wave = parts(source)
    if remake == "sound":
        assert torch.equal(images, pictures)
        assert audio["waveform"].shape[1] == 2  # what is new is stereo
        assert torch.equal(audio["waveform"][0, :, :17000], wave[0, :, :17000].expand(2, -1))
    else:
        assert torch.equal(audio["waveform"], wave) and not torch.equal(images, pictures)


def test_a_film_gets_a_sound_and_keeps_its_picture(run, model, stage_one, decoded, sizes, watched):
    """One stage is enough.  The picture is larger than what the stage works at, and of other sides."""
    source = video(frames=20, height=90, width=150, rate=None)
    given = run("FilmSound", video=source)
    assert given[1:] == (128, 64, 25, 25.0)
    latent = stage_one(model, conditions=given[0], **sizes(given))
    _, images, audio = decoded(latent)
    assert torch.equal(images, source.get_components().images)
    assert audio["waveform"].shape == (1, 2, round(20 / 25 * audio["sample_rate"])) and audio["waveform"].any()
    assert watched[0].video.frozen and not watched[0].audio.frozen


def test_a_film_goes_on_and_begins_earlier(run, made, decoded):
    source = video(frames=27)
    given = run("Extend", video=source, after=0.5, before=0.3, overlap=0.2, context=0.0)
    assert given[3] == 8 + 25 + 16
    _, images, audio = decoded(made(given)[1])
    pictures, wave = parts(source)
    assert len(images) == 49 and audio["waveform"].shape[-1] == round(49 / 25 * RATE)
    assert torch.equal(images[13:28], pictures[5:20])
    begin, end = round(13 / 25 * RATE), round(28 / 25 * RATE)
    assert torch.equal(audio["waveform"][..., begin:end], wave[..., begin - 5120 : end - 5120])
    assert (images[:8].std() > 0) and (images[33:].std() > 0)


def test_a_long_film_grows_in_steps_of_the_same_cost(run, made, decoded):
    """Only its end is seen, whatever its length; all of it comes out, with its sound."""
    source = video(frames=30)
    extension = {"after": 0.3, "before": 0.0, "overlap": 0.2, "context": 0.3}
    given = run("Extend", video=source, **extension)
    assert given[3] == 9 + 8
    film, images, audio = decoded(made(given)[1])
    pictures, wave = parts(source)
    assert len(images) == 38 and torch.equal(images[:25], pictures[:25])
    assert torch.equal(audio["waveform"][..., :16000], wave[..., :16000])
    assert audio["waveform"].shape[-1] == round(38 / 25 * RATE) and audio["waveform"][..., 19200:].any()
    again = InputImpl.VideoFromComponents(film)
    assert run("Extend", video=again, **extension)[3] == given[3]


def test_a_region_changes_the_picture_where_the_mask_says(run, made, decoded, watched):
    source = video()
    mask = torch.zeros(1, 64, 128)
    mask[:, 10:30, 70:90] = 1
    given = run("Region", video=source, mask=mask, start=0.0, end=0.0, sound="keep")
    _, images, audio = decoded(made(given)[1])
    pictures, wave = parts(source)
    outside = (mask == 0)[..., None].expand_as(pictures)
    assert torch.equal(images[outside], pictures[outside]) and torch.equal(audio["waveform"], wave)
    assert (images[~outside] != pictures[~outside]).float().mean() > 0.9
    one, two = (stage.video.conditions[0].mask[0, 0].tolist() for stage in watched)
    assert one == [[0, 1]] and two == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_without_a_clean_background_all_of_it_is_refined(run, model, enlarged, stage_two, vae, sizes, stage_one):
    given = run("Retake", video=video(), **RETAKE)
    larger = enlarged(stage_one(model, conditions=given[0], **sizes(given)))
    kept, refined = (
        latents.take(stage_two(model, larger, conditions=given[0], clean_background=clean))[0]
        for clean in (True, False)
    )
    own = encode_film(vae.video_encoder().load(), given[0].film, FINAL, dtype=torch.float32).latent
    assert torch.equal(kept[:, :, 0], own[:, :, 0]) and not torch.isclose(refined[:, :, 0], own[:, :, 0]).any(1).all()


def test_the_film_comes_along_when_stage_two_has_no_conditions(run, made, same):
    given = run("Retake", video=video(), **RETAKE)
    assert same(made(given)[1], made(given, two=None)[1])


def test_denoise_begins_from_the_film(run, model, stage_one, sizes, watched):
    given = run("Retake", video=video(), **(RETAKE | {"start": 0.0, "end": 0.0}))
    few = stage_one(model, conditions=given[0], **(sizes(given) | {"steps": 4}), denoise=0.25)
    stage = watched[0]
    assert len(stage.sigmas) == 2 and torch.equal(stage.video.latent, stage.video.conditions[0].latent)
    assert stage.video.noise_scale == stage.audio.noise_scale == float(stage.sigmas[0]) < 1
    assert latents.take(few)[0].isfinite().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fps": 24.0}, "25 frames a second"),
        ({"frames": 33}, "needs 25 frames"),
        ({"denoise": 0.0}, "denoise is 0"),
    ],
)
def test_what_does_not_fit_the_film_is_refused(run, model, stage_one, sizes, change, words):
    given = run("Retake", video=video(), **RETAKE)
    with pytest.raises(LTXError, match=words):
        stage_one(model, conditions=given[0], **(sizes(given) | change))


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("Retake", RETAKE | {"start": 2.0, "end": 3.0}, "outside the film"),
        ("Retake", RETAKE | {"start": 0.8, "end": 0.5}, "later one"),
        ("Extend", {"after": 0.0, "before": 0.0, "overlap": 0.5, "context": 0.0}, "Nothing is added"),
        ("Extend", {"after": 1.0, "before": 1.0, "overlap": 0.5, "context": 1.0}, "context is a part"),
        ("Extend", {"after": 1.0, "before": 0.0, "overlap": 2.0, "context": 0.0}, "nothing would be kept"),
        ("Region", {"mask": torch.zeros(1, 64, 128), "start": 0.0, "end": 0.0, "sound": "keep"}, "empty"),
        ("Region", {"mask": torch.ones(3, 64, 128), "start": 0.0, "end": 0.0, "sound": "keep"}, "3 frames"),
    ],
)
def test_bad_input_is_refused_by_the_node(run, name, inputs, words):
    with pytest.raises(ConditioningError, match=words):
        run(name, video=video(), **inputs)


def test_one_film_and_nothing_that_it_leaves_no_room_for(run, model, stage_one, sizes, image):
    given = run("FilmSound", video=video())
    with pytest.raises(ConditioningError, match="a film already"):
        run("Retake", video=video(), conditions=given[0], **RETAKE)
    chain = run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1, conditions=given[0])
    with pytest.raises(ConditioningError, match="images in it change nothing"):
        stage_one(model, conditions=chain, **sizes(given))


def test_a_small_film_is_refused_and_a_crop_is_told(nodes):
    with pytest.raises(ConditioningError, match="at least 64"):
        nodes["LTXDuoFilmSound"].execute(video=video(height=40))
    told = nodes["LTXDuoRetake"].execute(video=video(height=90, width=150), **RETAKE)
    assert any("22 columns and 26 rows" in line for line in told.ui["text"])
