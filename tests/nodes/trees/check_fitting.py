"""Fitting into memory: how many passes go together, and what happens when the device runs out of it all the same."""

import logging

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.execution import memory_estimates
from ltx_duo.ltx_core.execution.splitting import Pieces, TokenChunks
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.nodes.comfyui import fitting, latents, picture_decoding, tiles

GIB = 2**30


def need(pieces: Pieces) -> float:
    """1 GiB a pass; less when chunked."""
    return pieces.together * GIB * (0.4 + 0.6 / pieces.chunks)


@pytest.mark.parametrize(
    "weights, available, expected",
    [
        (40, 78, Pieces(4)),  # everything fits
        (40, 43.5, Pieces(4)),  # half a GiB streamed once is cheaper than going twice through the rest
        (40, 22, Pieces(4)),  # streamed: one sweep a step
        (40, 3, Pieces(2)),  # two passes fit beside the layers at work
        (40, 1.8, Pieces(1)),
        (40, 1.4, Pieces(1, 4)),  # not even one does
        (40, 0.1, Pieces(1, 16)),
        (0, 3.1, Pieces(3)),  # on the CPU only activations count
    ],
)
def test_pieces_by_memory(weights, available, expected):
    chosen = fitting.choose_pieces(4, need, weights * GIB, available * GIB)
    assert chosen == expected


def test_resident_weights_are_worth_a_second_group():
    # All four at once would stream 6 GiB each step; two and two stream nothing.
    assert fitting.choose_pieces(4, lambda p: p.together * 3 * GIB, 40 * GIB, 46 * GIB) == Pieces(2)


def test_memory_of_models_that_can_go_counts(monkeypatch, model):
    component = model.stage(1)
    assert fitting.available_memory(component) == pytest.approx(mm.get_free_memory(component.device), rel=0.2)

    class Loaded:
        device, model = torch.device("cuda", 0), object()

        def model_loaded_memory(self):
            return 5 * GIB

    class Gone(Loaded):
        """Nobody holds its patcher any more, and ComfyUI has not noticed yet."""

        model = None

        def model_loaded_memory(self):
            return self.model.loaded_size()

    class OnGpu:
        device = torch.device("cuda", 0)

    monkeypatch.setattr(mm, "current_loaded_models", [Loaded(), Gone(), Loaded()])
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 8 * GIB)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 2 * GIB)
    assert fitting.available_memory(OnGpu()) == 16 * GIB


def test_what_is_needed_reaches_comfyui(monkeypatch, model, stage_one):
    asked = []
    load = mm.load_models_gpu

    def record(models, memory_required=0, minimum_memory_required=None, **how):
        asked.append((memory_required, minimum_memory_required))
        return load(models, memory_required=memory_required, minimum_memory_required=minimum_memory_required, **how)

    monkeypatch.setattr(mm, "load_models_gpu", record)
    stage_one(model, conditions=None)
    params = model.transformer_params
    expected = int(memory_estimates.transformer(params, LatentGeometry(64, 32, 9, 25.0), 4, 0, 4))
    # The text connectors come first, and need next to nothing.
    assert asked == [(0, 0), (expected, expected)]


@pytest.fixture
def asked(monkeypatch):
    """The bytes that ComfyUI was asked to keep free, in order."""
    amounts = []
    load = mm.load_models_gpu

    def record(models, memory_required=0, **how):
        amounts.append(memory_required)
        return load(models, memory_required=memory_required, **how)

    monkeypatch.setattr(mm, "load_models_gpu", record)
    return amounts


def test_images_behind_the_film_are_counted(run, asked, model, stage_one, stage_two, upsampled, image):
    chain = None
    for frame in (0, 5, -1):  # the first one takes the place of tokens that the film has
        chain = run("ImageCondition", image=image, frame=frame, strength=1.0, crf=0, conditions=chain)
    stage_one(model, conditions=chain)
    params = model.transformer_params
    assert asked[-1] == int(memory_estimates.transformer(params, LatentGeometry(64, 32, 9, 25.0), 4, 2, 4))
    stage_two(model, upsampled, conditions=chain)
    assert asked[-1] == int(memory_estimates.transformer(params, LatentGeometry(128, 64, 9, 25.0), 1, 2, 4))


