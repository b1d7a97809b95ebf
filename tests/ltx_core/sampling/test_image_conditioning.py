"""Conditioning follows the vendor's v1.2, which no package index has: expected values are written from its rules."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.image_compression import compress
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, GivenImage, Keyframe, encode_images, fitting, shown_at
from ltx_duo.ltx_core.sampling.conditions.fitting import resize_and_crop, resolve_frame, resolve_frames
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.patchify import patchify_video
from ltx_duo.ltx_core.sampling.state import video_state

GEOMETRY = LatentGeometry(96, 64, 17, 24.0)
PER_FRAME = 6


def image(generator, frame=0, strength=1.0):
    return shown_at(torch.randn(1, 128, 1, 2, 3, generator=generator), frame, strength)


def apply(state, conditions):
    for condition in conditions:
        tokens = state.latent.shape[1]
        state = condition.apply(state, GEOMETRY)
        assert state.latent.shape[1] == tokens + condition.appended_tokens
    return state


def test_frame_zero_takes_the_place_of_the_first_latent_frame(rng):
    before = video_state(GEOMETRY, initial=torch.randn(1, 128, 3, 2, 3, generator=rng), dtype=torch.float32)
    first = image(rng, strength=0.7)
    after = apply(before, [first])
    assert torch.equal(after.clean[:, :PER_FRAME], patchify_video(first.latent))
    assert torch.equal(after.clean[:, PER_FRAME:], before.clean[:, PER_FRAME:])
    assert torch.equal(after.latent, before.latent) and torch.equal(after.positions, before.positions)
    assert after.denoise_mask[0, :PER_FRAME, 0].tolist() == pytest.approx([0.3] * PER_FRAME, abs=1e-7)
    assert (after.denoise_mask[:, PER_FRAME:] == 1).all()


@pytest.mark.parametrize("frame", [3, 5, 16])
def test_a_later_frame_is_appended_at_its_own_time(rng, frame):
    before = video_state(GEOMETRY, dtype=torch.float32)
    keyframe = image(rng, frame)
    after = apply(before, [keyframe])
    tokens = GEOMETRY.video_tokens
    assert after.latent.shape == (1, tokens + PER_FRAME, 128)
    assert torch.equal(after.latent[:, :tokens], before.latent) and not after.latent[:, tokens:].any()
    assert torch.equal(after.clean[:, tokens:], patchify_video(keyframe.latent))
    assert (after.denoise_mask[:, :tokens] == 1).all() and not after.denoise_mask[:, tokens:].any()
    expected = torch.tensor([frame / 24, (frame + 1) / 24]).expand(PER_FRAME, 2)
    assert torch.allclose(after.positions[0, 0, tokens:], expected)
    assert torch.equal(after.positions[:, 1:, tokens:], before.positions[:, 1:, :PER_FRAME])


def test_several_images_go_in_their_order(rng):
    images = [image(rng, 8), image(rng, 0, 0.5), image(rng, 16, 0.25)]
    after = apply(video_state(GEOMETRY, batch=2, dtype=torch.float32), images)
    expected = [0.5] * PER_FRAME + [1.0] * 12 + [0.0] * PER_FRAME + [0.75] * PER_FRAME
    assert after.denoise_mask[1, :, 0].tolist() == expected
    assert torch.equal(after.clean[1, 18:24], patchify_video(images[0].latent)[0])
    assert after.positions.shape == (1, 3, 30, 2)


def test_a_keyframe_strength_is_rounded_to_the_latents_dtype(rng):
    after = apply(video_state(GEOMETRY), [image(rng, 8, 0.7), image(rng, 0, 0.7)])
    assert after.denoise_mask.dtype == torch.float32
    assert after.denoise_mask[0, -1].item() == 0.30078125
    assert after.denoise_mask[0, 0].item() == pytest.approx(0.3, abs=1e-7)


@given(frames=st.integers(1, 50), frame=st.integers(-60, 60))
def test_frames_resolve_like_python_indices(frames, frame):
    try:
        expected = list(range(frames))[frame]
    except IndexError:
        with pytest.raises(ConditioningError, match=f"frame {frame}, but the video has {frames} frames"):
            resolve_frame(frame, frames)
    else:
        assert resolve_frame(frame, frames) == expected


def test_what_cannot_be_conditioned_on_is_refused(rng):
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConditioningError, match="strength"):
            image(rng, strength=strength)
    with pytest.raises(ConditioningError, match="encode one image"):
        Keyframe(torch.zeros(1, 128, 2, 2, 3), 5)
    for other in (FirstFrame(torch.zeros(1, 128, 1, 2, 2)), Keyframe(torch.zeros(1, 128, 1, 2, 2), 5)):
        with pytest.raises(ConditioningError, match="is 2x2 .* video's is 2x3: encode the image at 96x64 pixels"):
            apply(video_state(GEOMETRY), [other])


def encoded(*frames, crf=0, own=None):
    def encoder(pixels):
        seen.append(pixels)
        return torch.zeros(1, 128, 1, 2, 3)

    seen, given = [], [GivenImage(torch.rand(64, 96, 3), frame, 0.5, own) for frame in frames]
    return encode_images(encoder, given, GEOMETRY, crf, dtype=torch.float32), given, seen


def test_images_are_encoded_where_they_stand():
    conditions, given, seen = encoded(0, -1, 8)
    assert [type(condition) for condition in conditions] == [FirstFrame, Keyframe, Keyframe]
    assert [condition.frame for condition in conditions[1:]] == [16, 8]
    assert all(condition.strength == 0.5 for condition in conditions)
    for image, pixels in zip(given, seen, strict=True):
        assert torch.equal(pixels, resize_and_crop(image.image, 96, 64))


def test_an_image_on_the_first_frame_may_be_a_keyframe(rng):
    given = [GivenImage(torch.rand(64, 96, 3), frame, keyframe=True) for frame in (0, 8)]
    latent = torch.randn(1, 128, 1, 2, 3, generator=rng)
    conditions = encode_images(lambda _: latent, given, GEOMETRY, 0, dtype=torch.float32)
    assert [type(condition) for condition in conditions] == [Keyframe, Keyframe]
    assert [condition.frame for condition in conditions] == [0, 8]
    state = apply(video_state(GEOMETRY, dtype=torch.float32), conditions)
    own = GEOMETRY.video_tokens
    assert (state.denoise_mask[:, :own] == 1).all() and (state.denoise_mask[:, own:] == 0).all()
    assert state.positions[0, 0, own].tolist() == pytest.approx([0, 1 / GEOMETRY.fps])


def test_images_are_compressed_as_the_model_learned_them():
    _, [given], [pixels] = encoded(0, crf=33)
    assert torch.equal(pixels, resize_and_crop(compress(given.image, 33), 96, 64))
    assert not torch.equal(pixels, resize_and_crop(given.image, 96, 64))
    _, [given], [pixels] = encoded(0, crf=33, own=0)
    assert torch.equal(pixels, resize_and_crop(given.image, 96, 64))


def test_images_outside_the_video_or_on_one_frame_are_refused():
    with pytest.raises(ConditioningError, match="frame 17"):
        encoded(17)
    for frames in ((0, -17), (16, -1), (8, 8)):
        with pytest.raises(ConditioningError, match="its own frame"):
            encoded(*frames)


@given(st.integers(1, 40), st.lists(st.integers(-40, 39), max_size=6))
def test_frames_of_images(total, frames):
    good = all(-total <= frame < total for frame in frames) and len({f % total for f in frames}) == len(frames)
    if good:
        assert resolve_frames(frames, total) == [frame % total for frame in frames]
    else:
        with pytest.raises(ConditioningError):
            resolve_frames(frames, total)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 3), st.integers(1, 3))
def test_any_image_covers_the_target(height, width, target_height, target_width):
    result = resize_and_crop(torch.rand(height, width, 3), 32 * target_width, 32 * target_height)
    assert result.shape == (1, 3, 1, 32 * target_height, 32 * target_width) and result.dtype == torch.float32
    assert result.min() >= -1 and result.max() <= 1


def test_an_image_of_the_right_size_only_changes_its_range():
    pixels = torch.randint(0, 256, (64, 96, 3)).float()
    result = resize_and_crop(pixels / 255, 96, 64)
    assert torch.equal(result[0, :, 0], (pixels / 127.5 - 1).permute(2, 0, 1))


def test_the_centre_is_kept():
    ramp = torch.linspace(0, 1, 96)[None, :, None].expand(32, 96, 3)
    row = resize_and_crop(ramp, 32, 32)[0, 0, 0, 0]
    assert torch.allclose(row, 2 * ramp[0, 32:64, 0] - 1, atol=1e-6)


class Largest(TorchDispatchMode):
    """The most values of any tensor made inside."""

    values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not function.is_view:
            self.values = max(self.values, made.numel())
        return made


@pytest.mark.parametrize("source", [(20, 30000), (30000, 20), (1, 9000), (9000, 9000)])
def test_an_image_of_any_shape_takes_memory_for_what_is_kept(source):
    corner = torch.linspace(0, 1, source[0] + source[1] - 1)
    # A ramp along both sides that lies in one row: no memory for the image itself either.
    image = corner.as_strided((*source, 3), (1, 1, 0))
    with Largest() as largest:
        result = resize_and_crop(image, 384, 256)
    assert largest.values <= result.numel() == 3 * 384 * 256
    assert result[0, 0, 0, 128, 192].item() == pytest.approx(0, abs=0.01)  # the centre of the ramp
    assert (result[0, 0, 0].diff(dim=0) >= 0).all() and (result[0, 0, 0].diff(dim=1) >= 0).all()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 5), st.integers(1, 5))
def test_large_images_are_scaled_like_any_other(height, width, target_height, target_width):
    image = torch.rand(height, width, 3)
    whole = resize_and_crop(image, 32 * target_width, 32 * target_height)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "_MOST_PIXELS", 0)
        window = resize_and_crop(image, 32 * target_width, 32 * target_height)
    assert torch.allclose(window, whole, rtol=0, atol=2e-5)


def test_a_large_image_can_be_cancelled():
    class Cancelled(Exception):
        pass

    class Cancel:
        def check_cancel(self):
            raise Cancelled

    with pytest.raises(Cancelled):
        resize_and_crop(torch.zeros(20, 30000, 3), 384, 256, Cancel())


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (8, 8, 1), (1, 8, 8, 3), (0, 8, 3)])
def test_only_rgb_images(shape):
    with pytest.raises(ConditioningError, match="expected .height, width, 3. RGB"):
        resize_and_crop(torch.zeros(shape), 32, 32)
