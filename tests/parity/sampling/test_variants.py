"""The records of models against the vendor's own constants (v1.0)."""

import pytest
import torch

from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.variants import Kind, variant_of

VENDOR_NAMES = {Generation.V2_0: "LTX_2_PARAMS", Generation.V2_3: "LTX_2_3_PARAMS"}
BLOCKS = 48  # of every official transformer
GENERATIONS = pytest.mark.parametrize("generation", VENDOR_NAMES)


@GENERATIONS
def test_dev_models_are_guided_as_the_vendor_does(vendor, generation):
    record, theirs = variant_of(Kind.DEV, generation), getattr(vendor.constants, VENDOR_NAMES[generation])
    for ours, params in (
        (record.guidance.video, theirs.video_guider_params),
        (record.guidance.audio, theirs.audio_guider_params),
    ):
        expected = (params.cfg_scale, params.stg_scale, params.modality_scale, params.rescale_scale)
        assert (ours.cfg, ours.stg, ours.modality, ours.rescale) == expected
        assert sorted(record.guidance.blocks(BLOCKS)) == params.stg_blocks
        assert record.guidance.skip_step == params.skip_step


@GENERATIONS
def test_dev_models_take_the_vendors_number_of_steps(vendor, generation):
    record, theirs = variant_of(Kind.DEV, generation), getattr(vendor.constants, VENDOR_NAMES[generation])
    assert record.steps == theirs.num_inference_steps
    schedule = vendor.schedulers.LTX2Scheduler().execute(steps=theirs.num_inference_steps)
    assert torch.equal(record.stage_one_schedule(), schedule)


@GENERATIONS
@pytest.mark.parametrize("steps", [None, 1, 8, 20])
def test_the_noise_levels_of_distilled_models_are_fixed(vendor, generation, steps):
    record, theirs = variant_of(Kind.DISTILLED, generation), vendor.constants.DISTILLED_SIGMA_VALUES
    assert torch.equal(record.stage_one_schedule(steps), torch.tensor(theirs))
    assert record.steps == len(theirs) - 1


@GENERATIONS
@pytest.mark.parametrize("kind", Kind)
def test_what_all_models_have_of_the_vendor(vendor, generation, kind):
    record, constants = variant_of(kind, generation), vendor.constants
    assert record.image_crf == constants.DEFAULT_IMAGE_CRF
    assert torch.equal(record.stage_two_schedule(), torch.tensor(constants.STAGE_2_DISTILLED_SIGMA_VALUES))
    assert record.samplers(0) == (sample_euler, sample_euler)
