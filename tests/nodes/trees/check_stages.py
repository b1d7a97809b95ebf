"""What goes into the stages: images, noise, sound, guidance, conditioning, and latents of other nodes."""

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError, GeometryError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF
from ltx_duo.nodes.comfyui import latents
from ltx_duo.nodes.comfyui.stage_run import StageRun


def test_conditioned_frame_comes_out_bit_identical(model, vae, conditions, stage_one, stage_two, upsampled):
    for latent, size in ((stage_one(model), (64, 32)), (stage_two(model, upsampled), (128, 64))):
        stage = StageRun(model, 1, LatentGeometry(*size, 9, 25.0), conditions, OFF, (("", ""), None))
        encoded = stage.encode_images(vae)[0].latent
        assert torch.equal(latents.take(latent)[0][:, :, :1], encoded)


def test_noise_continues_or_starts_anew(model, stage_one, stage_two, upsampled, same):
    continued = stage_two(model, upsampled)
    assert same(stage_two(model, upsampled, seed=99), continued)
    anew = stage_two(model, upsampled, noise="new seed", seed=99)
    assert not same(anew, continued)
    assert same(stage_two(model, upsampled, noise="new seed", seed=99), anew)
    # Another seed in stage one reaches stage two through the latent.
    other = latents.make(*latents.take(upsampled), latents.info_of(stage_one(model, seed=11)))
    assert not same(stage_two(model, other), continued)


def test_noise_of_another_device_is_not_continued(model, stage_two, upsampled):
    elsewhere = latents.StageInfo(25.0, "cuda", torch.zeros(16, dtype=torch.uint8))
    moved = latents.make(*latents.take(upsampled), elsewhere)
    with pytest.raises(ConditioningError, match="noise_device"):
        stage_two(model, moved)
    stage_two(model, moved, noise="new seed")


def test_conditioning_after_the_connectors_gives_the_same_film(model, run, vae, texts, stage_one, names, same):
    pairs = []
    for text in texts:
        contexts = model.contexts((model.features(text), None), model.stage(1), 0, 1)
        pairs.append([[torch.cat((contexts.video, contexts.audio), dim=-1), {}]])
    settings = {**names.size, "seed": 10, "noise_device": "gpu"}
    connected = run("StageOneSampler", model=model, vae=vae, positive=pairs[0], negative=pairs[1], **settings)
    assert same(connected, stage_one(model, conditions=None))


def test_sound_of_the_chosen_stage(model, stage_two, upsampled):
    sound = latents.take(upsampled)[1]
    assert torch.equal(latents.take(stage_two(model, upsampled))[1], sound)
    refined = latents.take(stage_two(model, upsampled, audio="stage two"))
    assert not torch.equal(refined[1], sound)
    assert torch.equal(refined[0], latents.take(stage_two(model, upsampled))[0])


def test_latent_without_our_information_still_works(model, run, vae, texts, stage_two, upsampled, names, same):
    native = {"samples": upsampled["samples"]}
    timed = [[texts[0][0][0], {**texts[0][0][1], "frame_rate": 25.0}]]
    result = run(
        "StageTwoSampler",
        model=model,
        vae=vae,
        positive=timed,
        latent=native,
        conditions=None,
        **{**names.kept, "seed": 5},
    )
    expected = stage_two(model, upsampled, noise="new seed", seed=5, conditions=None)
    assert same(expected, result) and latents.fps_of(result) == 25.0


def test_latent_of_another_size_is_refused(model, stage_one, upsampled):
    with pytest.raises(GeometryError, match="64x32"):
        stage_one(model, latent=upsampled)


def test_image_beyond_the_end_is_refused_before_weights_are_read(run, image, stage_one, names):
    fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    late = run("ImageCondition", image=image, frame=9, strength=1.0, crf=-1)
    with pytest.raises(ConditioningError, match="frame 9"):
        stage_one(fresh, conditions=late)
    assert not fresh.get_models()


def test_own_compression(run, image, model, stage_one, same):
    given = {crf: run("ImageCondition", image=image, frame=0, strength=1.0, crf=crf) for crf in (-1, 33, 50)}
    results = {crf: stage_one(model, conditions=conditions) for crf, conditions in given.items()}
    assert same(results[-1], results[33]) and not same(results[33], results[50])


