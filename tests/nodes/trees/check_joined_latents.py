"""One frame rate and one length travel with a latent, and are checked against its tensors wherever it goes."""

import copy

import comfy.latent_formats
import pytest
import torch

import nodes as core
from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.nodes.comfyui import compat, latent_files, latents
from ltx_duo.nodes.comfyui.report import NodeReport


def film(frames: int, fps: float, seed: int = 0, sound: bool = True) -> dict:
    """A LATENT as stage one makes it."""
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(1, 128, (frames - 1) // 8 + 1, 1, 2, generator=generator)
    audio = torch.randn(1, 8, round(frames / fps * 25), 16, generator=generator) if sound else None
    return latents.make(video, audio, latents.StageInfo(fps, "cpu", generator.get_state()))


def separated(latent: dict) -> tuple[dict, dict]:
    """What core's LTXVSeparateAVLatent makes of it (here for versions without that node, too)."""
    video, audio = latent["samples"].unbind()
    return {**latent, "samples": video}, {**latent, "samples": audio}


def joined(picture: dict, sound: dict) -> dict:
    """Core's LTXVConcatAVLatent: the keys of the sound's latent win."""
    return {**picture, **sound, "samples": compat.nested_tensor_class()((picture["samples"], sound["samples"]))}


@pytest.mark.skipif(not hasattr(comfy.latent_formats, "LTXAV"), reason="this ComfyUI has no audio-video nodes")
def test_these_are_cores_nodes():
    from comfy_extras.nodes_lt import LTXVConcatAVLatent, LTXVSeparateAVLatent

    one, other = film(121, 24.0), film(121, 30.0, 1)
    for ours, theirs in zip(separated(one), LTXVSeparateAVLatent.execute(one).args, strict=True):
        assert ours.keys() == theirs.keys() and torch.equal(ours["samples"], theirs["samples"])
    pair = separated(one)[0], separated(other)[1]
    ours, theirs = joined(*pair), LTXVConcatAVLatent.execute(*pair).args[0]
    assert list(ours) == list(theirs)
    assert all(ours[key] is theirs[key] for key in ours if key != "samples")


def mixed(picture: dict, sound: dict) -> dict:
    return joined(separated(picture)[0], separated(sound)[1])


@pytest.mark.parametrize("again", [lambda latent: latent, copy.deepcopy])
def test_the_rate_belongs_to_the_picture(again):
    # Both films last 5.03 s: the sound of one goes with the picture of the other.
    picture, sound = film(121, 24.0), film(151 - 151 % 8 + 1, 29.0, 1)
    latent = again(mixed(picture, sound))
    assert latents.fps_of(latent) == 24.0
    assert torch.equal(latents.info_of(latent).generator_state, latents.info_of(picture).generator_state)
    back = again(mixed(latent, picture))
    assert latents.fps_of(back) == 24.0


@pytest.mark.parametrize("sound", [(121, 30.0), (97, 24.0), (241, 24.0), (121, 12.0)])
def test_the_sound_of_a_longer_or_shorter_film_is_refused_everywhere(sound, run, vae, model, texts, names):
    latent = mixed(film(121, 24.0), film(*sound, 1))
    words = "121 frames at 24 frames a second, 5.04 s, .* 126 latents .* has "
    with pytest.raises(GeometryError, match=words):
        run("AVDecode", latent=latent, vae=vae, tiling="auto", **names.tiles)
    with pytest.raises(GeometryError, match=words):
        run("StageTwoSampler", model=model, vae=vae, positive=texts[0], latent=latent, **names.kept)
    with pytest.raises(GeometryError, match=words):
        latent_files.save(latent, "latents/mixed", {})


def test_a_picture_that_another_node_changed_keeps_its_rate():
    """Core's upsampler and latent operations copy the dict and put another picture into it."""
    picture = separated(film(25, 30.0))[0]
    larger = core.LatentUpscaleBy().upscale({**picture, "samples": picture["samples"][:, :, 0]}, "nearest-exact", 2.0)[
        0
    ]
    assert latents.fps_of({**picture, "samples": larger["samples"][:, :, None].expand(-1, -1, 4, -1, -1)}) == 30.0
    latent = joined({**picture, "samples": picture["samples"] * 1.1}, separated(film(25, 30.0))[1])
    assert latents.fps_of(latent) == 30.0


def test_records_of_two_films_and_a_changed_picture():
    changed = separated(film(121, 24.0))[0]
    changed["samples"] = changed["samples"] + 1
    # The picture is as long as that of one film only.
    assert latents.fps_of(joined(changed, separated(film(145, 29.0, 1))[1])) == 24.0
    with pytest.raises(GeometryError, match="24 and 30 frames a second"):
        latents.fps_of(joined(changed, separated(film(121, 30.0, 1))[1]))
    same_rate = joined(changed, separated(film(121, 24.0, 1))[1])
    state = latents.info_of(same_rate).generator_state
    assert torch.equal(state, latents.info_of(film(121, 24.0)).generator_state)


def test_equal_pictures_of_different_rates_are_not_mixed_up():
    state = torch.Generator().get_state()
    empty = [
        latents.make(torch.zeros(1, 128, 4, 1, 2), torch.zeros(1, 8, sound, 16), latents.StageInfo(fps, "cpu", state))
        for fps, sound in ((24.0, 26), (30.0, 21))
    ]
    with pytest.raises(GeometryError, match="24 and 30 frames a second"):
        latents.fps_of(mixed(*empty))


@pytest.mark.parametrize("frames, fps", [(121, 20.0), (121, 23.976), (97, 10.0), (121, 24.0)])
def test_a_guessed_rate_fits_the_sound_and_is_told(frames, fps):
    told = NodeReport()
    native = {"samples": film(frames, fps)["samples"]}
    guessed = latents.fps_of(native, report=told)
    assert guessed == pytest.approx(fps, rel=0.02)
    latents.check_audio_length(native["samples"].unbind()[1], frames, guessed)
    assert len(told.lines) == 1 and f"{guessed:g} frames a second" in told.lines[0]
    # What to do differs: at decode there is no text that could say the rate.
    assert "Create Video" in told.lines[0]
    latents.fps_of(native, [[torch.zeros(1, 7, 160), {}]], told)
    assert "LTXVConditioning" in told.lines[1]


def test_no_rate_fits_a_sound_of_another_length():
    with pytest.raises(GeometryError, match="no film has 1512.5 frames a second"):
        latents.fps_of(
            {"samples": compat.nested_tensor_class()((torch.zeros(1, 128, 16, 1, 1), torch.zeros(1, 8, 2, 16)))}
        )


def test_the_node_shows_that_the_rate_is_guessed(nodes, run, vae, upsampled, names):
    done = nodes["LTXDuoAVDecode"].execute(
        latent={"samples": upsampled["samples"]}, vae=vae, tiling="off", **names.tiles
    )
    assert "24 frames a second are assumed" in done.ui["text"][0]
    assert nodes["LTXDuoAVDecode"].execute(latent=upsampled, vae=vae, tiling="off", **names.tiles).ui is None


def test_a_start_latent_of_another_rate_is_told(nodes, model, vae, texts, names, stage_one):
    first = stage_one(model)
    video = {**first, "samples": latents.take(first)[0]}
    inputs = {**names.size, "model": model, "vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1}
    inputs |= {"noise_device": "cpu", "sigmas": torch.tensor([0.7, 0.3, 0.0])}
    for fps, told in ((25.0, 0), (20.0, 1)):
        done = nodes["LTXDuoStageOneSampler"].execute(**{**inputs, "fps": fps}, latent=video)
        assert sum("made for 25 frames a second" in line for line in done.ui["text"]) == told


@pytest.mark.parametrize("count", [2, 4])
def test_batches_are_refused_with_what_to_do(count, run, vae, model, texts, names):
    samples = film(9, 25.0)["samples"]
    batch = {
        "samples": compat.nested_tensor_class()([part.expand(count, *part.shape[1:]) for part in samples.unbind()])
    }
    for name, inputs in {
        "AVDecode": {"vae": vae, "tiling": "auto", **names.tiles},
        "StageTwoSampler": {"model": model, "vae": vae, "positive": texts[0], **names.kept},
    }.items():
        with pytest.raises(GeometryError, match=f"batch of {count} videos.*batch_size to 1.*LatentFromBatch"):
            run(name, latent=batch, **inputs)
    with pytest.raises(GeometryError, match=f"batch of {count} videos"):
        latent_files.save(batch, "latents/batch", {})
    taken = [core.LatentFromBatch().frombatch(part, 1, 1)[0] for part in separated(batch)]
    assert latents.take(joined(*taken))[0].shape[0] == 1


def test_a_third_part_is_not_dropped_without_a_word():
    parts = [*film(9, 25.0)["samples"].unbind(), torch.zeros(1, 4, 2, 2)]
    with pytest.raises(GeometryError, match="3 parts"):
        latents.take({"samples": compat.nested_tensor_class()(parts)})


def test_what_other_nodes_put_into_a_latent_stays(run, model, vae, stage_one, stage_two, names):
    upsampler = run("UpsamplerLoader", upsampler=names.upsampler)
    first = {**stage_one(model), "batch_index": [3], "another_pack": "note"}
    larger = run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae)
    for latent in (larger, stage_two(model, larger), stage_one(model, latent=first, sigmas=torch.tensor([0.5, 0.0]))):
        assert latent["batch_index"] == [3] and latent["another_pack"] == "note"
        assert len(latent) == len(first) and latents.fps_of(latent) == 25.0


def test_sound_that_native_nodes_round_up_is_taken():
    for more in (0, 1, 2):
        latents.check_audio_length(torch.zeros(1, 8, 126 + more, 16), 121, 24.0)
    with pytest.raises(GeometryError):
        latents.check_audio_length(torch.zeros(1, 8, 129, 16), 121, 24.0)
