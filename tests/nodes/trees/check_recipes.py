"""Recipes that samplers can be set to: sampler, schedule, one stage at the asked size, keyframes, high quality."""

from functools import partial

import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_HQ
from ltx_duo.ltx_core.sampling.samplers import SAMPLERS
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE, ltx2_sigmas
from ltx_duo.nodes.comfyui import latents
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

ONE, TWO = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"
TOKENS_OF_HALF = 2 * 1 * 2  # of 64x32 pixels and 9 frames


def test_recipe_is_the_models_own(model, stage_one, stage_two, upsampled, watched, same):
    assert same(stage_one(model), stage_one(model, sampler="recipe", schedule="recipe", size="half"))
    assert same(stage_two(model, upsampled), stage_two(model, upsampled, sampler="recipe"))
    assert {stage.sampler for stage in watched} == set(model.variant.samplers(0))


def test_every_sampler_makes_another_film(model, stage_one, stage_two, upsampled):
    for make in (stage_one, partial(stage_two, latent=upsampled)):
        made = [latents.take(make(model=model, sampler=name, conditions=None))[0] for name in SAMPLERS]
        for number, one in enumerate(made):
            assert all(not torch.equal(one, other) for other in made[number + 1 :])


def test_noise_of_the_stages_own_device_and_seed(model, stage_one, stage_two, upsampled, watched, same):
    """Of ancestral Euler: stage two goes on with the seed of stage one, as long as it continues its noise."""
    stage_one(model, seed=3, sampler="euler_ancestral")
    stage_two(model, upsampled, seed=99, sampler="euler_ancestral")
    stage_two(model, upsampled, noise="new seed", seed=99, sampler="euler_ancestral")
    stage_one(model, sampler="res_2s", noise_device="cpu")
    one, continued, anew, res_2s = (stage.sampler.keywords for stage in watched[-4:])
    assert [own["noise_seed"] for own in (one, continued, anew)] == [10003, 10010, 10099]
    assert all(own["noise_device"] == torch.device("cpu") for own in (one, continued, anew, res_2s))
    assert "noise_seed" not in res_2s


def test_schedules(model, stage_one, watched):
    for name, steps in (("by size", 5), ("distilled", 5), ("recipe", 5)):
        stage_one(model, schedule=name, steps=steps, conditions=None)
    by_size, distilled, recipe = (stage.sigmas for stage in watched)
    assert torch.equal(by_size, ltx2_sigmas(5, TOKENS_OF_HALF))
    assert torch.equal(distilled, torch.tensor(DISTILLED_STAGE_ONE))
    assert torch.equal(recipe, ltx2_sigmas(5))


def test_a_schedule_beside_own_sigmas_is_told(nodes, model, vae, texts, names):
    inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], **names.size}
    sigmas = torch.tensor([1.0, 0.0])
    told = [
        nodes[ONE].execute(seed=1, noise_device="cpu", sigmas=sigmas, schedule=name, **inputs).ui["text"]
        for name in ("by size", "recipe")
    ]
    assert "'by size' has no effect" in told[0][1] and len(told[1]) == 1


def test_full_size(run, vae, model, stage_one, conditions, watched):
    """The asked size, with the images encoded at it; it is decoded at once."""
    whole = stage_one(model, size="full")
    (stage,) = watched
    assert (stage.geometry.width, stage.geometry.height) == (128, 64)
    video, _ = latents.take(whole)
    assert video.shape[2:] == (2, 2, 4)
    assert torch.equal(video[:, :, :1], stage.video.conditions[0].latent)
    _, frames, sound = run("AVDecode", latent=whole, vae=vae, tiling="off")
    assert frames.shape == (9, 64, 128, 3) and sound["waveform"].shape[-1] > 0


def test_full_size_begins_from_a_latent_of_its_size(model, stage_one, stage_two, upsampled, same):
    again = stage_one(model, size="full", latent=upsampled, denoise=0.5)
    assert latents.take(again)[0].shape == latents.take(upsampled)[0].shape
    assert not same(again, upsampled)


def test_an_image_on_the_first_frame_as_keyframe(run, image, model, stage_one, watched, same):
    given = {
        how: run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1, first_frame=how)
        for how in ("in place", "keyframe")
    }
    made = {how: stage_one(model, conditions=conditions) for how, conditions in given.items()}
    assert [stage.video.conditions[0].appended_tokens for stage in watched] == [0, 2]
    assert not same(*made.values())
    assert same(made["in place"], stage_one(model))


def test_high_quality_guidance(run):
    scales = {f"{m}_{n}": 1.0 for m in ("video", "audio") for n in ("cfg", "stg", "modality", "rescale")}
    assert run("Guidance", preset="high quality", stg_blocks="auto", skip_step=0, **scales) is LTX_2_3_HQ


def test_high_quality_needs_a_negative_prompt():
    scene = Scene("text-to-video").set("LTXDuoGuidance", preset="high quality")
    assert scene.report() == Report()
    assert "CFG 3 (picture) and 7 (sound)" in scene.cut(ONE, "negative").errors()[ONE]


