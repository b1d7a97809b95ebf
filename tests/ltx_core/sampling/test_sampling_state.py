import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import GeometryError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.noise import draw_noise, noised, skip_draws
from ltx_duo.ltx_core.sampling.patchify import patchify_audio, patchify_video
from ltx_duo.ltx_core.sampling.state import ModalityState, audio_state, clear_conditioning, video_state
from ltx_duo.tests.ltx_core.sampling.starts import start_stage

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)


def make_state(mask, generator, dtype=torch.float32):
    count = len(mask)
    return ModalityState(
        latent=torch.randn(1, count, 128, generator=generator).to(dtype),
        clean=torch.randn(1, count, 128, generator=generator).to(dtype),
        denoise_mask=torch.tensor(mask, dtype=torch.float32)[None, :, None],
        positions=torch.zeros(1, 3, count, 2),
    )


masks = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6)


def test_a_state_from_nothing():
    state = video_state(GEOMETRY, batch=2)
    assert state.latent.shape == state.clean.shape == (2, 18, 128) and state.latent.dtype == torch.bfloat16
    assert not state.latent.any() and not state.clean.any()
    assert state.denoise_mask.dtype == torch.float32 and (state.denoise_mask == 1).all()
    audio = audio_state(GEOMETRY)
    assert audio.latent.shape == (1, 18, 128) and audio.positions.shape == (1, 1, 18, 2)


def test_a_state_from_latents_keeps_a_clean_copy(rng):
    video, audio = torch.randn(1, 128, 3, 2, 3, generator=rng), torch.randn(1, 8, 18, 16, generator=rng)
    state = video_state(GEOMETRY, initial=video, dtype=torch.float32)
    assert torch.equal(state.latent, patchify_video(video)) and torch.equal(state.clean, state.latent)
    assert state.clean.data_ptr() != state.latent.data_ptr()
    sound = audio_state(GEOMETRY, initial=audio, dtype=torch.float32)
    assert torch.equal(sound.latent, patchify_audio(audio)) and torch.equal(sound.clean, sound.latent)


def test_latents_of_another_size_are_refused():
    with pytest.raises(
        GeometryError, match=r"video latent has shape \(1, 128, 3, 2, 2\), expected \('B', 128, 3, 2, 3\)"
    ):
        video_state(GEOMETRY, initial=torch.zeros(1, 128, 3, 2, 2))
    with pytest.raises(GeometryError, match="audio latent"):
        audio_state(GEOMETRY, initial=torch.zeros(1, 8, 17, 16))


@given(mask=masks, sigma=st.floats(0, 1, width=32))
def test_each_token_has_its_own_noise_level(mask, sigma):
    state = make_state(mask, None)
    timesteps = state.timesteps(torch.tensor([sigma]))
    assert timesteps.shape == (1, len(mask)) and timesteps.dtype == torch.float32
    assert timesteps[0].tolist() == pytest.approx([m * sigma for m in mask], rel=1e-6)
    assert state.timesteps(torch.tensor([sigma], dtype=torch.float64)).dtype == torch.float32


@given(mask=masks)
def test_keep_goes_from_clean_to_prediction(mask):
    state, x0 = make_state(mask, None), torch.randn(1, len(mask), 128)
    kept = state.keep(x0)
    m = state.denoise_mask
    assert torch.allclose(kept.double(), m.double() * x0.double() + (1 - m).double() * state.clean.double(), atol=1e-6)
    for token, value in enumerate(mask):
        if value in (0, 1):
            assert torch.equal(kept[:, token], (x0 if value else state.clean)[:, token])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keep_is_exact_at_mask_zero_whatever_was_predicted(rng, dtype):
    state = make_state([0.0], rng, dtype)
    assert torch.equal(state.keep(1e30 * torch.randn(1, 1, 128, generator=rng).to(dtype)), state.clean)


def test_clear_conditioning_drops_what_was_appended(rng):
    state = make_state([0.0, 0.5, 1.0, 0.0], rng)
    cleared = clear_conditioning(state, 2)
    assert torch.equal(cleared.latent, state.latent[:, :2]) and torch.equal(cleared.clean, state.clean[:, :2])
    assert cleared.positions.shape == (1, 3, 2, 2) and (cleared.denoise_mask == 1).all()


@given(mask=masks, scale=st.floats(0, 1))
def test_noised_is_clean_to_mixed_by_the_mask(mask, scale):
    """The expected value is the vendor's v1.2 formula, lerp(clean, lerp(latent, noise, scale), mask), in float64.

    v1.2 is not on a package index, so its source cannot be run here.
    """
    state = make_state(mask, None)
    noise = torch.randn(1, len(mask), 128)
    m = state.denoise_mask.double()
    mixed = (1 - scale) * state.latent.double() + scale * noise.double()
    expected = (1 - m) * state.clean.double() + m * mixed
    assert torch.allclose(noised(state, noise, scale).latent.double(), expected, atol=1e-5)


def test_noise_leaves_no_trace_at_mask_zero_and_is_all_at_scale_one(rng):
    state = make_state([0.0, 1.0], rng, torch.bfloat16)
    noise = draw_noise((1, 2, 128), rng)
    result = noised(state, noise, 1.0)
    assert torch.equal(result.latent[:, 0], state.clean[:, 0]) and torch.equal(result.latent[:, 1], noise[:, 1])
    assert result.clean is state.clean and result.latent.dtype == torch.bfloat16


def test_draws_are_video_then_audio_in_token_layout():
    def generator():
        return torch.Generator().manual_seed(7)

    state = start_stage(GEOMETRY, generator())
    plain = generator()
    assert torch.equal(state.video.latent, torch.randn(1, 18, 128, generator=plain, dtype=torch.bfloat16))
    assert torch.equal(state.audio.latent, torch.randn(1, 18, 128, generator=plain, dtype=torch.bfloat16))
    alone = start_stage(GEOMETRY, generator(), with_audio=False)
    assert alone.audio is None and torch.equal(alone.video.latent, state.video.latent)


def test_stage_two_alone_can_continue_the_draws_of_stage_one():
    continued = torch.Generator().manual_seed(7)
    first = start_stage(GEOMETRY, continued)
    latents = first.latents()
    second = start_stage(GEOMETRY, continued, video_latent=latents[0], audio_latent=latents[1], noise_scale=0.9)
    fresh = torch.Generator().manual_seed(7)
    skip_draws([m.latent.shape for m in first.modalities], fresh)
    replayed = start_stage(GEOMETRY, fresh, video_latent=latents[0], audio_latent=latents[1], noise_scale=0.9)
    assert torch.equal(second.video.latent, replayed.video.latent)
    assert torch.equal(second.audio.latent, replayed.audio.latent)
    assert not torch.equal(second.audio.latent, first.audio.latent)
