"""Engine modules under ComfyUI's memory manager: whole, streamed, other storage, LoRA, cancelled, freed."""

import gc
import weakref

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.transformer.inputs import GuidancePass, ModalityInput
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.nodes.comfyui import memory

CPU = torch.device("cpu")


@pytest.fixture
def params(config):
    return TransformerParams.from_config(config)


@pytest.fixture
def weights(params, rng):
    engine = AVTransformer(params)
    return {
        name: torch.randn(tensor.shape, generator=rng) * (0.1 if tensor.ndim == 1 else tensor.shape[-1] ** -0.5)
        for name, tensor in engine.state_dict().items()
    }


def build(params, weights, compute_dtype=torch.float32) -> memory.PatchedModule:
    def factory(**how):
        return AVTransformer(params, **how)

    return memory.build(
        factory, weights, source="a file", compute_dtype=compute_dtype, load_device=CPU, offload_device=CPU
    )


def velocities(model: AVTransformer, seed: int = 3) -> torch.Tensor:
    geometry = LatentGeometry(64, 64, 9, 24)
    generator = torch.Generator().manual_seed(seed)
    ropes = model.rope_tables(geometry.video_positions(), geometry.audio_positions())
    inputs = []
    for rope, count in zip(ropes, (geometry.video_tokens, geometry.audio_frames), strict=True):
        tokens = torch.randn(1, count, 128, generator=generator)
        inputs.append(ModalityInput(tokens, torch.full((1, count), 0.7), torch.tensor([0.7]), rope))
    contexts = [torch.randn(1, 8, width, generator=generator) for width in (96, 64)]
    results = model(*inputs, [GuidancePass("cond", *contexts), GuidancePass("isolated", *contexts, isolated=True)])
    return torch.cat([tensor.flatten() for result in results for tensor in result])


def reference(params, weights) -> torch.Tensor:
    """The plain engine, without ComfyUI, in float32."""
    engine = AVTransformer(params).eval()
    engine.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return velocities(engine)


def stream_everything(component: memory.PatchedModule) -> None:
    """What --novram does on a GPU: no layer that ComfyUI can stream stays loaded."""
    component.patcher.load(CPU, lowvram_model_memory=1)
    assert component.patcher.model.model_lowvram


def test_whole_equals_plain_engine(params, weights):
    component = build(params, weights)
    assert torch.equal(velocities(component.load()), reference(params, weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_streamed_equals_whole(params, weights, dtype):
    weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
    component = build(params, weights)
    whole = velocities(component.load())
    component.patcher.detach()
    stream_everything(component)
    assert torch.equal(velocities(component.module), whole)


def test_weights_keep_the_files_dtype_and_storage(params, weights):
    weights = {name: tensor.bfloat16() for name, tensor in weights.items()}
    weights["scale_shift_table"] = weights["scale_shift_table"].float()
    component = build(params, weights)
    for name, tensor in component.module.state_dict().items():
        assert tensor.dtype == weights[name].dtype and tensor.data_ptr() == weights[name].data_ptr(), name
    error = (velocities(component.load()) - reference(params, weights)).abs().max()
    assert error < 1e-5
    assert component.patcher.model_size() == sum(t.numel() * t.element_size() for t in weights.values())


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_weights_that_do_not_fit_are_refused(params, weights, change):
    name = "transformer_blocks.1.ff.net.2.weight"
    if change == "missing":
        del weights[name]
    else:
        weights["transformer_blocks.7.ff.net.2.weight"] = weights[name]
    with pytest.raises(CheckpointError, match="ff.net.2.weight"):
        build(params, weights)


def test_cancel_stops_inside_a_pass(params, weights):
    component = build(params, weights)
    engine = component.load()
    seen = []
    handle = engine.transformer_blocks[0].register_forward_hook(
        lambda *_: seen.append(mm.interrupt_current_processing())
    )
    try:
        with pytest.raises(mm.InterruptProcessingException):
            velocities(engine)
    finally:
        mm.interrupt_current_processing(False)
        handle.remove()
    assert len(seen) == 1
    velocities(engine)


def test_nothing_keeps_a_dropped_component(params, weights):
    component = build(params, weights)
    velocities(component.load())
    engine = weakref.ref(component.module)
    del component
    gc.collect()
    mm.cleanup_models()
    assert engine() is None


def test_nan_weights_are_refused_by_name(params, weights):
    weights["audio_proj_out.bias"][3] = float("nan")
    with pytest.raises(CheckpointError, match="audio_proj_out.bias"):
        build(params, weights)


def test_broken_weights_are_named(params, weights):
    component = build(params, weights)
    component.module.audio_proj_out.bias.data[3] = float("inf")
    assert memory.broken_weights(component) == ["audio_proj_out.bias"]


def test_convolutions_give_their_bias_apart(monkeypatch):
    """Whether their weights are loaded, or cast for the moment."""
    for stored in (torch.float32, torch.bfloat16):
        ops, _ = memory.pick_ops({"conv.weight": torch.zeros(1, dtype=stored)}, torch.float32)
        conv = ops.Conv3d(3, 5, 3, padding=(0, 1, 1), dtype=stored)
        torch.nn.init.normal_(conv.weight), torch.nn.init.normal_(conv.bias)
        x = torch.randn(1, 3, 4, 6, 5)
        result, bias = conv.forward_apart(x)
        torch.testing.assert_close(result + bias[:, None, None, None], conv(x), rtol=1e-5, atol=1e-5)