@pytest.mark.parametrize(
    ("lora", "told"),
    [({}, False), ({"strength_stage_one": 0.49}, True), ({"lora": "style.safetensors"}, True),
     ({"strength_stage_one": ["99", 0]}, False)],
)  # fmt: skip
def test_the_schedule_of_distilled_models_needs_distilled_weights(lora, told):
    scene = Scene("distilled-lora").set("LTXDuoLoraLoader", **lora)
    warned = [text for node, text in scene.report().warnings if node.type == ONE]
    assert bool(warned) == told and all("strength_stage_one 0.5 or more" in text for text in warned)
    for otherwise in ({"schedule": "recipe"}, {"sigmas": ["99", 0]}):
        again = Scene("distilled-lora").set("LTXDuoLoraLoader", **lora).set(ONE, **otherwise)
        assert not any("need distilled weights, and here" in text for _, text in again.report().warnings)
    scene.set("LTXDuoModelLoader", kind="distilled")
    assert not any(node.type == ONE for node, _ in scene.report().warnings)


def test_a_full_size_that_is_enlarged_is_told():
    scene = Scene("text-to-video").set(ONE, size="full")
    assert list(scene.warnings()) == ["LTXDuoLatentUpsampler"]
    again = scene.add("LTXDuoLatentUpsampler", latent=scene.link("LTXDuoLatentUpsampler"))
    told = scene.set(TWO, latent=again).report().warnings
    assert sum("works at full size" in text for _, text in told) == 1
    # Stage two may refine it as it is.
    assert scene.set(TWO, latent=scene.link(ONE)).set("LTXDuoLatentUpsampler", latent=["99", 0]).report() == Report()
    scene.set(ONE, size="half")
    assert "half size" in scene.warnings()[TWO]


def test_a_start_latent_of_the_full_size():
    scene = Scene("text-to-video").set(ONE, size="full", denoise=0.5)
    scene.set(TWO, latent=scene.link(ONE)).set("LTXDuoLatentUpsampler", latent=["99", 0])
    small = scene.add("EmptyLTXVLatentVideo", width=768, height=512, length=121, batch_size=1)
    text = scene.set(ONE, latent=small).errors()[ONE]
    assert "768x512" in text and "works at the final width and height: 1536x1024" in text
    assert scene.set("EmptyLTXVLatentVideo", width=1536, height=1024).report().errors == {}


def test_a_schedule_beside_own_sigmas_is_told_when_it_is_queued():
    scene = Scene("mixed-with-native").set(ONE, schedule="by size")
    assert "'by size' has no effect" in scene.warnings()[ONE]
    assert scene.set(ONE, schedule="recipe").report() == Report()


CUSTOM = {"preset": "custom", "stg_blocks": "auto"} | {
    f"{m}_{n}": 0.5 if n == "rescale" else 2.0
    for m in ("video", "audio") for n in ("cfg", "stg", "modality", "rescale")
}  # fmt: skip


def test_reused_guidance_is_told_with_its_steps(run, nodes, model, vae, texts, names):
    """Two of four steps run one pass; what comes is another film."""
    inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], **names.size}
    sigmas = torch.tensor([1.0, 0.96, 0.8, 0.77, 0.0])
    said, made = [], []
    for reuse in (True, False):
        guidance = run("Guidance", reuse_guidance=reuse, **CUSTOM)
        output = nodes[ONE].execute(seed=1, noise_device="cpu", sigmas=sigmas, guidance=guidance, **inputs)
        said.append(output.ui["text"][0])
        made.append(latents.take(output.args[0])[0])
    assert said[0].startswith("2 steps x 4 passes and 2 x 1, ") and said[1].startswith("4 steps x 4 passes, ")
    assert made[0].isfinite().all() and not torch.equal(*made)
    reused = run("Guidance", reuse_guidance=True, **CUSTOM)
    with pytest.raises(LTXError, match="for sampler euler alone"):
        nodes[ONE].execute(seed=1, noise_device="cpu", guidance=reused, sampler="res_2s", **inputs)


def test_what_does_not_reuse_guidance_is_refused_when_it_is_queued(nodes):
    scene = Scene("text-to-video").set("LTXDuoGuidance", preset="custom", reuse_guidance=True)
    assert scene.set(ONE, sampler="euler").report() == scene.set(ONE, sampler="recipe").report() == Report()
    assert "sampler res_2s does not do" in scene.set(ONE, sampler="res_2s").errors()[ONE]
    assert scene.set("LTXDuoGuidance", reuse_guidance=False).report() == Report()
    check = nodes["LTXDuoGuidance"].validate_inputs
    assert "skip_step is 1" in check(preset="custom", skip_step=1, reuse_guidance=True)
    assert check(preset="none", skip_step=1, reuse_guidance=True) is True
    assert check(preset="custom", skip_step=0, reuse_guidance=True) is True
