"""Jobs as the engine's requests, and what a model would not do of them."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.sampling.conditions import GivenSound
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.ltx_core.video_vae.tiling import DEFAULT_TILING
from ltx_duo.scripts.batching.faults import JobFault
from ltx_duo.scripts.batching.jobs import ImageFile, Job, SoundFile
from ltx_duo.scripts.batching.requests import check, request_of

DEV, DISTILLED = variant_of(Kind.DEV), variant_of(Kind.DISTILLED)
JOB = Job(1, "a star", width=256, height=128, frames=17, fps=25.0, seed=3)
TONE = GivenSound(torch.zeros(2, 4800), 4800)


def test_a_job_becomes_a_request():
    image = torch.rand(8, 8, 3)
    job = replace(JOB, negative_prompt="dull", steps=4, images=(ImageFile("a.png", -1, 0.5, 0),), stage_one_sound=False)
    request = request_of(job, DEV, [image], None)
    assert (request.prompt, request.negative_prompt, request.seed, request.steps) == ("a star", "dull", 3, 4)
    size = request.geometry
    assert (size.width, size.height, size.frames, size.fps) == (256, 128, 17, 25.0)
    (given,) = request.images
    assert given.image is image
    assert (given.frame, given.strength, given.crf) == (-1, 0.5, 0)
    assert request.stage_one_sound is False
    assert (request.guidance, request.sound, request.tiling) == (None, None, DEFAULT_TILING)


def test_a_sound_and_a_decode_in_one_piece():
    request = request_of(replace(JOB, tiling="whole", sound=SoundFile("a.wav")), DEV, [], TONE)
    assert request.sound is TONE
    assert request.tiling is None
    assert request_of(replace(JOB, tiling="tiles"), DEV, [], None).tiling == DEFAULT_TILING


def test_guidance_is_the_models_but_for_what_is_said():
    said = {"video_cfg": 2.0, "audio_rescale": 0.0, "skip_step": 1, "stg_blocks": (3,)}
    guidance = request_of(replace(JOB, guidance=said), DEV, [], None).guidance
    assert guidance.video == replace(LTX_2_3_DEV.video, cfg=2.0)
    assert guidance.audio == replace(LTX_2_3_DEV.audio, rescale=0.0)
    assert (guidance.skip_step, guidance.stg_blocks) == (1, (3,))
    assert request_of(replace(JOB, guidance="none"), DEV, [], None).guidance is OFF


def test_good_jobs_pass():
    check(JOB, DEV, None)
    check(JOB, DISTILLED, None)
    check(replace(JOB, negative_prompt="dull", steps=3, images=(ImageFile("a.png"),)), DEV, TONE)
    check(replace(JOB, negative_prompt="dull", guidance={"video_cfg": 2.0}), DISTILLED, None)


BAD = {
    "width is 250, expected a multiple of 64 pixels: use 192 or 256": ({"width": 250}, DEV, None),
    "frames is 16": ({"frames": 16}, DEV, None),
    "fps is 0.5": ({"fps": 0.5}, DEV, None),
    "seed is -1": ({"seed": -1}, DEV, None),
    "steps is 0": ({"steps": 0}, DEV, None),
    "a distilled model has its own 8": ({"steps": 30}, DISTILLED, None),
    "frame 17": ({"images": (ImageFile("a.png", 17),)}, DEV, None),
    "crf is 60": ({"images": (ImageFile("a.png", crf=60),)}, DEV, None),
    "strength": ({"images": (ImageFile("a.png", strength=2.0),)}, DEV, None),
    "two images": ({"images": (ImageFile("a.png"), ImageFile("b.png", -17))}, DEV, None),
    "skip_step is -1": ({"guidance": {"skip_step": -1}}, DEV, None),
    "begins 9 s after": ({"sound": SoundFile("a.wav", -9.0)}, DEV, replace(TONE, start=-9.0)),
}
IDLE = {
    "does nothing without CFG": ({"negative_prompt": ""}, DISTILLED, None),
    "negative_prompt does nothing": ({"negative_prompt": "dull", "guidance": "none"}, DEV, None),
    "negative_prompt does": ({"negative_prompt": "dull", "guidance": {"video_cfg": 1.0}}, DEV, TONE),
    "stage_one_sound does nothing": ({"stage_one_sound": True}, DEV, TONE),
    "audio_cfg, audio_stg does nothing": ({"guidance": {"audio_cfg": 2.0, "audio_stg": 0.0}}, DEV, TONE),
}


@pytest.mark.parametrize("said", BAD)
def test_what_cannot_be_made_is_refused(said):
    changes, variant, sound = BAD[said]
    with pytest.raises(LTXError, match=f"(?i){said}"):
        check(replace(JOB, **changes), variant, sound)


@pytest.mark.parametrize("said", IDLE)
def test_what_would_do_nothing_is_refused(said):
    changes, variant, sound = IDLE[said]
    with pytest.raises(JobFault, match=said):
        check(replace(JOB, **changes), variant, sound)
