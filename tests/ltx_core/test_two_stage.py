"""What a request leaves open, and what the two stages are as data."""

from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError, LTXError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.request import Request
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, Kept
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, LTX_2_3_HQ, OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.res_2s import sample_res_2s
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import AVLatent, Start
from ltx_duo.ltx_core.two_stage import stage_one, stage_two
from ltx_duo.ltx_core.variants import MODEL_VARIANTS, Kind, variant_of

FINAL = LatentGeometry(192, 128, 17, 24.0)
RECORDS = list(MODEL_VARIANTS.values())
SIGMAS = torch.tensor([0.8, 0.3, 0.0])


def latent(geometry: LatentGeometry = FINAL) -> AVLatent:
    return AVLatent(torch.rand(1, *geometry.video_shape), torch.rand(1, *geometry.audio_shape))


def image() -> FirstFrame:
    return FirstFrame(torch.rand(1, 128, 1, 4, 6))


def kept(stream: str, share: float | None) -> Kept:
    """A latent that is kept as a whole, without a `share`, or but for this share of its cells."""
    whole = getattr(latent(), stream)
    cells = (1, *FINAL.video_shape[1:]) if stream == "video" else (1, FINAL.audio_frames)
    return Kept(whole, None if share is None else (torch.rand(cells) < share).float())


def same(one, other) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one is other or one == other


def described(sampler) -> tuple:
    """A sampler with its own settings, which compares by what it is."""
    return (sampler.func, sampler.keywords) if isinstance(sampler, partial) else (sampler, {})


@pytest.mark.parametrize("sampler", [sample_res_2s, sample_euler])
def test_a_sampler_that_is_asked_for_samples_both_stages(sampler):
    for record in RECORDS:
        filled = Request("", FINAL, sampler=sampler).filled(record)
        assert filled.sampler is filled.stage_two_sampler is sampler
        own = Request("", FINAL, stage_two_sampler=sampler).filled(record)
        assert own.stage_two_sampler is sampler and described(own.sampler) == described(record.samplers(10)[0])


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.generation} {record.kind}")
def test_what_a_request_leaves_open_is_as_the_model_has_it(record):
    request = Request("a lake", FINAL).filled(record)
    assert request.guidance == record.guidance and request.negative_prompt == record.negative_prompt
    assert torch.equal(request.stage_one_sigmas, record.stage_one_schedule())
    assert torch.equal(request.stage_two_sigmas, record.stage_two_schedule())
    assert request.stage_one_sound is record.stage_one_sound
    samplers = zip((request.sampler, request.stage_two_sampler), record.samplers(10), strict=True)
    assert all(described(one) == described(other) for one, other in samplers)
    assert (request.prompt, request.geometry, request.seed, request.images) == ("a lake", FINAL, 10, ())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.generation} {record.kind}")
def test_the_block_that_a_request_leaves_open_is_that_of_the_generation(record):
    filled = Request("a lake", FINAL, guidance=Guidance(ModalityGuidance(stg=1.0))).filled(record)
    assert filled.guidance.blocks(48) == {29 if record.generation is Generation.V2_0 else 28}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record.generation} {record.kind}")
def test_what_a_request_says_stays(record):
    """Also what counts as nothing: an empty negative prompt, no guidance, no, 0."""
    said = Request(
        "a lake",
        FINAL,
        negative_prompt="",
        seed=0,
        guidance=LTX_2_3_HQ,
        stage_one_sigmas=SIGMAS,
        stage_two_sigmas=SIGMAS / 2,
        sampler=sample_res_2s,
        stage_two_sampler=sample_euler,
        stage_one_sound=not record.stage_one_sound,
    )
    filled = said.filled(record)
    for field in fields(Request):
        assert same(getattr(filled, field.name), getattr(said, field.name)), field.name
    assert replace(said, guidance=OFF).filled(record).guidance is OFF


def test_a_requests_steps_count_where_the_model_has_no_fixed_ones():
    dev, distilled = (variant_of(kind, Generation.V2_3) for kind in (Kind.DEV, Kind.DISTILLED))
    assert torch.equal(Request("", FINAL, steps=7).filled(dev).stage_one_sigmas, ltx2_sigmas(7))
    assert len(Request("", FINAL, steps=8).filled(distilled).stage_one_sigmas) == 9
    own = Request("", FINAL, steps=2, stage_one_sigmas=SIGMAS).filled(dev)
    assert torch.equal(own.stage_one_sigmas, SIGMAS)


def test_a_request_for_one_stage_has_nothing_of_stage_two():
    odd = LatentGeometry(96, 32, 17, 24.0)  # stage two would need steps of 64
    with pytest.raises(LTXError, match="multiple of 64"):
        Request("", odd)
    for record in RECORDS:
        filled = Request("", odd, one_stage=True).filled(record)
        assert filled.stage_two_sigmas is None and filled.stage_one_sound is True
        assert torch.equal(filled.stage_one_sigmas, record.stage_one_schedule())
    for wrong in ({"stage_two_sigmas": SIGMAS}, {"stage_one_sound": False}, {"stage_two_sampler": sample_euler}):
        with pytest.raises(LTXError, match="stage two's sigmas, sampler or sound"):
            Request("", odd, one_stage=True, **wrong)


