"""LATENT and CONDITIONING as ComfyUI's own nodes make and take them; the progress bar."""

import copy
import json

import comfy.latent_formats
import comfy.model_management as mm
import comfy.utils
import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError, GeometryError, VariantError
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.nodes.comfyui import compat, conditioning, latents
from ltx_duo.nodes.comfyui.progress import NodeProgress
from ltx_duo.tests.nodes.trees.preflight_scene import CONFIG, PACK
from ltx_duo.tests.nodes.trees.text_widths import transformer_for

LTX_2_0 = json.loads((PACK / "ltx_core" / "variants" / "configs" / "ltx-2.0.json").read_text())["transformer"]
VIDEO, AUDIO = torch.randn(1, 128, 3, 2, 4), torch.randn(1, 8, 18, 16)
INFO = latents.StageInfo(25.0, "cpu", torch.Generator().manual_seed(4).get_state())
OTHER = latents.StageInfo(24.0, "cpu", torch.Generator().manual_seed(5).get_state())


def nested(*tensors):
    return compat.nested_tensor_class()(tensors)


def test_latent_goes_through_unharmed():
    made = latents.make(VIDEO, AUDIO, INFO)
    video, audio = latents.take(copy.deepcopy(made))
    assert torch.equal(video, VIDEO) and torch.equal(audio, AUDIO)
    assert latents.fps_of(copy.deepcopy(made)) == 25.0
    state = latents.info_of(copy.deepcopy(made)).generator_state
    continued = torch.Generator()
    continued.set_state(state)
    assert torch.equal(torch.randn(5, generator=continued), torch.randn(5, generator=torch.Generator().manual_seed(4)))


def test_latent_of_video_alone():
    video, audio = latents.take(latents.make(VIDEO, None, INFO))
    assert torch.equal(video, VIDEO) and audio is None


def test_latents_own_their_memory():
    big = torch.randn(2, 128, 3, 2, 4)
    made = latents.make(big[:1], AUDIO.to(torch.bfloat16), INFO)
    for tensor in latents.take(made):
        assert tensor.is_contiguous() and tensor.dtype == torch.float32
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_what_came_along_travels_on_but_masks_do_not():
    given = {**latents.make(VIDEO, AUDIO, INFO), "noise_mask": torch.ones(1), "batch_index": [3]}
    made = latents.make(VIDEO * 2, AUDIO, OTHER, like=given)
    assert made["batch_index"] == [3] and "noise_mask" not in made and latents.info_of(made) is OTHER
    assert torch.equal(latents.take(given)[0], VIDEO) and latents.info_of(given) is INFO
    assert len(made) == len(given) - 1, "records of the other picture travel on"


@pytest.mark.skipif(not hasattr(comfy.latent_formats, "LTXAV"), reason="this ComfyUI has no audio-video nodes")
def test_core_nodes_take_ours_apart_and_we_take_theirs():
    from comfy_extras.nodes_lt import LTXVConcatAVLatent, LTXVSeparateAVLatent

    parts = LTXVSeparateAVLatent.execute(latents.make(VIDEO, AUDIO, INFO)).args
    assert torch.equal(parts[0]["samples"], VIDEO) and torch.equal(parts[1]["samples"], AUDIO)
    joined = LTXVConcatAVLatent.execute(*parts).args[0]
    assert torch.equal(latents.take(joined)[1], AUDIO)
    assert latents.fps_of(joined) == 25.0


