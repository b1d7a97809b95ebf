"""Which record a model gets, and what sets the records apart.  The vendor's numbers: tests/parity/sampling."""

from dataclasses import fields, replace

import pytest
import torch

from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.sampling.guidance import OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.variants import MODEL_VARIANTS, RUN_NAMES, Kind, is_run, variant_of

GENERATIONS = [Generation.V2_0, Generation.V2_3]


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
    assert distilled.files.checkpoint.endswith("distilled.safetensors")
    assert dev.files.checkpoint.endswith("dev.safetensors")
    # The other files are one and the same.
    assert replace(distilled.files, checkpoint="", lora="") == replace(dev.files, checkpoint="", lora="")


def test_generations_share_the_text_encoder_alone():
    old, new = (variant_of(Kind.DEV, generation).files for generation in GENERATIONS)
    same = {field.name for field in fields(old) if getattr(old, field.name) == getattr(new, field.name)}
    assert same == {"text_encoder"}


@pytest.mark.parametrize(("generation", "block"), zip(GENERATIONS, (29, 28), strict=True))
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
    assert is_run(None) and RUN_NAMES == "LTX-2.3 and LTX-2.0"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("generation", [None, Generation.V2_5, Generation.LATER])
def test_what_is_not_known_counts_as_2_3(kind, generation):
    assert variant_of(kind, generation) is MODEL_VARIANTS[Generation.V2_3, kind]
    assert variant_of(kind) is MODEL_VARIANTS[Generation.V2_3, kind]
