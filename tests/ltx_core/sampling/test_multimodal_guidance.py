import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import ConditioningError, LTXError
from ltx_duo.ltx_core.sampling.guidance import (
    LTX_2_0_DEV,
    LTX_2_3_DEV,
    LTX_2_3_HQ,
    OFF,
    Contexts,
    Guidance,
    ModalityGuidance,
    combine,
    passes,
)

CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))


def names(guidance, **options):
    return [p.name for p in passes(guidance, CONTEXTS, 48, **options)]


def test_the_presets_are_the_vendors():
    assert (LTX_2_3_DEV.video, LTX_2_3_DEV.audio) == (ModalityGuidance(3, 1, 3, 0.7), ModalityGuidance(7, 1, 3, 0.7))
    assert (LTX_2_3_HQ.video, LTX_2_3_HQ.audio) == (ModalityGuidance(3, 0, 3, 0.45), ModalityGuidance(7, 0, 3, 1.0))
    assert LTX_2_0_DEV.video == LTX_2_3_DEV.video and LTX_2_0_DEV.audio == LTX_2_3_DEV.audio
    assert names(LTX_2_3_DEV) == ["cond", "negative", "perturbed", "isolated"]
    assert names(LTX_2_3_HQ) == ["cond", "negative", "isolated"]
    assert names(OFF) == ["cond"]


def test_the_perturbed_block_suits_the_model():
    assert LTX_2_3_DEV.blocks(48) == {28} and LTX_2_0_DEV.blocks(48) == {29}
    assert LTX_2_3_DEV.blocks(2) == {1} and LTX_2_3_DEV.blocks(1) == {0} and LTX_2_0_DEV.blocks(24) == {14}
    assert Guidance(stg_blocks=(1, 3)).blocks(4) == {1, 3}
    with pytest.raises(LTXError, match=r"blocks \[4, 28\] do not exist: the model has 4 blocks, 0 to 3"):
        Guidance(stg_blocks=(28, 3, 4)).blocks(4)


@given(layers=st.integers(1, 200))
def test_the_derived_block_exists_in_any_model(layers):
    for guidance in (LTX_2_3_DEV, LTX_2_0_DEV):
        assert all(0 <= block < layers for block in guidance.blocks(layers))


def test_what_each_pass_changes():
    cond, negative, perturbed, isolated = passes(LTX_2_3_DEV, CONTEXTS, 48)
    assert cond.video_context is CONTEXTS.video and cond.audio_context is CONTEXTS.audio
    assert negative.video_context is CONTEXTS.negative_video and negative.audio_context is CONTEXTS.negative_audio
    assert perturbed.perturbed_video_blocks == perturbed.perturbed_audio_blocks == {28}
    assert isolated.isolated and not (cond.isolated or negative.isolated or perturbed.isolated)
    for other in (perturbed, isolated):
        assert other.video_context is cond.video_context and other.audio_context is cond.audio_context
    for other in (cond, negative, isolated):
        assert not other.perturbed_video_blocks and not other.perturbed_audio_blocks


def test_only_modalities_with_stg_are_perturbed():
    only_audio = passes(Guidance(audio=ModalityGuidance(stg=1)), CONTEXTS, 48)[1]
    assert only_audio.perturbed_audio_blocks == {28} and not only_audio.perturbed_video_blocks
    only_video = passes(Guidance(video=ModalityGuidance(stg=1)), CONTEXTS, 48)[1]
    assert only_video.perturbed_video_blocks == {28} and not only_video.perturbed_audio_blocks
    assert names(Guidance(video=ModalityGuidance(stg=1), stg_blocks=())) == ["cond"]


scales = st.builds(
    ModalityGuidance,
    cfg=st.sampled_from([1.0, 3.0]), stg=st.sampled_from([0.0, 1.0]), modality=st.sampled_from([1.0, 3.0]),
)  # fmt: skip


