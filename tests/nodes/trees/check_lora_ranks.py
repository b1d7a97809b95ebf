"""A LoRA with the official ranks, small where a layer is small, laid over weights and streamed: against W + s B A.

Also with an alpha of its own in each layer: W + s alpha / rank B A.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ltx_duo.nodes.comfyui import files, lora, stage_loras
from ltx_duo.tests.nodes.trees.wide_model import Velocities, WideModel, draw_velocities

EXACT = "W + s B A in float32"
RANKS = {32, 128, 256, 384}
STRENGTHS = (0.4, 1.0)
PLAIN, WITH_ALPHA = "lora.safetensors", "alpha.safetensors"
LAID, STREAMED, ADDED = "laid over the weights", "streamed", "added at each use"
DTYPES = (torch.float32, torch.bfloat16)
# The same sums in another order.  Laid over a bfloat16 file the sum is rounded to its dtype, by up to 2^-9 of itself.
BARS = {(how, dtype): 1e-5 for how in (LAID, STREAMED, ADDED) for dtype in DTYPES} | {(LAID, torch.bfloat16): 1e-2}


@dataclass(frozen=True)
class Case:
    """A model and LoRAs of ranks min(384, in, out) in `folder`; deltas at strength 1 by names of LoRA and weight."""

    folder: Path
    model: WideModel
    deltas: Mapping[str, Mapping[str, Tensor]]
    velocities: Callable[..., Velocities]

    def exact(self, dtype: torch.dtype, strength: float, lora: str = PLAIN) -> Velocities:
        """Velocities with every weight, rounded to the file's dtype, replaced by its sum."""
        deltas = self.deltas[lora]
        weights = {name: tensor.to(dtype).double() for name, tensor in self.model.weights.items()}
        return self.velocities(self.model.exact({n: w + strength * deltas.get(n, 0) for n, w in weights.items()}))


def file_name(dtype: torch.dtype) -> str:
    return f"{dtype}.safetensors".removeprefix("torch.")


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    seed = torch.seed() % 2**31
    model = WideModel.draw(seed)
    generator = torch.Generator().manual_seed(seed)
    tensors, alphas, deltas = {}, {}, {}
    for name in model.layers:
        weight = model.weights[f"{name}.weight"]
        rank = min(384, *weight.shape)
        down = torch.randn(rank, weight.shape[1], generator=generator).bfloat16()
        up = torch.randn(weight.shape[0], rank, generator=generator) * rank**-0.5 * weight.std() * 0.3
        up = up.bfloat16()
        tensors |= {f"diffusion_model.{name}.lora_A.weight": down, f"diffusion_model.{name}.lora_B.weight": up}
        alphas[name] = rank * (0.25 + 1.5 * torch.rand((), generator=generator)).bfloat16()
        deltas[f"{name}.weight"] = up.double() @ down.double()
    assert {tensor.shape[0] for name, tensor in tensors.items() if "lora_A" in name} == RANKS
    folder = tmp_path_factory.mktemp("ranks")
    for dtype in DTYPES:
        model.write(folder / file_name(dtype), {name: tensor.to(dtype) for name, tensor in model.weights.items()})
    save_file(tensors, folder / PLAIN)
    save_file(tensors | {f"diffusion_model.{n}.alpha": alpha for n, alpha in alphas.items()}, folder / WITH_ALPHA)
    ranks = {name: min(384, *model.weights[f"{name}.weight"].shape) for name in model.layers}
    scaled = {f"{n}.weight": deltas[f"{n}.weight"] * alphas[n].double() / ranks[n] for n in model.layers}
    return Case(folder, model, {PLAIN: deltas, WITH_ALPHA: scaled}, draw_velocities(seed))


@pytest.fixture
def way(monkeypatch, streaming):
    """`way(how)`: how LoRAs reach the weights from here on."""

    def choose(how: str) -> None:
        monkeypatch.setattr(stage_loras, "with_loras", lora.with_factors if how == ADDED else lora.with_patches)
        if how == STREAMED:
            streaming()

    return choose


@pytest.fixture
def loaded(run, case, monkeypatch):
    """`loaded(dtype, one, two)`: a fresh model from the file of that dtype with a LoRA at these strengths."""
    monkeypatch.setattr(files, "path", lambda name, _folders: str(case.folder / name))

    def load(dtype: torch.dtype, one: float, two: float, lora: str = PLAIN):
        model = run("ModelLoader", checkpoint=file_name(dtype), weight_dtype="auto")
        strengths = {"strength_stage_one": one, "strength_stage_two": two}
        return run("LoraLoader", model=model, lora=lora, **strengths)

    return load


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("how", [LAID, STREAMED, ADDED])
def test_lora_of_official_ranks(how, dtype, loaded, case, way, measured):
    way(how)
    model = loaded(dtype, *STRENGTHS)
    plain = case.exact(dtype, 0.0)
    for stage, strength in enumerate(STRENGTHS, start=1):
        ours, exact = case.velocities(model.stage(stage).load().transformer), case.exact(dtype, strength)
        for name, one, other, without in zip(("video", "audio"), ours, exact, plain, strict=True):
            assert (other - without).abs().max() > 10 * BARS[how, dtype] * other.abs().max(), "the LoRA does too little"
            what = f"LoRA of ranks 32 to 384, {how}, {file_name(dtype)[:-12]} file, strength {strength:g}: {name}"
            measured(what, EXACT, one, other, BARS[how, dtype])


@pytest.mark.parametrize("how", [LAID, STREAMED, ADDED])
def test_each_layers_alpha_scales_its_product(how, loaded, case, way, measured):
    way(how)
    model = loaded(torch.float32, 0.0, 0.7, WITH_ALPHA)
    ours = case.velocities(model.stage(2).load().transformer)
    exact, without = case.exact(torch.float32, 0.7, WITH_ALPHA), case.exact(torch.float32, 0.7)
    for name, one, other, unscaled in zip(("video", "audio"), ours, exact, without, strict=True):
        assert (other - unscaled).abs().max() > 0.01 * other.abs().max(), "the alphas do too little"
        measured(f"LoRA with alpha, {how}: {name}", EXACT, one, other, BARS[how, torch.float32])


@pytest.mark.parametrize("how", [LAID, STREAMED, ADDED])
def test_strength_zero_and_the_other_stage_leave_no_trace(how, loaded, case, way, measured):
    way(how)
    plain = case.velocities(loaded(torch.bfloat16, 0.0, 0.0).stage(1).load().transformer)
    model = loaded(torch.bfloat16, 0.0, 1.0)
    for when in ("before", "after"):
        ours = case.velocities(model.stage(1).load().transformer)
        for name, one, other in zip(("video", "audio"), ours, plain, strict=True):
            measured(f"LoRA at strength 0, {how}, {when} a stage with it: {name}", "no LoRA", one, other, 0)
        changed = case.velocities(model.stage(2).load().transformer)
        assert not torch.equal(changed[0], plain[0]) and not torch.equal(changed[1], plain[1])
