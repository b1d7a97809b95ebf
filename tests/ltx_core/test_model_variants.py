"""Which record a model gets, and what sets the records apart.  The vendor's numbers: tests/parity/sampling."""

from dataclasses import asdict, replace

import pytest
import torch

from ltx_duo.ltx_core.generation import Generation, named_generation
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.euler_ancestral import sample_euler_ancestral
from ltx_duo.ltx_core.sampling.guidance import OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.variants import MODEL_VARIANTS, RUN_NAMES, Kind, is_run, kind_of_name, variant_of

GENERATIONS = [Generation.V2_0, Generation.V2_3, Generation.V2_5]


def test_each_generation_has_both_kinds():
    assert set(MODEL_VARIANTS) == {(generation, kind) for generation in GENERATIONS for kind in Kind}
    for (generation, kind), record in MODEL_VARIANTS.items():
        assert (record.generation, record.kind) == (generation, kind)
        assert variant_of(kind, generation) is record


@pytest.mark.parametrize("generation", GENERATIONS)
def test_only_dev_models_follow_the_steps(generation):
    dev, distilled = variant_of(Kind.DEV, generation), variant_of(Kind.DISTILLED, generation)
    for steps in (1, 7, 20):
        assert torch.equal(dev.stage_one_schedule(steps), ltx2_sigmas(steps))
        assert len(distilled.stage_one_schedule(steps)) == 9
    assert torch.equal(dev.stage_one_schedule(), ltx2_sigmas(dev.steps))
    for record in (dev, distilled):
        assert len(record.stage_one_schedule()) == record.steps + 1


@pytest.mark.parametrize("generation", GENERATIONS)
def test_stage_ones_sound_is_kept_where_guidance_made_it(generation):
    """The vendor's two-stage pipeline does since v1.2; its distilled one gives stage two's in both versions."""
    assert [variant_of(kind, generation).stage_one_sound for kind in (Kind.DEV, Kind.DISTILLED)] == [True, False]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_distilled_model_needs_no_guidance_and_no_lora(generation):
    dev, distilled = variant_of(Kind.DEV, generation), variant_of(Kind.DISTILLED, generation)
    assert distilled.guidance == OFF != dev.guidance
    assert distilled.files.lora is None and "distilled-lora" in dev.files.lora
    assert "-distilled" in distilled.files.checkpoint and kind_of_name(distilled.files.checkpoint) is Kind.DISTILLED
    assert distilled.files.checkpoint == dev.files.checkpoint.replace("-dev", "-distilled")
    # The other files are one and the same.
    assert replace(distilled.files, checkpoint="", lora="") == replace(dev.files, checkpoint="", lora="")


def test_generations_share_the_text_encoder_until_2_5_and_nothing_else():
    for old, new, shared in ((*GENERATIONS[:2], {"text_encoder"}), (*GENERATIONS[1:], set())):
        old, new = (asdict(variant_of(Kind.DEV, generation).files) for generation in (old, new))
        assert {name for name, file in old.items() if file is not None and file == new[name]} == shared


def test_2_5_is_published_as_a_file_for_each_part():
    assert None not in asdict(variant_of(Kind.DEV, Generation.V2_5).files).values()
    parts = ("video_vae", "diffusion_vae", "audio_vae", "duration_head")
    for generation in GENERATIONS[:2]:
        assert [getattr(variant_of(Kind.DEV, generation).files, part) for part in parts] == [None] * 4
    for kind in Kind:
        for name in filter(None, asdict(variant_of(kind, Generation.V2_5).files).values()):
            assert named_generation(name) is Generation.V2_5 and kind_of_name(name) is (
                Kind.DISTILLED if "distilled" in name else Kind.DEV
            )


def test_images_of_2_5_are_compressed_less():
    """As the vendor's v1.2.0 has it since 2.4."""
    found = [variant_of(kind, generation).image_crf for generation in GENERATIONS for kind in Kind]
    assert found == [33] * 4 + [18] * 2


def test_only_distilled_2_5_makes_noise_on_its_way_and_only_in_stage_one():
    """As the vendor's v1.2.0: ancestral Euler from 2.5 on, seeded 10000 after the run."""
    for record in MODEL_VARIANTS.values():
        one, two = record.samplers(seed=7, noise_device="cpu")
        assert two is sample_euler
        if (record.generation, record.kind) == (Generation.V2_5, Kind.DISTILLED):
            assert one.func is sample_euler_ancestral
            assert one.keywords == {"noise_seed": 10007, "noise_device": "cpu"}
        else:
            assert one is sample_euler


@pytest.mark.parametrize(("generation", "block"), zip(GENERATIONS, (29, 28, 28), strict=True))
@pytest.mark.parametrize("kind", Kind)
def test_guidance_that_names_no_block_takes_the_models(kind, generation, block):
    record, asked = variant_of(kind, generation), Guidance(audio=ModalityGuidance(stg=1.0), skip_step=1)
    assert record.guidance_for(OFF) is OFF
    assert record.guidance_for(None) is record.guidance
    assert record.guidance_for(asked).blocks(48) == {block}
    assert replace(record.guidance_for(asked), stg_depth=None) == asked
    for own in (replace(asked, stg_blocks=(3, 5)), replace(asked, stg_depth=(1, 2))):
        assert record.guidance_for(own).blocks(48) == own.blocks(48)


def test_what_has_a_record_is_run():
    assert [generation for generation in Generation if is_run(generation)] == GENERATIONS
    assert is_run(None) and RUN_NAMES == "LTX-2.5, LTX-2.3 and LTX-2.0"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("generation", [None, Generation.LATER])
def test_what_is_not_known_counts_as_2_3(kind, generation):
    assert variant_of(kind, generation) is MODEL_VARIANTS[Generation.V2_3, kind]
    assert variant_of(kind) is MODEL_VARIANTS[Generation.V2_3, kind]
