"""nvfp4, mxfp8 and int8 files, written by ComfyUI's own quantisation, through our loaders."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import comfy.ops
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.inspect import inspect_file
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.lora import LoRA, Strengths
from ltx_duo.ltx_core.quantization import quantization
from ltx_duo.ltx_core.variants import Kind
from ltx_duo.nodes.comfyui import compat, components, files, lora, packed, report
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_CONFIG
from ltx_duo.tests.nodes.trees.quantised_forms import FORMS, FP8, Form, Tensors, json_tensor, needs_layers
from ltx_duo.tests.nodes.trees.wide_model import PREFIX, WideModel, draw_velocities

HEADS = 20
GATE = "transformer_blocks.0.attn1.to_gate_logits"  # 20 rows: no whole tile in any format
LAYER = "transformer_blocks.0.ff.net.2"


@pytest.fixture(scope="module")
def seed() -> int:
    return torch.seed() % 2**31


@pytest.fixture(scope="module")
def wide(seed) -> WideModel:
    """320 channels of picture and 80 of sound: 80 is no multiple of 32, and 20 heads none of 16."""
    return WideModel.draw(seed, HEADS)


@dataclass(frozen=True)
class Case:
    path: str
    plain: Tensors
    packed: set[str]


@pytest.fixture
def written(wide, tmp_path, monkeypatch) -> Callable[..., Case]:
    """Writes the model with two of three layers in a form, the third in bfloat16 or fp8; marks in the header or as
    tensors."""
    monkeypatch.setattr(files, "path", lambda name, _folders: str(tmp_path / name))

    def write(form: Form, header: bool = True, change=None) -> Case:
        stored = {name: tensor.bfloat16() for name, tensor in wide.weights.items()}
        plain, marks, in_form = {name: tensor.float() for name, tensor in stored.items()}, {}, set()
        for index, layer in enumerate(wide.layers):
            own = (FP8 if index % 2 else None) if index % 3 == 1 and layer != GATE else form
            if own is None:
                continue
            name = f"{layer}.weight"
            tensors, plain[name] = own.store(layer, stored.pop(name))
            stored |= tensors
            marks[layer] = {"format": own.format, **own.mark}
            if own is form:
                in_form.add(layer)
        metadata = {}
        if header:
            metadata["_quantization_metadata"] = json.dumps({"layers": {PREFIX + k: v for k, v in marks.items()}})
        else:
            stored |= {f"{k}.comfy_quant": json_tensor(v) for k, v in marks.items()}
        if change:
            change(stored)
        wide.write(tmp_path / "packed.safetensors", stored, **metadata)
        return Case("packed.safetensors", plain, in_form)

    return write


def transformer(component):
    return component.load().transformer


def places(layers) -> list[int]:
    """Where weights and scales lie."""
    return [tensor.data_ptr() for layer in layers for tensor in layer.weight.state_dict().values()]


@needs_layers
@pytest.mark.parametrize("how", ["loaded", "streamed", "made when loaded"])
@pytest.mark.parametrize("form", FORMS)
def test_transformer_computes_with_what_the_layers_stand_for(
    form, how, written, wide, seed, run, tmp_path, streaming, lazy_layers, measured
):
    case = written(FORMS[form], header=how == "loaded")
    if how == "streamed":
        streaming()
    if how == "made when loaded":
        lazy_layers()
    component = run("ModelLoader", checkpoint=case.path, weight_dtype="auto").stage(1)
    velocities = draw_velocities(seed, HEADS)
    ours = velocities(transformer(component))
    full = velocities(wide.exact(wide.weights))
    exact = velocities(wide.exact(case.plain))
    for name, one, other, unquantised in zip(("video", "audio"), ours, exact, full, strict=True):
        assert (other - unquantised).abs().max() > 1e-3 * unquantised.abs().max(), "the case is empty"
        measured(f"{form} file, {how}: {name}", "its weights expanded", one, other, 1e-5)

    layers = packed.packed_layers(component.module)
    assert len(layers) == len(case.packed) and not any(layer.fixed_weights() for layer in layers)
    # Kept, counted and given back as it lies in the file.
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    held = sum(t.nbytes for layer in layers for k, t in layer.state_dict().items() if k.startswith("weight"))
    assert held * 8 == pytest.approx(FORMS[form].bits * weights, rel=0.25)  # padding of small layers
    stored = sum(tensor.nbytes for name, tensor in load_file(tmp_path / case.path).items() if PREFIX in name)
    assert component.size() < 1.05 * stored
    homes = places(layers)
    for away in ("cpu", "meta", "cpu"):  # meta stands in for a GPU
        component.patcher.model.to(away)
    assert places(layers) == homes
    assert component.expanding_bytes >= 4 * max(layer.in_features * layer.out_features for layer in layers)


@needs_layers
@pytest.mark.parametrize("form", FORMS)
def test_sound_alone_has_its_own_layers_as_they_lie(form, written, seed, run, measured):
    model = run("ModelLoader", checkpoint=written(FORMS[form]).path, weight_dtype="auto")
    velocities = draw_velocities(seed, HEADS, sound_alone=True)
    alone, whole = model.sound(), model.stage(1)
    ours, reference = (velocities(transformer(component))[1] for component in (alone, whole))
    measured(f"{form} file, sound alone: audio", "all of the transformer", ours, reference, 1e-6)
    assert 0 < len(packed.packed_layers(alone.module)) < len(packed.packed_layers(whole.module))
    assert alone.size() < whole.size() / 2


@needs_layers
@pytest.mark.parametrize("form", FORMS)
def test_engine_and_bf16_choice_expand_to_the_same_numbers(form, written, run, tmp_path):
    """The engine's own arithmetic against ComfyUI's."""
    case = written(FORMS[form])
    told, _ = inspect_file(tmp_path / case.path)
    assert told.uses == ["LTX Model Loader"] and not told.problems
    assert told.quantization[f"{FORMS[form].format} scaled"] == len(case.packed)
    module = load_component(Checkpoint.open(tmp_path / case.path), Component.TRANSFORMER, dtype=torch.float32)
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, case.plain[name], rtol=1e-5, atol=1e-7, msg=name)
    expanded = transformer(run("ModelLoader", checkpoint=case.path, weight_dtype="bf16").stage(1))
    assert not packed.packed_layers(expanded)
    for layer in case.packed:
        assert torch.equal(expanded.get_submodule(layer).weight, case.plain[f"{layer}.weight"].bfloat16())


@needs_layers
def test_fp8_choice_leaves_packed_layers_and_says_so(written, run):
    case = written(FORMS["nvfp4"])
    module = transformer(run("ModelLoader", checkpoint=case.path, weight_dtype="fp8").stage(1))
    assert len(packed.packed_layers(module)) == len(case.packed)
    left = [layer for layer in module.transformer_blocks.modules() if isinstance(layer, torch.nn.Linear)]
    assert left and {layer.weight.dtype for layer in left if layer.out_features != HEADS} == {torch.float8_e4m3fn}
    assert "M parameters, BF16 and" in report.model_text(files.open_checkpoint(case.path, ()), Kind.DEV, False)
    said = components.kept_packed(files.open_checkpoint(case.path, ()), "fp8")
    assert f"{len(case.packed)} layers stay in nvfp4" in said
    assert components.kept_packed(files.open_checkpoint(case.path, ()), "auto") is None


@needs_layers
@pytest.mark.parametrize("way", [lora.with_factors, lora.with_patches])
@pytest.mark.parametrize("form", FORMS)
def test_lora_on_top(form, way, written, wide, seed, run, tmp_path, measured):
    """Added at each use it is exact; ComfyUI's patches round the sum to the format, which adds noise and no bias."""
    case = written(FORMS[form])
    generator = torch.Generator().manual_seed(seed)
    tensors, sums = {}, dict(case.plain)
    for layer in wide.layers:
        weight = case.plain[f"{layer}.weight"]
        down = torch.randn(8, weight.shape[1], generator=generator)
        up = torch.randn(weight.shape[0], 8, generator=generator) * 8**-0.5 * weight.std() * 0.5
        tensors |= {f"diffusion_model.{layer}.lora_A.weight": down, f"diffusion_model.{layer}.lora_B.weight": up}
        sums[f"{layer}.weight"] = weight + 0.8 * up @ down
    save_file(tensors, tmp_path / "lora.safetensors")
    handle = run("ModelLoader", checkpoint=case.path, weight_dtype="auto")
    handle = run("LoraLoader", model=handle, lora="lora.safetensors", strength_stage_one=0.0, strength_stage_two=0.8)
    component = handle.stage(1)
    velocities = draw_velocities(seed, HEADS)
    before = velocities(transformer(component))
    adapted = way(component, [(LoRA.open(tmp_path / "lora.safetensors"), Strengths(0.8))])
    ours, exact = velocities(transformer(adapted)), velocities(wide.exact(sums))
    if way is lora.with_factors:
        for one, other in zip(ours, exact, strict=True):
            measured(f"LoRA over {form}", "W + s B A of the expanded weights", one, other, 1e-5)
    else:
        for layer in case.packed:
            name = f"{layer}.weight"
            found = adapted.module.transformer.get_submodule(layer).weight.dequantize()
            delta, got = sums[name] - case.plain[name], found - case.plain[name]
            if delta.numel() > 50_000:
                assert (got * delta).sum() / delta.square().sum() == pytest.approx(1, abs=0.05), name
            assert (found - sums[name]).norm() < (0.2 if form == "nvfp4" else 0.05) * sums[name].norm(), name
        adapted.patcher.detach()
    for one, other in zip(velocities(transformer(component)), before, strict=True):
        measured(f"{form} after a LoRA", "without it", one, other, 1e-6)