@pytest.mark.parametrize(
    "frames, fps, rounding", [(121, 24.0, round), (121, 25.0, round), (65, 30.0, -1), (121, 24.0, -1)]
)
def test_frame_rate_of_native_latents_follows_from_the_sound(frames, fps, rounding):
    exact = frames / fps * 25
    length = round(exact) if rounding is round else -int(-exact // 1)
    native = {"samples": nested(torch.zeros(1, 128, (frames - 1) // 8 + 1, 2, 2), torch.zeros(1, 8, length, 16))}
    assert latents.fps_of(native) == fps
    assert latents.fps_of(native, [[torch.zeros(1, 7, 6144), {"frame_rate": 12.5}]]) == 12.5


def test_frame_rate_of_a_native_latent_without_sound():
    assert latents.fps_of({"samples": VIDEO}) == 24.0


@pytest.mark.parametrize(
    "samples",
    [
        torch.zeros(1, 4, 8, 8),
        torch.zeros(2, 128, 3, 2, 4),
        torch.zeros(1, 16, 3, 2, 4),
        nested(torch.zeros(1, 128, 3, 2, 4), torch.zeros(1, 8, 18, 32)),
    ],
)
def test_latents_of_other_models_are_refused(samples):
    with pytest.raises(GeometryError, match="expected"):
        latents.take({"samples": samples})


def test_sound_gets_the_length_that_the_engine_expects():
    assert torch.equal(latents.with_audio_length(AUDIO, 17, 25.0), AUDIO[:, :, :17])
    longer = latents.with_audio_length(AUDIO, 17, 21.25)
    assert torch.equal(longer[:, :, :18], AUDIO) and torch.equal(longer[:, :, 19], AUDIO[:, :, 17])
    with pytest.raises(GeometryError, match=r"17 frames at 14 frames a second, 1\.21 s, .*30 latents.*has 18, 0\.72 s"):
        latents.with_audio_length(AUDIO, 17, 14.0)


def test_conditioning_goes_through_unharmed():
    video, audio = torch.randn(1, 7, 96), torch.randn(1, 7, 64)
    made = copy.deepcopy(conditioning.make(video, audio))
    taken = conditioning.take(made, transformer_for(96, 64))
    assert torch.equal(taken[0], video) and torch.equal(taken[1], audio) and taken[2]


def test_conditioning_of_2_0_goes_through_unharmed():
    """One tensor for both, before the connectors; two behind them."""
    text = torch.randn(1, 7, 32)
    made = copy.deepcopy(conditioning.make(text, text))
    assert made[0][0].shape == (1, 7, 32)
    taken = conditioning.take(made, OLD)
    assert torch.equal(taken[0], text) and torch.equal(taken[1], text) and taken[2]
    assert conditioning.take([[text, {}]], OLD)[2]  # once there, it cannot have been through two connectors
    video, audio, unprocessed = conditioning.take([[torch.cat((text, -text), dim=-1), {}]], OLD)
    assert torch.equal(video, text) and torch.equal(audio, -text) and not unprocessed


OLD = TransformerParams.from_config({"transformer": LTX_2_0 | {"caption_channels": 32}})


def test_conditioning_that_was_connected_already():
    taken = conditioning.take([[torch.zeros(1, 1024, 160), {}]], transformer_for(96, 64))
    assert not taken[2] and taken[0].shape == (1, 1024, 96)


@pytest.mark.parametrize("width", [6144, 7680, 3840])
@pytest.mark.parametrize("own", ["2.0", "2.3"])
def test_text_of_another_generation(own, width):
    model = TransformerParams.from_config({"transformer": LTX_2_0 if own == "2.0" else CONFIG["transformer"]})
    text = [[torch.zeros(1, 7, width), {}]]
    if (width == 6144) == (own == "2.3"):
        assert conditioning.take(text, model)
        return
    other = {"2.0": "2.3", "2.3": "2.0"}[own]
    with pytest.raises(VariantError, match=rf"is {width} wide: text encoded for LTX-{other}. The model is LTX-{own}"):
        conditioning.take(text, model)


@pytest.mark.parametrize(
    "given, error, words",
    [
        ([[torch.zeros(1, 77, 768), {}]], ConditioningError, "768"),
        ([[torch.zeros(2, 7, 6144), {}]], ConditioningError, "several"),
        ([[torch.zeros(1, 7, 6144), {}]] * 2, ConditioningError, "several"),
        ([[torch.zeros(1, 7, 6144), {"keyframe_idxs": torch.zeros(1)}]], ConditioningError, "LTX Image Condition"),
    ],
)
def test_other_conditioning_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        conditioning.take(given, transformer_for(4096, 2048))


@pytest.fixture
def shown():
    values = []

    def hook(value, total, preview=None, node_id=None):
        values.append((value, total, preview))

    comfy.utils.set_progress_bar_global_hook(hook)
    yield values
    comfy.utils.set_progress_bar_global_hook(None)


def test_progress_never_goes_back_and_ends_full(shown, monkeypatch):
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0, raising=False)
    progress = NodeProgress({"a": 1, "b": 3})
    for name in ("a", "b", "b"):
        reporter = progress.phase(name)
        for done in range(1, 5):
            reporter.step(done, 4)
    values = [value / total for value, total, _ in shown]
    assert values == sorted(values) and values[-1] == 1.0
    assert 0.25 in values and 0.5 not in values[:4]


def test_cancel_comes_through(shown):
    reporter = NodeProgress({"a": 1}).phase("a")
    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        reporter.check_cancel()
    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        reporter.step(1, 2)
    reporter.check_cancel()
    assert not shown
