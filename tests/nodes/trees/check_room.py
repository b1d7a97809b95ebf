"""Room for work: what counts as free, what is let go before another try, and what decoding may take."""

import weakref

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.execution.splitting import Pieces
from ltx_duo.ltx_core.transformer.inputs import GuidancePass
from ltx_duo.nodes.comfyui import compat, fitting, latents, picture_decoding, tiles

GIB = 2**30


class Loaded:
    def __init__(self, size: float, device: torch.device):
        self.size, self.device, self.model = size, device, self

    def model_loaded_memory(self) -> float:
        return self.size


def test_only_models_on_the_same_device_can_go(monkeypatch):
    here, there = torch.device("cuda", 0), torch.device("cuda", 1)
    monkeypatch.setattr(mm, "current_loaded_models", [Loaded(5 * GIB, here), Loaded(7 * GIB, there)])
    monkeypatch.setattr(mm, "get_free_memory", lambda device: 8 * GIB)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0)
    assert fitting.available_memory(Loaded(0, here)) == 13 * GIB


class Asked:
    """A component that only notes how much room it was asked to leave."""

    def __init__(self, name: str, log: list):
        self.name, self.log = name, log

    def load(self, need: float) -> None:
        self.log.append((self.name, need))


@pytest.fixture
def log(monkeypatch):
    """What was done to make room, in order."""
    done = []
    monkeypatch.setattr(mm, "soft_empty_cache", lambda *_: done.append("cache"))
    return done


def failing(times: int):
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("planted")
        return "done"

    return call


def test_every_component_of_a_phase_makes_room(log):
    parts = [Asked("decoder", log), Asked("vocoder", log)]
    assert fitting.with_more_room(failing(1), parts, GIB, "the sound") == "done"
    (cache, (first, one)), (again, (second, two)) = log[:2], log[2:]
    assert (cache, again) == ("cache", "cache") and (first, second) == ("decoder", "vocoder")
    assert one == two > GIB


def test_nothing_stays_loaded_when_memory_ran_out_for_good(model, vae):
    component, other = model.stage(1), vae.video_encoder()
    patchers = [component.patcher, other.patcher]
    for part in (component, other):
        part.load()
    assert all(patcher in mm.loaded_models() for patcher in patchers)
    with pytest.raises(fitting.OutOfMemory, match="the test"):
        fitting.with_more_room(failing(2), [component], 0, "the test")
    assert not any(patcher in mm.loaded_models() for patcher in patchers)


def test_other_errors_are_not_tried_again(log):
    def fail():
        log.append("called")
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        fitting.with_more_room(fail, [Asked("decoder", log)], GIB, "the sound")
    assert log == ["called"]
    assert not compat.is_out_of_memory(RuntimeError("shapes do not match"))
    assert compat.is_out_of_memory(torch.OutOfMemoryError("planted"))


def test_a_failed_evaluation_is_gone_when_room_is_made(monkeypatch):
    made, alive = [], []

    class Model:
        params = rope_tables = transformer_blocks = None

        def __call__(self, video, audio, passes, run_blocks):
            if not made:
                large = torch.zeros(8)
                made.append(weakref.ref(large))
                raise torch.OutOfMemoryError("planted")
            return [None] * len(passes)

    monkeypatch.setattr(fitting, "make_room", lambda component, need: alive.append(made[0]() is not None))
    text = torch.zeros(1, 1, 1)
    passes = [GuidancePass("cond", text, text), GuidancePass("isolated", text, text, isolated=True)]
    fitting.laddered(Model(), None, Pieces(2), lambda pieces: 0.0, "a test")(None, None, passes)
    assert alive == [False]


@pytest.fixture
def tried(monkeypatch):
    """The ways that decoding tried."""
    ways = []

    def decode(decoder, latent, tiling, reporter):
        ways.append(tiling)
        return torch.zeros(9, 64, 128, 3)

    monkeypatch.setattr(two_stage, "decode_video", decode)
    return ways


@pytest.fixture
def decode(run, vae, upsampled, names):
    return lambda latent=upsampled: run("AVDecode", latent=latent, vae=vae, tiling="auto", **names.tiles)


def test_decoding_in_one_piece_drives_no_other_models_away(decode, tried, monkeypatch):
    """However much could be freed: tiles that take a modest share cost little."""
    monkeypatch.setattr(picture_decoding, "_need", lambda component, video, way: (20 if way is None else 4) * GIB)
    monkeypatch.setattr(mm, "get_free_memory", lambda *_, **__: 60 * GIB)
    decode()
    assert tried == [tiles.automatic(9, 64, 128)[1]]


def test_decoding_leaves_room_for_its_own_weights(decode, tried, vae, upsampled, monkeypatch):
    component = vae.video_decoder()
    whole = picture_decoding._need(component, latents.take(upsampled)[0], None)
    monkeypatch.setattr(mm, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(mm, "current_loaded_models", [])
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0)
    size = component.patcher.model_size()
    for free in (whole + size + 1, whole + size - 1):
        monkeypatch.setattr(fitting, "available_memory", lambda component, free=free: free)
        monkeypatch.setattr(tiles, "available_memory", lambda component, free=free: free)
        decode()
    assert tried[0] is None and tried[1] is not None


def test_rates_of_television_stay_exact(decode, upsampled):
    info = latents.info_of(upsampled)
    timed = latents.StageInfo(24000 / 1001, info.generator_device, info.generator_state)
    video = decode(latents.make(*latents.take(upsampled), timed))[0]
    rate = video.get_components().frame_rate
    assert (rate.numerator, rate.denominator) == (24000, 1001)


def test_frames_have_the_dtype_that_the_user_chose(decode, monkeypatch):
    monkeypatch.setattr(mm, "intermediate_dtype", lambda: torch.float16, raising=False)
    assert decode()[1].dtype == torch.float16