def test_what_decoding_needs_reaches_comfyui(run, asked, vae, upsampled, names):
    video, audio = latents.take(upsampled)
    run("AVDecode", latent=upsampled, vae=vae, tiling="custom", **names.tiles)
    params = vae.video_decoder().module.params
    picture = memory_estimates.tiled_decoder(params, (9, 64, 128), (9, 64, 64), 4)
    # The picture's memory has room for whole frames of 9 x 64 x 128 pixels beside the tile.
    assert picture >= memory_estimates.video_decoder(params, 9, 64, 64, 4) + 9 * 64 * 128 * 3 * 4
    assert int(picture) in asked and int(memory_estimates.audio_decoder(audio.shape[2])) in asked


def test_decoding_again_makes_room_for_the_smaller_tiles(run, asked, vae, upsampled, monkeypatch, names):
    calls, decode = [], two_stage.decode_video

    def fail_twice(decoder, latent, tiling, reporter):
        calls.append(tiling)
        if len(calls) < 3:
            raise torch.OutOfMemoryError("planted")
        return decode(decoder, latent, tiling, reporter)

    emptied = []
    asked.clear()
    monkeypatch.setattr(mm, "soft_empty_cache", lambda *_, **__: emptied.append(len(calls)))
    monkeypatch.setattr(two_stage, "decode_video", fail_twice)
    run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **names.tiles)
    video = latents.take(upsampled)[0]
    needs = [picture_decoding._need(vae.video_decoder(), video, way) for way in calls]
    assert asked[:3] == [int(needs[0]), int(fitting.MORE_ROOM * needs[1]), int(fitting.MORE_ROOM * needs[2])]
    assert emptied[:2] == [1, 2]


class Failing:
    """Makes the module's `layer` run out of memory the next `times` times; records how the calls were cut up."""

    def __init__(self, layer, times: int):
        self.times, self.calls = times, []
        self.handle = layer.register_forward_hook(self._hook)

    def _hook(self, _module, arguments, _output):
        arrangement = arguments[-1]  # of a transformer block
        chunks = arrangement.count if isinstance(arrangement, TokenChunks) else 1
        self.calls.append((arguments[0].shape[0], chunks))
        if self.times > 0:
            self.times -= 1
            raise torch.OutOfMemoryError("planted")


@pytest.fixture
def failing():
    made = []

    def fail(layer, times):
        made.append(Failing(layer, times))
        return made[-1]

    yield fail
    for one in made:
        one.handle.remove()


def block(model):
    return model.stage(1).module.transformer.transformer_blocks[-1]


@pytest.mark.parametrize("times, rows, chunks", [(1, 2, 1), (2, 1, 1), (3, 1, 4), (4, 1, 16)])
def test_running_out_of_memory_makes_pieces_smaller(failing, model, stage_one, times, rows, chunks, caplog):
    expected = latents.take(stage_one(model))
    fails = failing(block(model), times)
    with caplog.at_level(logging.WARNING, "ltx_duo"):
        found = latents.take(stage_one(model))
    assert fails.calls[0] == (4, 1) and fails.calls[-1] == (rows, chunks)
    assert (
        len([r for r in caplog.records if "not enough memory for stage one at 64x32, 9 frames" in r.message]) == times
    )
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-3)
    # The next run begins with all passes again.
    fails.calls.clear()
    stage_one(model)
    assert fails.calls[0] == (4, 1)


def test_failure_in_a_later_step_repeats_only_that_step(failing, model, stage_one):
    expected = latents.take(stage_one(model, steps=3))
    seen = []

    class Late(Failing):
        def _hook(self, *arguments):
            seen.append(1)
            self.times = 1 if len(seen) == 2 else 0
            super()._hook(*arguments)

    late = Late(block(model), 0)
    try:
        found = latents.take(stage_one(model, steps=3))
    finally:
        late.handle.remove()
    # One step at once, one failed, and two steps in two groups.
    assert late.calls == [(4, 1), (4, 1), (2, 1), (2, 1), (2, 1), (2, 1)]
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found, expected, strict=True))


def test_stage_two_is_chunked_at_once(failing, model, stage_two, upsampled):
    expected = latents.take(stage_two(model, upsampled))
    fails = failing(block(model), 1)
    found = latents.take(stage_two(model, upsampled))
    assert fails.calls[:2] == [(1, 1), (1, 4)]
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found, expected, strict=True))


