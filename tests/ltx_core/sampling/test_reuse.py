"""Guidance that is reused: which steps compute what, and what the others take, beside a plain account of it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import LTXError, NotFiniteError
from ltx_duo.ltx_core.sampling.conditions import Voice
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts, Guidance
from ltx_duo.ltx_core.sampling.samplers import SAMPLERS, named_sampler
from ltx_duo.ltx_core.sampling.schedule import ltx2_sigmas
from ltx_duo.ltx_core.sampling.stage import Stage, Start, begin, sample_stage
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
CONTEXTS = Contexts(*(torch.full((1, 2, 3), float(i)) for i in range(4)))
REUSED = replace(LTX_2_3_DEV, reuse=True)
# Steps 1, 3 and 5 reuse guidance; 7 is long, and 9 low.
SIGMAS = torch.tensor([1.0, 0.97, 0.9, 0.86, 0.7, 0.66, 0.62, 0.55, 0.5, 0.46, 0.0])
FULL = ["cond", "negative", "perturbed", "isolated"]


def velocity(tokens, t, p):
    """Differs by pass, by token and with t, not on a line."""
    own = FULL.index(p.name)
    return torch.sin((1 + 0.2 * own) * tokens + own * t[..., None] ** 2)


def begun(batch: int = 1, **changes):
    """A state of both streams, with what `changes` says of the stage."""
    stage = Stage(GEOMETRY, SIGMAS, guidance=REUSED, **changes)
    state = begin(stage, torch.Generator().manual_seed(2), dtype=torch.float32)
    return state.with_latents([torch.cat([(1 - 0.3 * i) * m.latent for i in range(batch)]) for m in state.modalities])


def plain(state, sigmas, guidance):
    """The same in one loop over float64 tokens of whole streams, with the differences of x0 per unit of sigma."""
    scales = guidance.video, guidance.audio
    x, known = [m.latent.double() for m in state.modalities], []
    for step, (sigma, after) in enumerate(zip(sigmas[:-1].double(), sigmas[1:].double(), strict=True)):
        computed = step not in (1, 3, 5)

        def x0(tokens, name, sigma=sigma):
            return tokens - sigma * velocity(tokens, sigma.expand(tokens.shape[:2]), SimpleNamespace(name=name))

        cond = [x0(tokens, "cond") for tokens in x]
        if computed:
            rates = [[(c - x0(own, n)) / sigma for n in FULL[1:]] for c, own in zip(cond, x, strict=True)]
            known = [*known[-1:], (sigma, rates)]
        (one, first), (two, second) = known[0], known[-1]
        share = 0.0 if computed or len(known) < 2 else (sigma - two) / (two - one)
        for i, scale in enumerate(scales):
            guided = cond[i]
            weights = scale.cfg - 1, scale.stg, scale.modality - 1
            for weight, older, newer in zip(weights, first[i], second[i], strict=True):
                guided = guided + weight * sigma * (newer + share * (newer - older))
            guided = guided * (scale.rescale * cond[i].std() / guided.std() + 1 - scale.rescale)
            x[i] = x[i] + (x[i] - guided) / sigma * (after - sigma)
    return x


def test_equals_a_plain_account_of_it(toy_model):
    state = begun()
    made = run_sampler(sample_euler, toy_model(velocity), state, SIGMAS, REUSED, CONTEXTS)
    other = run_sampler(sample_euler, toy_model(velocity), state, SIGMAS, LTX_2_3_DEV, CONTEXTS)
    for own, expected, full in zip(made.modalities, plain(state, SIGMAS, REUSED), other.modalities, strict=True):
        assert torch.allclose(own.latent.double(), expected, atol=2e-5, rtol=2e-5)
        assert (own.latent - full.latent).abs().max() > 1e-3  # or nothing was reused


@given(steps=st.integers(1, 40))
def test_every_other_short_step_computes_the_prompts_pass_alone(steps):
    sigmas = ltx2_sigmas(steps)
    short = [n for n in range(1, steps, 2) if sigmas[n] > 0.5 and float(sigmas[n - 1]) - float(sigmas[n]) <= 0.05]
    assert [n for n in range(1, steps) if REUSED.reuses(n, float(sigmas[n]), float(sigmas[n - 1]))] == short
    assert REUSED.reused_steps(sigmas) == len(short) and LTX_2_3_DEV.reused_steps(sigmas) == 0
    if steps == 30:
        assert short == list(range(1, 25, 2))


def test_what_the_model_is_asked(toy_model):
    model = toy_model(velocity)
    run_sampler(sample_euler, model, begun(), SIGMAS, REUSED, CONTEXTS)
    asked = [[own.name for own in call.passes] for call in model.calls]
    assert asked == [FULL, ["cond"]] * 3 + [FULL] * 4


def test_differences_on_a_line_are_met_exactly(toy_model):
    """Where passes differ by a line in sigma, only the step before there are two of them may miss."""
    model = toy_model(lambda tokens, t, p: tokens * 0.1 + FULL.index(p.name) * (1 + t[..., None]))
    plainly = replace(LTX_2_3_DEV, video=replace(REUSED.video, rescale=0), audio=replace(REUSED.audio, rescale=0))
    sigmas = torch.cat((SIGMAS[:1], SIGMAS[:1] - 1e-7, SIGMAS[1:]))
    runs = [
        run_sampler(sample_euler, model, begun(), sigmas, replace(plainly, reuse=reuse), CONTEXTS)
        for reuse in (True, False)
    ]
    for own, full in zip(*(run.modalities for run in runs), strict=True):
        assert torch.allclose(own.latent, full.latent, atol=1e-4)


def test_a_batch_equals_single_samples(toy_model):
    """But for the contrast, which is that of the whole tensor with all guidance."""
    guidance = replace(REUSED, video=replace(REUSED.video, rescale=0), audio=replace(REUSED.audio, rescale=0))
    both = begun(batch=2)
    made = run_sampler(sample_euler, toy_model(velocity), both, SIGMAS, guidance, CONTEXTS).modalities
    for i in range(2):
        one = both.with_latents([m.latent[i : i + 1] for m in both.modalities])
        alone = run_sampler(sample_euler, toy_model(velocity), one, SIGMAS, guidance, CONTEXTS).modalities
        assert all(torch.equal(own.latent[i : i + 1], single.latent) for own, single in zip(made, alone, strict=True))


@pytest.mark.parametrize("frozen", ["video", "audio"])
def test_a_stream_that_is_given_stays(toy_model, frozen):
    shape = GEOMETRY.video_shape if frozen == "video" else GEOMETRY.audio_shape
    latent = torch.randn(1, *shape)
    stage = Stage(GEOMETRY, SIGMAS, guidance=REUSED, **{frozen: Start(latent, noise_scale=0.0, frozen=True)})
    model = toy_model(velocity)
    made = sample_stage(model, stage, CONTEXTS, torch.Generator().manual_seed(1), dtype=torch.float32)
    assert torch.equal(getattr(made, frozen), latent)
    assert [len(call.passes) for call in model.calls] == [4, 1] * 3 + [4] * 4


def test_the_pass_without_the_reference_voice_is_reused_too(toy_model):
    """Its tokens are fewer: where it differs as the voice's own tokens do not, what is made is as with all passes."""

    def level(tokens, t, _p):
        return tokens * 0.1 + 0.01 * tokens.shape[1]

    guidance = Guidance(identity=3.0)
    ends = []
    for reuse in (True, False):
        model = toy_model(level)
        stage = Stage(
            GEOMETRY, SIGMAS, audio=Start(conditions=(Voice(torch.ones(1, 8, 6, 16)),)),
            guidance=replace(guidance, reuse=reuse),
        )  # fmt: skip
        ends.append(sample_stage(model, stage, CONTEXTS, torch.Generator().manual_seed(1), dtype=torch.float32))
        lengths = [call.audio.tokens.shape[1] - GEOMETRY.audio_frames for call in model.calls]
        assert lengths == ([6, 0, 6] * 3 + [6, 0] * 4 if reuse else [6, 0] * 10)
    for own, full in zip((ends[0].video, ends[0].audio), (ends[1].video, ends[1].audio), strict=True):
        assert torch.allclose(own, full, atol=1e-4)


def test_a_broken_pass_is_found_where_it_is_computed(toy_model):
    asked = []

    def broken(tokens, t, p):
        asked.append(p.name)
        own = velocity(tokens, t, p)
        return own * float("nan") if asked.count("isolated") > 4 and p.name == "isolated" else own

    with pytest.raises(NotFiniteError, match="Step 5"):
        run_sampler(sample_euler, toy_model(broken), begun(), SIGMAS, REUSED, CONTEXTS)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "euler"])
def test_other_samplers_refuse_it(name):
    with pytest.raises(LTXError, match="for sampler euler alone"):
        Stage(GEOMETRY, SIGMAS, guidance=REUSED, sampler=named_sampler(name, 1))


def test_it_does_not_go_with_skipped_steps():
    with pytest.raises(LTXError, match="skip_step is 2 and guidance is reused"):
        replace(REUSED, skip_step=2)