GEMMA_FILE = "gemma-3-small.safetensors"


def gemma_form(name: str) -> Form | None:
    """As in gemma_3_12B_it_fp4_mixed: most in nvfp4, some in fp8, the rest in bfloat16."""
    if name.endswith(("q_proj.weight", "o_proj.weight")):
        return FP8
    return FORMS["nvfp4"] if "_proj.weight" in name and ".0.self_attn.v" not in name else None


@pytest.fixture
def gemma(rewritten) -> tuple[str, Tensors, Tensors]:
    """The name of an fp4-mixed file; its tensors, and plain ones with the same numbers."""
    stored, plain = {}, {}

    def change(tensors: Tensors, metadata) -> None:
        for name, weight in list(tensors.items()):
            form, layer = gemma_form(name), name.removesuffix(".weight")
            plain[name] = weight
            if form is None:
                continue
            del tensors[name]
            own, plain[name] = form.store(layer, weight)
            tensors |= own | {f"{layer}.comfy_quant": json_tensor({"format": form.format})}
        stored.update(tensors)

    return rewritten("text_encoders", GEMMA_FILE, change), stored, plain


@needs_layers
def test_text_encoder_fp4_mixed(gemma, rewritten, run, names, measured):
    """Equals the plain file, and ComfyUI's own Gemma on its own mixed-precision layers."""
    import comfy.text_encoders.llama as llama

    name, stored, plain = gemma
    load = partial(run, "TextEncoderLoader", projection=names.checkpoint, device="default")
    encode = partial(run, "TextEncode", prompt="a lake in the morning", negative_prompt="noise")
    handle = load(text_encoder=name)
    features = encode(text_encoder=handle)
    module = handle.component().load()
    quantised = sum(gemma_form(key) is not None for key in plain)
    assert len(packed.packed_layers(module)) == quantised

    ids = torch.randint(5, 1000, (1, 40))
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads")  # fmt: skip
    config = llama.Gemma3_12B_Config(**{key: GEMMA_CONFIG["text_config"][key] for key in sizes})
    config.head_dim = GEMMA_CONFIG["text_config"]["head_dim"]
    ops = comfy.ops.mixed_precision_ops({}, torch.float32, full_precision_mm=True)
    theirs = llama.Llama2_(config, dtype=torch.float32, device="cpu", ops=ops)
    state = {key.removeprefix("model."): tensor for key, tensor in stored.items() if key.startswith("model.")}
    # ComfyUI divides by the root of the head's width, which only in 12B is that of query_pre_attn_scalar.
    state |= {k: (1 + w.float()) / 4 - 1 for k, w in state.items() if k.endswith("q_norm.weight")}
    assert not theirs.load_state_dict(state, strict=False)[0]
    reference = theirs(ids, intermediate_output="all", final_layer_norm_intermediate=False, dtype=torch.float32)[1]
    measured("fp4-mixed Gemma's states", "ComfyUI's own", torch.stack(module.gemma(ids), 1), reference, 1e-5)

    def expand(tensors: Tensors, metadata) -> None:
        tensors.clear()
        tensors.update(plain)

    expanded = encode(text_encoder=load(text_encoder=rewritten("text_encoders", GEMMA_FILE, expand)))
    for sign, one, other in zip(("positive", "negative"), features, expanded, strict=True):
        measured(f"fp4-mixed Gemma's text, {sign}", "its weights expanded", one[0][0], other[0][0], 1e-5)