def test_more_room_is_asked_for_after_a_failure(failing, model, stage_one, monkeypatch):
    asked = []
    load = mm.load_models_gpu

    def record(models, memory_required=0, **how):
        asked.append(memory_required)
        return load(models, memory_required=memory_required, **how)

    failing(block(model), 1)
    monkeypatch.setattr(mm, "load_models_gpu", record)
    stage_one(model, conditions=None)
    geometry, params = LatentGeometry(64, 32, 9, 25.0), model.transformer_params
    four, two = (memory_estimates.transformer(params, geometry, rows, 0, 4) for rows in (4, 2))
    assert asked == [0, int(four), int(fitting.MORE_ROOM * two)]  # the first are the text connectors


def test_nothing_smaller_says_what_to_change(failing, model, stage_one, same):
    expected = stage_one(model)
    failing(block(model), 99).times = 99
    with pytest.raises(LTXError, match="not enough memory for stage one at 64x32, 9 frames.*fewer frames") as raised:
        stage_one(model)
    assert isinstance(raised.value.__cause__, torch.OutOfMemoryError)
    block(model)._forward_hooks.clear()
    assert same(stage_one(model), expected)


PHASES = {
    "text": lambda h: (h["encoder"].component().module.gemma.layers[0].mlp, h["texts"]),
    "image": lambda h: (h["vae"].video_encoder().module.conv_out, h["one"]),
    "upsampler": lambda h: (h["upsampler"].component().module.final_conv, h["upsample"]),
    "sound": lambda h: (h["vae"].vocoder().module.bwe_generator.conv_post, h["decode"]),
}


@pytest.fixture
def handles(run, encoder, vae, model, stage_one, upsampled, names):
    upsampler = run("UpsamplerLoader", upsampler=names.upsampler)

    def encode():
        encoder.encoded.clear()
        return run("TextEncode", text_encoder=encoder, prompt="b", negative_prompt="")[0][0][0]

    return {
        "encoder": encoder, "vae": vae, "upsampler": upsampler,
        "texts": encode,
        "one": lambda: latents.take(stage_one(model))[0],
        "upsample": lambda: latents.take(
            run("LatentUpsampler", latent=stage_one(model), upsampler=upsampler, vae=vae))[0],
        "decode": lambda: run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **names.tiles)[2]["waveform"],
    }  # fmt: skip


@pytest.mark.parametrize("phase", PHASES)
def test_other_phases_try_once_more(phase, handles, failing, caplog):
    layer, call = PHASES[phase](handles)
    expected = call()
    failing(layer, 1)
    with caplog.at_level(logging.WARNING, "ltx_duo"):
        assert torch.equal(call(), expected)
    assert len([r for r in caplog.records if "trying again with fewer weights" in r.message]) == 1
    failing(layer, 2)
    with pytest.raises(LTXError, match="not enough memory for"):
        call()


def test_decode_goes_to_smaller_and_smaller_tiles(run, vae, upsampled, monkeypatch, names, caplog):
    calls, ways = [], tiles.automatic(9, 64, 128)
    decode = two_stage.decode_video

    def fail(decoder, latent, tiling, reporter):
        calls.append(tiling)
        if len(calls) < len(ways):
            raise torch.OutOfMemoryError("planted")
        return decode(decoder, latent, tiling, reporter)

    expected = run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **names.tiles)[1]
    monkeypatch.setattr(two_stage, "decode_video", fail)
    with caplog.at_level(logging.WARNING, "ltx_duo"):
        frames = run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **names.tiles)[1]
    assert tuple(calls) == ways
    assert torch.equal(frames, expected)  # the film is smaller than the smallest tile
    assert len([r for r in caplog.records if "smaller tiles" in r.message]) == len(ways) - 1


@pytest.mark.parametrize("tiling", ["off", "custom"])
def test_decode_as_the_user_says_or_not_at_all(run, vae, upsampled, monkeypatch, names, tiling):
    def fail(*_):
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(two_stage, "decode_video", fail)
    with pytest.raises(LTXError, match="Set its tiling to auto"):
        run("AVDecode", latent=upsampled, vae=vae, tiling=tiling, **names.tiles)


def test_decode_begins_with_the_tiles_that_fit(run, vae, upsampled, monkeypatch, names):
    calls = []
    monkeypatch.setattr(
        two_stage, "decode_video", lambda d, latent, tiling, r: calls.append(tiling) or torch.zeros(9, 64, 128, 3)
    )
    ways = tiles.automatic(9, 64, 128)
    needs = [picture_decoding._need(vae.video_decoder(), latents.take(upsampled)[0], way) for way in ways]
    for free in (needs[0] + 1, min(needs) / 2):
        monkeypatch.setattr(mm, "get_free_memory", lambda *a, free=free: free)
        run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **names.tiles)
    assert calls == [None, ways[-1]]
