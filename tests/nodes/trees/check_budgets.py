"""ComfyUI's memory manager at work on a pretended GPU: budgets, and the flags that change how it loads.

The pretended GPU is PyTorch's device "cpu:0", which ComfyUI takes for another one than "cpu", with a memory of its own.
"""

from weakref import WeakSet

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core.execution import memory_estimates
from ltx_duo.nodes.comfyui import fitting, latents

GPU = torch.device("cpu", 0)
MIB = 2**20
# What the transformer's activations are said to need, however many passes go together.
NEED = 96 * MIB


class PretendedGPU:
    """Its memory holds what ComfyUI has loaded there; activations are not seen."""

    def __init__(self):
        self.total = 1000 * MIB
        self.reserved = 0
        self.shares: list[float] = []  # of the transformer's weights, after each time that it was asked for

        self.models = WeakSet()

    def note(self, patchers) -> None:
        for patcher in patchers:
            self.models.add(patcher.model)
            if hasattr(getattr(patcher.model, "engine", None), "transformer"):
                self.shares.append(patcher.loaded_size() / patcher.model_size())

    def loaded(self) -> int:
        return sum(model.model_loaded_weight_memory for model in self.models)

    def free(self, device=None, torch_free_too=False):
        free = self.total - self.loaded()
        return (free, 0) if torch_free_too else free


@pytest.fixture
def gpu(monkeypatch):
    mm.unload_all_models()
    pretended = PretendedGPU()
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    monkeypatch.setattr(mm, "is_device_cpu", lambda device: device != GPU)
    monkeypatch.setattr(mm, "get_free_memory", pretended.free)
    total = mm.get_total_memory
    monkeypatch.setattr(
        mm, "get_total_memory", lambda device=GPU, **how: pretended.total if device == GPU else total(device, **how)
    )
    monkeypatch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: pretended.reserved)
    monkeypatch.setattr(mm, "minimum_inference_memory", lambda: 2 * MIB + pretended.reserved)
    monkeypatch.setattr(mm, "MIN_WEIGHT_MEMORY_RATIO", 0.0)  # as for NVIDIA
    # The small model's own share of a real one's.
    monkeypatch.setattr(fitting, "LEAST_WEIGHTS", MIB // 4)
    monkeypatch.setattr(fitting, "SWEEP_PRICE", MIB // 4)
    monkeypatch.setattr(memory_estimates, "transformer", lambda *_, **__: NEED)
    monkeypatch.setattr("ltx_duo.nodes.comfyui.dtypes.usual", lambda device: torch.float32)
    monkeypatch.setattr(mm, "vae_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(mm, "unet_dtype", lambda *_, **__: torch.float32)
    load = mm.load_models_gpu

    def noted(patchers, **how):
        load(patchers, **how)
        pretended.note(patchers)

    monkeypatch.setattr(mm, "load_models_gpu", noted)
    yield pretended
    mm.unload_all_models()


@pytest.fixture
def vae(run, names):
    """One of its own: what is built for the pretended GPU stays there."""
    return run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")


@pytest.fixture(scope="session")
def film(run, names, texts):
    """A whole film from fresh handles: picture, sound, frames; and its model."""

    def make(weight_dtype="auto"):
        model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype=weight_dtype)
        model = run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
        vae = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
        upsampler = run("UpsamplerLoader", upsampler=names.upsampler)
        first = run("StageOneSampler", model=model, vae=vae, positive=texts[0], negative=texts[1], seed=10,
                    noise_device="cpu", **names.size)  # fmt: skip
        larger = run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae)
        second = run("StageTwoSampler", model=model, vae=vae, positive=texts[0], latent=larger,
                     **{**names.kept, "noise_device": "cpu"})  # fmt: skip
        frames = run("AVDecode", latent=second, vae=vae, tiling="off", **names.tiles)[1]
        return (*latents.take(first), latents.take(second)[0], frames), model

    return make


@pytest.fixture(scope="session")
def expected(film):
    with torch.inference_mode():
        return film()[0]


def close(found, expected) -> bool:
    """Weights patched by a LoRA are rounded when they are whole, and not when they are streamed."""
    return all(torch.allclose(a, b, atol=0.05 * b.abs().max().item()) for a, b in zip(found, expected, strict=True))


def test_everything_fits(expected, gpu, film):
    assert close(film()[0], expected)
    assert gpu.shares == pytest.approx([1.0, 1.0], abs=0.05)


@pytest.mark.parametrize("share", [0.6, 0.2])
def test_what_does_not_fit_is_streamed(expected, gpu, film, share, model):
    gpu.total = NEED + share * model.stage(1).patcher.model_size()
    assert close(film()[0], expected)
    assert len(gpu.shares) == 2 and all(found <= share + 0.1 for found in gpu.shares)
    assert max(gpu.shares) > share - 0.25


@pytest.mark.parametrize("state, share", [("NO_VRAM", 0.0), ("LOW_VRAM", 1.0), ("HIGH_VRAM", 1.0)])
def test_vram_flags(expected, gpu, film, monkeypatch, state, share):
    monkeypatch.setattr(mm, "vram_state", getattr(mm.VRAMState, state))
    assert close(film()[0], expected)
    assert gpu.shares == pytest.approx([share, share], abs=0.05)


def test_disabled_smart_memory(expected, gpu, film, monkeypatch):
    monkeypatch.setattr(mm, "DISABLE_SMART_MEMORY", True)
    found, model = film()
    assert model.stage(2).patcher.loaded_size() == 0  # decoding has pushed it out
    assert close(found, expected)


def test_reserved_memory_is_left_alone(expected, gpu, film, model):
    size = model.stage(1).patcher.model_size()
    gpu.reserved = 60 * MIB
    gpu.total = gpu.reserved + NEED + size // 2
    assert close(film()[0], expected)
    assert all(0.2 < share <= 0.6 for share in gpu.shares)


def test_less_memory_in_the_middle_of_a_run(gpu, model, stage_one):
    """Memory runs out in a block: the rest of the run goes on with fewer passes and more streamed weights."""
    expected = latents.take(stage_one(model))
    component = model.stage(1)
    ff, failures = component.module.transformer.transformer_blocks[1].ff, [1]

    def fail(*_):
        if failures:
            failures.pop()
            # Another program has taken most of the memory.
            gpu.total = fitting.MORE_ROOM * NEED + component.patcher.model_size() // 2
            raise torch.OutOfMemoryError("planted")

    handle = ff.register_forward_hook(fail)
    try:
        found = latents.take(stage_one(model))
    finally:
        handle.remove()
    assert gpu.shares[-2] > 0.95 and gpu.shares[-1] <= 0.6
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(found, expected, strict=True))


def test_fp8_weights_under_a_budget(gpu, film):
    expected, model = film("fp8")
    gpu.total = NEED + model.stage(1).patcher.model_size() // 2
    found, _ = film("fp8")
    assert gpu.shares[:2] == pytest.approx([1.0, 1.0], abs=0.05) and max(gpu.shares[2:]) <= 0.6
    assert close(found[:2], expected[:2])


def test_the_smallest_budget_still_runs(expected, gpu, film):
    gpu.total = 10 * MIB
    assert close(film()[0], expected)
    assert max(gpu.shares) < 0.05