def test_stage_one_begins_from_noise_alone():
    condition = image()
    stage = stage_one(FINAL, SIGMAS, LTX_2_3_DEV, conditions=[condition], sampler=sample_res_2s)
    assert stage.guidance is LTX_2_3_DEV and stage.sampler is sample_res_2s and stage.sigmas is SIGMAS
    for start in (stage.video, stage.audio):
        assert start.latent is None and start.noise_scale == 1.0 and not start.frozen
    assert stage.video.conditions == (condition,) and stage.audio.conditions == ()


def test_stage_one_goes_on_from_a_latent_at_its_first_noise_level():
    given = latent()
    stage = stage_one(FINAL, SIGMAS, OFF, initial=given)
    assert stage.video.latent is given.video and stage.audio.latent is given.audio
    assert stage.video.noise_scale == stage.audio.noise_scale == pytest.approx(0.8)
    silent = stage_one(FINAL, SIGMAS, OFF, initial=AVLatent(given.video, None))
    assert silent.audio is not None and silent.audio.latent is None


def test_stage_one_begins_from_noise_alone_whatever_is_kept_of_it():
    """Nothing of what is made anew shows the film, as at the vendor; the conditions come after what is kept."""
    video, audio, condition = kept("video", 0.5), kept("audio", 0.5), image()
    stage = stage_one(FINAL, ltx2_sigmas(4), OFF, conditions=[condition], video=video, audio=audio)
    assert stage.video == Start(None, 1.0, (video, condition)) and stage.audio == Start(None, 1.0, (audio,))


def test_stage_one_begins_from_a_given_video_at_its_first_noise_level():
    """Video to video: also what is made anew of it."""
    video, audio = kept("video", 0.5), kept("audio", 0.5)
    stage = stage_one(FINAL, SIGMAS, OFF, video=video, audio=audio)
    level = pytest.approx(0.8)
    assert stage.video == Start(video.latent, level, (video,)) and stage.audio == Start(audio.latent, level, (audio,))
    silent = stage_one(FINAL, SIGMAS, OFF, video=video)
    assert silent.video.latent is video.latent and silent.audio == Start(None, level)


def test_without_a_video_stage_one_is_noise_whatever_its_first_noise_level():
    for audio in (None, kept("audio", None), kept("audio", 0.5)):
        assert stage_one(FINAL, SIGMAS, OFF, audio=audio).video == Start()


@pytest.mark.parametrize("stage", [stage_one, stage_two])
@pytest.mark.parametrize("nothing", [None, 0.0])
def test_a_stream_that_is_given_as_a_whole_is_frozen_in_both_stages(stage, nothing):
    arguments = (FINAL, latent(), SIGMAS) if stage is stage_two else (FINAL, SIGMAS, OFF)
    for stream, other in (("video", "audio"), ("audio", "video")):
        given = kept(stream, nothing)
        made = stage(*arguments, **{stream: given})
        assert getattr(made, stream) == Start(given.latent, 0.0, frozen=True)
        assert getattr(made, other).noise_scale > 0 and not getattr(made, other).frozen
    with pytest.raises(ConditioningError, match="images in it change nothing: take them out"):
        stage(*arguments, conditions=[image()], video=kept("video", nothing))


def test_stage_two_refines_picture_and_sound_without_guidance():
    given, condition = latent(), image()
    stage = stage_two(FINAL, given, SIGMAS, conditions=[condition])
    assert stage.guidance is OFF and stage.geometry == FINAL and stage.sigmas is SIGMAS
    assert stage.video.latent is given.video and stage.audio.latent is given.audio
    assert stage.video.noise_scale == stage.audio.noise_scale == pytest.approx(0.8)
    assert stage.video.conditions == (condition,) and stage.audio.conditions == ()
    assert not stage.video.frozen and not stage.audio.frozen


def test_stage_two_goes_on_from_the_upsampled_latent_around_what_is_kept():
    """What stays is the given one, encoded at this size; without a clean background it is refined like the rest."""
    given, video, audio, condition = latent(), kept("video", 0.5), kept("audio", 0.5), image()
    stages = [
        stage_two(FINAL, given, SIGMAS, conditions=[condition], video=video, audio=audio, clean_background=clean)
        for clean in (True, False)
    ]
    for stage, conditions in zip(stages, ((video, condition), (condition,)), strict=True):
        assert stage.video.latent is given.video and stage.video.conditions == conditions
        assert stage.audio.latent is given.audio and stage.audio.conditions == (audio,)
        assert stage.video.noise_scale == stage.audio.noise_scale == pytest.approx(0.8)
    whole = kept("video", None)
    assert stage_two(FINAL, given, SIGMAS, video=whole, clean_background=False).video.frozen


def test_stage_two_makes_no_sound_around_a_given_part():
    silent = AVLatent(latent().video, None)
    with pytest.raises(ConditioningError, match="A part of the sound is given, but the latent has none"):
        stage_two(FINAL, silent, SIGMAS, audio=kept("audio", 0.5))
    assert stage_two(FINAL, silent, SIGMAS, audio=kept("audio", None)).audio.frozen


def test_stage_two_has_noise_levels_of_its_own():
    stage = stage_two(FINAL, latent())
    assert stage.sigmas.tolist() == pytest.approx([0.909375, 0.725, 0.421875, 0.0])
    assert stage.video.noise_scale == pytest.approx(0.909375)
    assert stage_two(FINAL, AVLatent(latent().video, None)).audio is None


def test_stage_two_takes_a_latent_of_its_own_size_alone():
    with pytest.raises(LTXError, match=r"192x128 pixels .* \(3, 4, 6\), but got one of \(3, 2, 3\)"):
        stage_two(FINAL, latent(FINAL.half()))
