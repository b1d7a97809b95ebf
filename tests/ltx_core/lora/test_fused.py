"""What LoRAs do to a module's weights, which come back bit by bit."""

from copy import deepcopy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.lora import LoRA, fused
from ltx_duo.tests.ltx_core.lora.scene import LAYERS, Model, bits, expected_delta


class TestFused:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("strength", [1.0, 0.25, -0.7])
    def test_weights_are_w_plus_strength_times_b_a_in_float32(self, write, dtype, strength):
        model, lora = Model(dtype), LoRA.open(write(style="downup", alpha=8.0))
        before = bits(model)
        base = {name: layer.weight.detach().clone() for name, layer in model.blocks.items()}
        with fused(model, [(lora, strength)]) as same:
            assert same is model
            for name, layer in model.blocks.items():
                exact = base[name].double() + expected_delta(lora, name, strength * 8 / LAYERS[name][2]).double()
                found = layer.weight.detach().double()
                assert layer.weight.dtype == dtype
                step = torch.finfo(dtype).eps / 2
                assert ((found - exact).abs() <= step * exact.abs() + 2e-5).all()
                assert not torch.equal(layer.weight, base[name])
        assert bits(model) == before

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(strengths=st.lists(st.floats(-2, 2), min_size=1, max_size=3), fail=st.booleans())
    def test_the_base_comes_back_bit_by_bit_also_after_an_error(self, lora_files, strengths, fail):
        torch.manual_seed(0)
        model = Model(torch.bfloat16)
        before, storage = bits(model), [p.data_ptr() for p in model.parameters()]
        try:
            with fused(model, list(zip(lora_files, strengths, strict=False))):
                if fail:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert fail
        assert bits(model) == before
        assert [p.data_ptr() for p in model.parameters()] == storage

    @pytest.fixture
    def lora_files(self, write):
        return [LoRA.open(write(name=name)) for name in "abc"]

    def test_strength_zero_is_no_lora(self, lora_files):
        model = Model(torch.bfloat16)
        before = [parameter.data_ptr() for parameter in model.parameters()]
        with fused(model, [(lora_files[0], 0.0), (lora_files[1], 0)]):
            assert [parameter.data_ptr() for parameter in model.parameters()] == before

    def test_several_are_added_up_and_rounded_once(self, lora_files):
        model = Model(torch.bfloat16)
        base = model.blocks["gate"].weight.detach().float().clone()
        total = base + expected_delta(lora_files[0], "gate", 0.5) + expected_delta(lora_files[1], "gate", -0.25)
        with fused(model, [(lora_files[0], 0.5), (lora_files[1], -0.25)]):
            error = (model.blocks["gate"].weight.float() - total).abs()
            assert (error <= total.abs() * 2**-8).all()
        once = (base + expected_delta(lora_files[0], "gate", 0.5)).bfloat16().float()
        twice = (once + expected_delta(lora_files[1], "gate", -0.25)).bfloat16()
        assert not torch.equal(twice, total.bfloat16()), "the test would not see double rounding"

    def test_one_inside_the_other(self, lora_files):
        model = Model()
        before = bits(model)
        with fused(model, [(lora_files[0], 1.0)]):
            outer = bits(model)
            with fused(model, [(lora_files[1], 1.0)]):
                assert bits(model) != outer
            assert bits(model) == outer
        assert bits(model) == before

    def test_a_lora_that_does_not_fit_changes_nothing(self, write, lora_files):
        model = Model()
        before = bits(model)
        other = LoRA.open(write(name="other", prefix="diffusion_model.elsewhere."))
        with pytest.raises(VariantError), fused(model, [(lora_files[0], 1.0), (other, 1.0)]):
            pass
        assert bits(model) == before

    def test_differences_of_weight_and_bias(self, write, rng):
        model = Model()
        before = bits(model)
        base = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
        down, up = torch.randn(4, 400, generator=rng), torch.randn(512, 4, generator=rng)
        grown = {
            "blocks.gate.weight": torch.randn(32, 512, generator=rng),
            "blocks.gate.bias": torch.randn(32, generator=rng),
            "blocks.to_q.bias": torch.randn(512, generator=rng),
        }
        tensors = {
            "blocks.gate.diff": grown["blocks.gate.weight"],
            "blocks.gate.diff_b": grown["blocks.gate.bias"],
            "blocks.to_q.lora_A.weight": down,
            "blocks.to_q.lora_B.weight": up,
            "blocks.to_q.lora_B.bias": grown["blocks.to_q.bias"],
            "blocks.to_q.alpha": torch.tensor(2.0),
        }
        grown["blocks.to_q.bias"] = grown["blocks.to_q.bias"] * 0.5
        grown["blocks.to_q.weight"] = 0.5 * (up @ down)
        with fused(model, [(LoRA.open(write(tensors)), 0.7)]):
            for name, tensor in model.named_parameters():
                exact = base[name].double() + 0.7 * grown.get(name, torch.zeros(())).double()
                torch.testing.assert_close(tensor.double(), exact, rtol=1e-6, atol=1e-5)
        assert bits(model) == before

    @pytest.mark.parametrize("kind", ["LoKr", "DoRA"])
    def test_what_only_comfyui_computes_is_refused(self, write, kind):
        model = Model()
        before = bits(model)
        pair = {"blocks.gate.lora_A.weight": torch.ones(2, 512), "blocks.gate.lora_B.weight": torch.ones(32, 2)}
        tensors = {
            "LoKr": {"blocks.gate.lokr_w1": torch.ones(4, 8), "blocks.gate.lokr_w2": torch.ones(8, 64)},
            "DoRA": pair | {"blocks.gate.dora_scale": torch.ones(32, 1)},
        }[kind]
        refused = pytest.raises(CheckpointError, match=f"{kind}, which is computed by ComfyUI only: .* LTX LoRA Loader")
        with refused, fused(model, [(LoRA.open(write(tensors)), 1.0)]):
            pass
        assert bits(model) == before

    def test_float8_weights_are_refused(self, lora_files):
        model = Model()
        weight = model.blocks["to_q"].weight
        model.blocks["to_q"].weight = nn.Parameter(weight.detach().to(torch.float8_e4m3fn), requires_grad=False)
        before = bits(model)
        with pytest.raises(CheckpointError, match="Dequantize"), fused(model, [(lora_files[0], 1.0)]):
            pass
        assert bits(model) == before


@pytest.mark.gpu
def test_gpu_originals_wait_in_host_memory(tmp_path, rng):
    down, up = (torch.randn(shape, generator=rng).bfloat16() for shape in ((8, 4096), (4096, 8)))
    save_file({"wide.lora_A.weight": down, "wide.lora_B.weight": up}, tmp_path / "lora.safetensors")
    model = nn.ModuleDict({"wide": nn.Linear(4096, 4096, dtype=torch.bfloat16)})
    before = bits(model)
    model.cuda()
    held = torch.cuda.memory_allocated()
    with fused(model, [(LoRA.open(tmp_path / "lora.safetensors"), 1.0)]):
        assert torch.cuda.memory_allocated() - held < 2**20
        assert model["wide"].weight.is_cuda and bits(deepcopy(model).cpu()) != before
    assert model["wide"].weight.is_cuda and bits(model.cpu()) == before
