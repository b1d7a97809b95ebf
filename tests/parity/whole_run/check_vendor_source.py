"""LTX-2.5 from the prompt's text to frames and waveform, against the pipeline classes of the vendor's newest source.

Not a part of all tests, since the vendor has published no package of v1.2.0.  With a checkout of Lightricks/LTX-2:

    python -m pytest tests/parity/whole_run/check_vendor_source.py --vendor-source PATH
"""

from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.scripts.small_model_parts.sizes import ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import split_files, write_split_files
from ltx_duo.tests.parity.whole_run import our_pipeline, vendor_source
from ltx_duo.tests.parity.whole_run.conftest import TOKENIZER, in_float32, reading
from ltx_duo.tests.parity.whole_run.scene import EIGHT_BIT, SmallModel, bar, errors

VENDOR = "the vendor's source, v1.2.0"
# Of these the vendor decodes stage two's sound.
SECOND_SOUND = ("distilled", "keyframes", "IC-LoRA")


@pytest.fixture(scope="module")
def source(request, run_seed, tmp_path_factory) -> vendor_source.Source:
    checkout = request.config.getoption("--vendor-source")
    assert checkout is not None, "--vendor-source is missing: a checkout of Lightricks/LTX-2"
    vendor_source.importable(checkout)
    folder = tmp_path_factory.mktemp("small-2.5")
    write_split_files(folder, ltx_2_5(), TOKENIZER, run_seed)
    files = split_files("ltx-2.5-small").below(folder)
    for path in (files.transformer, files.lora):
        in_float32(path)
    vendor_source.with_assets(files.text_encoder)
    return vendor_source.Source(files, TOKENIZER, reading(files.lora, folder))


@pytest.fixture(scope="module")
def components(source):
    """Of the dev model, and the same weights taken for a distilled one."""
    files = source.files
    dev = load_components(
        files.transformer, files.text_encoder, files.upsampler, (files.video_vae, files.audio_vae),
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    return {Kind.DEV: dev, Kind.DISTILLED: replace(dev, variant=variant_of(Kind.DISTILLED, dev.variant.generation))}


@pytest.mark.parametrize(
    ("pipeline", "scene"),
    [
        ("distilled", "text"),
        ("distilled", "image and keyframe"),
        ("distilled", "image and generated keyframes"),
        ("two-stage", "text"),
        ("two-stage", "image and keyframe"),
        ("two-stage", "image and generated keyframes"),
        ("HQ", "image and keyframe"),
        ("keyframes", "image and keyframe"),
        ("one stage", "image and keyframe"),
        ("sound-given", "sound, image and keyframe"),
        ("IC-LoRA", "two references"),
        ("IC-LoRA", "soft reference, attention mask, image and keyframe"),
        ("retake", "film"),
        ("distilled retake", "film"),
    ],
)
def test_whole_run(pipeline, scene, source, components, scenes, parity):
    reference = vendor_source.RUNS[pipeline](source, scenes[scene])
    # The vendor's retake and IC-LoRA take plain Euler steps of distilled models too.
    kind = Kind.DISTILLED if pipeline == "distilled" else Kind.DEV
    files = source.files
    model = SmallModel(files.transformer, files.upsampler, files.lora, files.text_encoder, source.ic_lora)
    ours = our_pipeline.run(
        components[kind], model, scenes[scene], pipeline, stage_one_sound=pipeline not in SECOND_SOUND
    )
    for name, expected in reference.items():
        what = f"whole run, {pipeline} of 2.5, {scene}: {name}"
        if name == EIGHT_BIT:
            parity.add(f"{what} (levels of 255)", VENDOR, errors(ours, reference)[name], bar(name))
        else:
            parity.check(what, VENDOR, ours[name], expected, bar(name))


def test_sound_only(source, scenes, parity):
    reference, files = vendor_source.run_sound_only(source, scenes["text"]), source.files
    model = SmallModel(files.transformer, files.upsampler, files.lora, files.text_encoder, source.ic_lora)
    ours = our_pipeline.run_sound_only(model, scenes["text"], [files.audio_vae])
    for name, expected in reference.items():
        parity.check(f"whole run, sound only of 2.5: {name}", VENDOR, ours[name], expected, bar(name))


def test_recipe(source):
    """Of the dev model by what its file says, and of a distilled one; negative prompts are our own."""
    from ltx_pipelines import distilled
    from ltx_pipelines.utils import constants

    theirs, file = constants.detect_params(str(source.files.transformer)), str(source.files.transformer)
    dev, fixed = (variant_of(kind, Generation.V2_5) for kind in (Kind.DEV, Kind.DISTILLED))
    for ours, params in (
        (dev.guidance.video, theirs.video_guider_params),
        (dev.guidance.audio, theirs.audio_guider_params),
    ):
        expected = (params.cfg_scale, params.stg_scale, params.modality_scale, params.rescale_scale)
        assert (ours.cfg, ours.stg, ours.modality, ours.rescale) == expected
        assert sorted(dev.guidance.blocks(48)) == params.stg_blocks
    assert (dev.steps, dev.image_crf) == (theirs.num_inference_steps, theirs.default_image_crf)
    assert torch.equal(fixed.stage_one_schedule(), constants.DISTILLED_SIGMAS)
    for record in (dev, fixed):
        assert torch.equal(record.stage_two_schedule(), constants.STAGE_2_DISTILLED_SIGMAS)
    assert distilled.should_use_ancestral_sampler(file)
    offset = distilled.ANCESTRAL_NOISE_SEED_OFFSET
    assert fixed.samplers(3)[0].keywords["noise_seed"] == 3 + offset and distilled.ANCESTRAL_ETA == 1