@given(video=scales, audio=scales)
def test_a_pass_runs_if_either_modality_needs_it(video, audio):
    wanted = ["cond"]
    wanted += ["negative"] * (video.cfg != 1 or audio.cfg != 1)
    wanted += ["perturbed"] * (video.stg != 0 or audio.stg != 0)
    wanted += ["isolated"] * (video.modality != 1 or audio.modality != 1)
    assert names(Guidance(video, audio)) == wanted
    silent = ["cond"] + ["negative"] * (video.cfg != 1) + ["perturbed"] * (video.stg != 0)
    assert names(Guidance(video, audio), with_audio=False) == silent


def test_a_missing_negative_prompt_is_named():
    prompt_only = Contexts(CONTEXTS.video, CONTEXTS.audio)
    with pytest.raises(ConditioningError, match="needs the encoded negative prompt"):
        passes(LTX_2_3_DEV, prompt_only, 48)
    video_only = Contexts(CONTEXTS.video, CONTEXTS.audio, negative_video=CONTEXTS.negative_video)
    negative = passes(Guidance(video=ModalityGuidance(cfg=3)), video_only, 48)[1]
    assert negative.video_context is CONTEXTS.negative_video and negative.audio_context is CONTEXTS.audio
    with pytest.raises(ConditioningError):
        passes(Guidance(audio=ModalityGuidance(cfg=3)), video_only, 48)


numbers = st.floats(-4, 8)


@given(cfg=numbers, stg=numbers, modality=numbers, rescale=st.floats(0, 1), seed=st.integers(0, 2**30))
def test_combine_equals_the_formula_in_float64(cfg, stg, modality, rescale, seed):
    generator = torch.Generator().manual_seed(seed)
    c, n, p, m = torch.randn(4, 1, 7, 5, generator=generator)
    guided = combine(
        ModalityGuidance(cfg, stg, modality, rescale), {"cond": c, "negative": n, "perturbed": p, "isolated": m}
    )
    c, n, p, m = (x.double() for x in (c, n, p, m))
    expected = c + (cfg - 1) * (c - n) + stg * (c - p) + (modality - 1) * (c - m)
    expected = expected * (rescale * c.std() / expected.std() + 1 - rescale)
    assert torch.allclose(guided.double(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


def test_full_rescale_brings_back_the_contrast_of_the_whole_tensor(rng):
    x0 = {"cond": torch.randn(2, 9, 128, generator=rng), "negative": torch.randn(2, 9, 128, generator=rng)}
    x0["cond"][0] *= 10
    guided = combine(ModalityGuidance(cfg=4, rescale=1), x0)
    assert guided.std().item() == pytest.approx(x0["cond"].std().item(), rel=1e-5)
    assert guided[0].std().item() != pytest.approx(x0["cond"][0].std().item(), rel=1e-3)


def test_combine_in_bfloat16_rounds_only_the_result(rng):
    """v1.2 combines in float32; v1.0 did in the predictions' bfloat16."""
    scales = ModalityGuidance(3, 1, 3, 0.7)
    x0 = {
        name: torch.randn(1, 64, 128, generator=rng).bfloat16()
        for name in ("cond", "negative", "perturbed", "isolated")
    }
    exact = combine(scales, {name: value.float() for name, value in x0.items()})
    guided = combine(scales, x0)
    assert guided.dtype == torch.bfloat16 and torch.equal(guided, exact.bfloat16())


@given(k=st.integers(0, 5), step=st.integers(0, 60))
def test_skip_step_guides_every_k_plus_first(k, step):
    assert Guidance(skip_step=k).skips(step) == (k > 0 and step % (k + 1) != 0)


def test_senseless_settings_are_refused():
    with pytest.raises(LTXError, match="not a finite number"):
        ModalityGuidance(cfg=float("inf"))
    with pytest.raises(LTXError, match="skip_step is -1"):
        Guidance(skip_step=-1)