@pytest.mark.parametrize("frame", [0, 8])
def test_strength_zero_is_no_image(run, image, model, stage_one, same, frame):
    none = run("ImageCondition", image=image, frame=frame, strength=0.0, crf=-1)
    assert same(stage_one(model, conditions=none), stage_one(model, conditions=None))


def test_last_frame_counts_from_the_end(run, image, model, stage_one, same):
    last, eighth = (run("ImageCondition", image=image, frame=f, strength=1.0, crf=-1) for f in (-1, 8))
    assert same(stage_one(model, conditions=last), stage_one(model, conditions=eighth))
    assert not same(stage_one(model, conditions=last), stage_one(model, conditions=None))


def test_own_guidance_and_sigmas(run, model, stage_one, same):
    scales = {
        f"{m}_{n}": v for m in ("video", "audio") for n, v in (("cfg", 1), ("stg", 0), ("modality", 1), ("rescale", 0))
    }
    neutral = run("Guidance", preset="custom", stg_blocks="auto", skip_step=0, **scales)
    off = run("Guidance", preset="none", stg_blocks="auto", skip_step=0, **scales)
    assert same(stage_one(model, guidance=neutral), stage_one(model, guidance=off))
    assert not same(stage_one(model, guidance=off), stage_one(model))
    sigmas = model.variant.stage_one_schedule(2)
    assert same(stage_one(model, sigmas=sigmas, steps=7), stage_one(model))


@pytest.fixture
def told(nodes, vae, texts):
    """What a sampler shows on itself after its run, and the latent that it makes."""

    def sample(name: str, model, **inputs):
        extra = {"negative": texts[1]} if name == "StageOneSampler" else {}
        done = nodes[f"LTXDuo{name}"].execute(model=model, vae=vae, positive=texts[0], **extra, **inputs)
        return done.ui["text"], done.args[0]

    return sample


def test_a_start_latent_that_noise_replaces_is_told(told, model, stage_one, names, same, caplog):
    start = stage_one(model, seed=3, conditions=None)
    inputs = {**names.size, "seed": 10, "noise_device": "gpu"}
    wiped, _ = told("StageOneSampler", model, latent=start, **inputs)
    assert "steps x" in wiped[0] and "nothing of the connected latent" in wiped[1] and wiped[1] in caplog.text
    whole, partly = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.7, 0.4, 0.0])
    wiped, result = told("StageOneSampler", model, latent=start, sigmas=whole, **inputs)
    assert same(result, stage_one(model, conditions=None, sigmas=whole)) and len(wiped) == 2
    kept, result = told("StageOneSampler", model, latent=start, sigmas=partly, **inputs)
    assert not same(result, stage_one(model, conditions=None, sigmas=partly)) and len(kept) == 1
    empty = {"samples": torch.zeros_like(latents.take(start)[0])}
    assert len(told("StageOneSampler", model, latent=empty, **inputs)[0]) == 1


def test_sigmas_that_do_not_end_at_0_are_told(told, model, upsampled, names):
    noisy, _ = told("StageTwoSampler", model, latent=upsampled, sigmas=torch.tensor([0.9, 0.3]), **names.kept)
    assert len(noisy) == 2 and "end at 0.3" in noisy[1]
    anew, _ = told("StageTwoSampler", model, latent=upsampled, sigmas=torch.tensor([1.0, 0.0]), **names.kept)
    assert len(anew) == 2 and "nothing of the connected latent" in anew[1]
    usual, _ = told("StageTwoSampler", model, latent=upsampled, **names.kept)
    assert len(usual) == 1


def test_two_images_on_one_frame_are_refused_before_weights_are_read(run, image, stage_one, names):
    fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    last = run("ImageCondition", image=image, frame=8, strength=1.0, crf=-1)
    both = run("ImageCondition", image=image, frame=-1, strength=1.0, crf=-1, conditions=last)
    with pytest.raises(ConditioningError, match="frame 8, which 8 and -1 both mean"):
        stage_one(fresh, conditions=both)
    assert not fresh.get_models()
