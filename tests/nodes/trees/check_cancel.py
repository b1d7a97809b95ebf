"""Cancelling: at any check in any phase, soon, and without harm to the next run."""

import contextlib

import comfy.model_management as mm
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import compat, decoding, latents, stage_run

# Operations that can take long on a GPU: a cancel that comes during one is seen after it.
HEAVY = ("conv", "linear", "matmul", "mm", "attention")


@pytest.fixture
def upsampler(run, names):
    return run("UpsamplerLoader", upsampler=names.upsampler)


@pytest.fixture
def calls(run, encoder, model, vae, stage_one, stage_two, upsampler, names):
    """One call for each phase, by the text that the phase shows; each gives a tensor."""
    first = stage_one(model)
    larger = run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae)

    def decode(what: int):
        return run("AVDecode", latent=larger, vae=vae, tiling="custom", **names.tiles)[what]

    def one():
        return latents.take(stage_one(model))[0]

    def hear():
        waveform = torch.randn(1, 2, 44100, generator=torch.Generator().manual_seed(0))
        audio = {"waveform": waveform, "sample_rate": 44100}
        given = run("SoundCondition", audio=audio, start=0.0, fps=25.0)[0]
        return latents.take(stage_one(model, conditions=given))[1]

    def encode():
        encoder.encoded.clear()
        return run("TextEncode", text_encoder=encoder, prompt="b", negative_prompt="")[0][0][0]

    return {
        "encoding prompt 1": encode,
        stage_run.ENCODING: one,
        stage_run.HEARING: hear,
        stage_run.SAMPLING: one,
        "upsampling": lambda: latents.take(run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae))[0],
        decoding.PICTURE: lambda: decode(1),
        decoding.SOUND: lambda: decode(2)["waveform"],
    }


PHASES = [
    "encoding prompt 1",
    stage_run.ENCODING,
    stage_run.HEARING,
    stage_run.SAMPLING,
    "upsampling",
    decoding.PICTURE,
    decoding.SOUND,
]


class Checks:
    """Counts checks for a cancel while `phase` is shown, and interrupts at the n-th of them."""

    def __init__(self, monkeypatch, phase: str, at: int | None = None):
        self.phase, self.at, self.shown, self.count = phase, at, None, 0
        check = mm.throw_exception_if_processing_interrupted

        def counted():
            if self.shown == self.phase:
                self.count += 1
                if self.count == self.at:
                    mm.interrupt_current_processing()
            check()

        monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", counted)
        monkeypatch.setattr(compat, "send_text", lambda text: setattr(self, "shown", text))


@pytest.mark.parametrize("phase", PHASES)
def test_cancel_at_any_check_and_the_next_run_is_sound(phase, monkeypatch, calls):
    with monkeypatch.context() as patched:
        whole = Checks(patched, phase)
        expected = calls[phase]()
    assert whole.count > 5
    for at in sorted({1, 2, whole.count // 2, whole.count}):
        with monkeypatch.context() as patched:
            checks = Checks(patched, phase, at)
            with pytest.raises(mm.InterruptProcessingException):
                calls[phase]()
        # Nothing ran on after the check that saw it.
        assert (checks.shown, checks.count) == (phase, at)
    assert torch.equal(calls[phase](), expected)


class Gaps(TorchDispatchMode):
    """The most heavy operations in a row without a check between them."""

    def __init__(self):
        super().__init__()
        self.since = self.longest = self.total = 0

    def checked(self) -> None:
        self.since = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        if any(part in name for part in HEAVY):
            self.since, self.total = self.since + 1, self.total + 1
            self.longest = max(self.longest, self.since)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("phase", PHASES)
def test_little_work_lies_between_two_checks(phase, monkeypatch, calls):
    """So a cancel waits for a few operations: on a slow machine for these, not for a pass, a tile or a network."""
    gaps = Gaps()
    check = mm.throw_exception_if_processing_interrupted
    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", lambda: gaps.checked() or check())
    with gaps:
        calls[phase]()
    assert gaps.total > 5
    assert gaps.longest <= 3, f"{gaps.longest} of {gaps.total}"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            {"width": 8192, "height": 8192, "frames": 8193},
            "^Stage one at .* needs .* GB of memory at least, this computer has ",
        ),
        ({"fps": 1e-9}, "^fps is 1e-09; expected a number from 1 to 240"),
    ],
)
def test_absurd_sizes_are_refused_before_anything_is_made(monkeypatch, model, vae, stage_one, size, words):
    def never(*_, **__):
        pytest.fail("began")

    monkeypatch.setattr(mm, "get_total_memory", lambda *_, **__: 16 * 10**9)
    monkeypatch.setattr(mm, "load_models_gpu", never)
    monkeypatch.setattr(stage_run, "sample_stage", never)
    with pytest.raises(LTXError, match=words):
        stage_one(model, **size)


def test_cancel_between_two_nodes_stops_the_next(monkeypatch, calls):
    mm.interrupt_current_processing()
    try:
        with contextlib.suppress(mm.InterruptProcessingException):
            calls[stage_run.SAMPLING]()
            pytest.fail("went on")
    finally:
        mm.interrupt_current_processing(False)


def test_cancel_is_no_lack_of_memory(monkeypatch, model, stage_one):
    """A run that is cancelled is not tried again in smaller pieces."""
    engine, seen = model.stage(1).module.transformer, []

    def interrupt(*_):
        seen.append(1)
        mm.interrupt_current_processing()

    handle = engine.transformer_blocks[1].register_forward_hook(interrupt)
    try:
        with pytest.raises(mm.InterruptProcessingException):
            stage_one(model)
    finally:
        handle.remove()
        mm.interrupt_current_processing(False)
    assert len(seen) == 1