def nvfp4_layer(rows: int = 320, columns: int = 1280) -> Tensors:
    """Of the right sizes, made without ComfyUI."""
    return {
        f"{LAYER}.weight": torch.zeros(rows, columns // 2, dtype=torch.uint8),
        f"{LAYER}.weight_scale": torch.ones(-(-rows // 128) * 128, columns // 16).to(torch.float8_e4m3fn),
        f"{LAYER}.weight_scale_2": torch.tensor(1.0),
        f"{LAYER}.comfy_quant": json_tensor({"format": "nvfp4"}),
    }


BROKEN = {
    "block scales of another shape": {f"{LAYER}.weight_scale": torch.ones(320, 80).to(torch.float8_e4m3fn)},
    "block scales of another type": {f"{LAYER}.weight_scale": torch.ones(384, 80)},
    "no scale of the layer": {f"{LAYER}.weight_scale_2": None},
    "no mark": {f"{LAYER}.comfy_quant": None},
    "svdquant": {f"{LAYER}.comfy_quant": json_tensor({"format": "svdquant_w4a4"})},
    "svdquant, its own names": {f"{LAYER}.weight": None, f"{LAYER}.qweight": torch.zeros(320, 640, dtype=torch.uint8)},
    "compressed-tensors": {
        f"{LAYER}.weight": None,
        f"{LAYER}.weight_packed": torch.zeros(320, 640, dtype=torch.uint8),
        f"{LAYER}.weight_global_scale": torch.ones(1),
        f"{LAYER}.comfy_quant": None,
    },
    "an input scale": {f"{LAYER}.pre_quant_scale": torch.ones(1280)},
}


@pytest.fixture
def nvfp4_file(wide, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "path", lambda name, _folders: str(tmp_path / name))

    def write(change: dict[str, Tensor | None]) -> str:
        stored = {name: tensor.bfloat16() for name, tensor in wide.weights.items()} | nvfp4_layer() | change
        wide.write(tmp_path / "packed.safetensors", {k: t for k, t in stored.items() if t is not None})
        return "packed.safetensors"

    return write


@pytest.mark.parametrize("fault", BROKEN)
def test_forms_that_cannot_be_read_are_refused_when_queued(fault, nvfp4_file, nodes, tmp_path):
    message = nodes["LTXDuoModelLoader"].validate_inputs(checkpoint=nvfp4_file(BROKEN[fault]))
    assert isinstance(message, str) and f"stores {LAYER} as " in message and "Use the bf16 or the fp8" in message
    assert not any(word in message for word in ("damaged", "download", "another model"))
    assert any("does not support" in problem for problem in inspect_file(tmp_path / "packed.safetensors")[0].problems)
    with pytest.raises(CheckpointError, match="does not support"):
        load_component(Checkpoint.open(tmp_path / "packed.safetensors"), Component.TRANSFORMER)


def test_this_comfyui_runs_nvfp4_or_says_which_does(nvfp4_file, nodes):
    name = nvfp4_file({})
    assert quantization(files.open_checkpoint(name, ()))[LAYER].packed
    message = nodes["LTXDuoModelLoader"].validate_inputs(checkpoint=name)
    if "nvfp4" in compat.quantised_formats():
        assert message is True
    else:
        assert "needs ComfyUI 0.30 or newer" in message and "nvfp4" in message
