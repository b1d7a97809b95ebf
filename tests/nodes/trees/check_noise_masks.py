"""Noise masks that core's nodes lay on a latent: sound-driven film as people wire it with LTXVAudioVAEEncode,
SetLatentNoiseMask with 0 and LTXVConcatAVLatent, and parts of picture and sound."""

import comfy.latent_formats
import pytest
import torch

import nodes as core
from ltx_duo.ltx_core.errors import ConditioningError, GeometryError
from ltx_duo.nodes.comfyui import latents
from ltx_duo.tests.nodes.trees.check_sound_given import expected_latent, nested, noise


@pytest.fixture
def decoded(run, vae, names):
    return lambda latent: run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)[2]


@pytest.fixture
def wired(vae):
    def wire(value: float = 0.0, video: float | None = None) -> dict:
        audio = {"samples": expected_latent(vae, noise())}
        audio = core.SetLatentNoiseMask().set_mask(audio, torch.full((1, 16, 9), value))[0]
        picture = torch.zeros(1, 128, 2, 1, 2)
        masks = torch.ones_like(picture) if video is None else torch.full((1, 1, 2, 1, 2), video)
        # LTXVConcatAVLatent, which ComfyUI has since 0.4.
        return {"samples": nested(picture, audio["samples"]), "noise_mask": nested(masks, audio["noise_mask"])}

    return wire


@pytest.mark.skipif(not hasattr(comfy.latent_formats, "LTXAV"), reason="this ComfyUI has no audio-video nodes")
def test_this_is_what_core_makes(wired):
    from comfy_extras.nodes_lt import LTXVConcatAVLatent

    ours = wired()
    picture, audio = ours["samples"].unbind()
    masked = {"samples": audio, "noise_mask": ours["noise_mask"].unbind()[1]}
    theirs = LTXVConcatAVLatent.execute({"samples": picture}, masked).args[0]
    assert theirs.keys() == ours.keys()
    for key in ours:
        assert all(torch.equal(a, b) for a, b in zip(ours[key].unbind(), theirs[key].unbind(), strict=True))


def test_a_mask_of_0_freezes_the_sound(vae, model, wired, stage_one, stage_two, enlarged, decoded, watched):
    expected = expected_latent(vae, noise())
    first = stage_one(model, conditions=None, latent=wired())
    second = stage_two(model, enlarged(first), conditions=None, audio="stage two")
    for latent in (first, second):
        assert torch.equal(latents.take(latent)[1], expected)
    assert all(stage.audio.frozen for stage in watched)
    # The waveform is not known: the VAE's comes out.
    assert decoded(second)["sample_rate"] == 48000


@pytest.mark.parametrize("masks", [(0.5, None), (0.0, 0.5), (0.5, 0.5), (1.0, 0.0)])
def test_other_masks_keep_what_they_say(model, stage_one, wired, watched, masks):
    latent, (sound, picture) = wired(*masks), masks
    made = latents.take(stage_one(model, conditions=None, latent=latent))
    (stage,) = watched
    for value, start, before, after in zip(
        (1.0 if picture is None else picture, sound), (stage.video, stage.audio), latent["samples"].unbind(), made,
        strict=True,
    ):  # fmt: skip
        assert start.frozen == (value == 0) == torch.equal(after, before)
        if 0 < value < 1:
            assert (start.conditions[0].mask == value).all() and torch.equal(start.conditions[0].latent, before)


def test_a_mask_over_a_part_keeps_that_part(model, stage_one, wired, watched):
    """Core scales masks to the latent: a row of 16 to its 9 moments."""
    latent = wired()
    latent["noise_mask"].unbind()[1][..., 8:, :] = 1
    given, made = (latents.take(own)[1] for own in (latent, stage_one(model, conditions=None, latent=latent)))
    assert not watched[0].audio.frozen
    assert torch.equal(made[:, :, :4], given[:, :, :4])
    assert not torch.isclose(made[:, :, 5:], given[:, :, 5:]).all(dim=(1, 3)).any()


def test_masks_that_leave_nothing_to_make_are_refused(model, stage_one, wired):
    with pytest.raises(ConditioningError, match="nothing is left to make"):
        stage_one(model, conditions=None, latent=wired(0.0, 0.0))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((..., slice(4, None)), 1.0, "differs by pitch"),
        ((...,), torch.nan, "leaves 0 to 1"),
        ((...,), 2.0, "0 to 1"),
    ],
)
def test_what_is_no_mask_is_refused(model, stage_one, wired, place, value, words):
    latent = wired()
    latent["noise_mask"].unbind()[1][place] = value
    with pytest.raises(ConditioningError, match=words):
        stage_one(model, conditions=None, latent=latent)


def test_a_sound_of_another_length(model, stage_one, wired):
    latent = wired()
    latent["samples"] = nested(latent["samples"].unbind()[0], torch.zeros(1, 8, 40, 16))
    with pytest.raises(GeometryError, match="9 latents of sound belong"):
        stage_one(model, conditions=None, latent=latent)


def test_noise_masks_of_cores_nodes_are_kept(run, model, stage_one, names, watched):
    """A mask of pixels, as SetLatentNoiseMask lays it on a picture, and one joined with a sound's."""
    import comfy.nested_tensor

    start = stage_one(model, conditions=None, seed=3)
    picture, sound = latents.take(start)
    mask = torch.ones(1, 1, 32, 64)
    mask[..., :32] = 0
    both = comfy.nested_tensor.NestedTensor((mask, torch.zeros_like(sound)))
    latent = {"samples": start["samples"], "noise_mask": both}
    made = latents.take(stage_one(model, conditions=None, latent=latent))
    assert torch.equal(made[1], sound)
    assert torch.equal(made[0][..., 0], picture[..., 0]) and not torch.equal(made[0][..., 1], picture[..., 1])
