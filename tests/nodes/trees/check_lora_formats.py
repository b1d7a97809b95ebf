"""One LoRA in every form that trainers write, over transformer and connectors; adapters as ComfyUI computes them."""

from collections.abc import Mapping
from pathlib import Path

import comfy.lora
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ltx_duo.nodes.comfyui import files, latents, lora, stage_loras
from ltx_duo.tests.nodes.trees.lora_adapters import adapters
from ltx_duo.tests.nodes.trees.lora_forms import AUDIO, FORMS, VIDEO, Drawn
from ltx_duo.tests.nodes.trees.lora_weights import PREFIX, error_of, in_use, write_float32

WAYS = {"as with dynamic VRAM": lora.with_patches, "as without it": lora.with_factors}
STRENGTH = 0.8
# Products and sums in another order.
BAR = 2e-6


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """On a CPU there is no dynamic VRAM: both ways on the ModelPatcher without it."""
    monkeypatch.setattr(stage_loras, "with_loras", WAYS[request.param])
    return request.param


@pytest.fixture(scope="module")
def base(models, tmp_path_factory) -> tuple[Path, dict[str, Tensor]]:
    """A float32 checkpoint with transformer and connectors, and its weights by official name."""
    return write_float32(models, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def drawn(base) -> Drawn:
    matrices = {k: w for k, w in base[1].items() if k.endswith(".weight") and w.ndim == 2}
    shapes = {key.removesuffix(".weight"): tuple(weight.shape) for key, weight in matrices.items()}
    return Drawn.draw(shapes, torch.Generator().manual_seed(torch.seed() % 2**31))


@pytest.fixture(scope="module")
def plain(run, base, monkeypatch_module):
    """The model of that checkpoint; files are found by their whole path."""
    found = files.path
    monkeypatch_module.setattr(files, "path", lambda name, at: name if Path(name).is_absolute() else found(name, at))
    return run("ModelLoader", checkpoint=str(base[0]), weight_dtype="auto")


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def loaded(run, plain, tmp_path):
    """`loaded(tensors, metadata)`: the model with such a LoRA in stage two."""

    def load(tensors: Mapping[str, Tensor], metadata=None, name: str = "lora", model=None, **strengths):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
        strengths = {"strength_stage_one": 0.0, "strength_stage_two": STRENGTH, **strengths}
        return run("LoraLoader", model=model or plain, lora=str(path), **strengths)

    return load


@pytest.mark.parametrize("form", FORMS)
def test_every_form_changes_the_weights_alike(form, way, base, drawn, loaded):
    exact = {name: weight.double() for name, weight in base[1].items()}
    for name in drawn.factors:
        exact[f"{name}.weight"] = exact[f"{name}.weight"] + STRENGTH * drawn.delta(name)
    model = loaded(*FORMS[form](drawn))
    assert error_of(in_use(model), exact) < BAR
    plain = {name: weight.double() for name, weight in base[1].items()}
    assert error_of(in_use(model, 1), plain) == 0 < 100 * BAR < error_of(plain, exact)


def test_forms_give_the_latents_of_the_plain_one(way, drawn, loaded, stage_one, plain):
    """Through sampler and connectors; text and picture in float32."""
    size = {"steps": 1, "frames": 1, "width": 64, "conditions": None}
    one = {"strength_stage_one": STRENGTH}

    def sampled(model) -> torch.Tensor:
        return torch.cat([latent.flatten() for latent in latents.take(stage_one(model, **size))])

    exact, without = sampled(loaded(*FORMS["official"](drawn), **one)), sampled(plain)
    assert (exact - without).norm() > 0.05 * without.norm()
    for form in ("musubi", "diffusers with PEFT's metadata", "differences"):
        found = sampled(loaded(*FORMS[form](drawn), **one))
        assert (found - exact).norm() < 1e-4 * (exact - without).norm(), form


def test_connectors_alone(way, base, drawn, loaded, stage_one, plain):
    """A LoRA that changes them only changes the film."""
    own = {name: pair for name, pair in drawn.factors.items() if name.startswith((VIDEO, AUDIO))}
    assert len(own) == 14
    model = loaded(*FORMS["kohya"](Drawn(own, drawn.alpha)), strength_stage_one=1.0)
    size = {"steps": 1, "frames": 1, "width": 64, "conditions": None}
    with_it, without = latents.take(stage_one(model, **size)), latents.take(stage_one(plain, **size))
    changes = [(a - b).abs().max() for a, b in zip(with_it, without, strict=True)]
    assert min(changes) > 1e-5, changes
    changed = {name for name, weight in in_use(model).items() if not torch.equal(weight, base[1][name].double())}
    assert changed == {f"{name}.weight" for name in own}


LAYER = "transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize("kind", adapters(torch.Generator()))
def test_adapters_as_comfyui_computes_them(kind, way, base, loaded):
    parts = adapters(torch.Generator().manual_seed(torch.seed() % 2**31))[kind]
    named = {f"diffusion_model.{LAYER}.{part}": tensor for part, tensor in parts.items()}
    exact = {name: weight.clone() for name, weight in base[1].items()}
    patches = comfy.lora.load_lora(dict(named), {f"diffusion_model.{LAYER}": f"{LAYER}.weight"})
    assert patches
    for key, patch in patches.items():
        exact[key] = comfy.lora.calculate_weight([(STRENGTH, patch, 1.0, None, None)], exact[key], key)
        assert not torch.equal(exact[key], base[1][key])
    found = in_use(loaded(named))
    assert error_of(found, {name: weight.double() for name, weight in exact.items()}) < BAR


def test_pefts_magnitudes_are_one_for_each_output(way, loaded):
    """The same numbers as LyCORIS has, in one dimension."""
    parts = adapters(torch.Generator().manual_seed(5))["DoRA over outputs"]
    theirs = {f"base_model.model.{LAYER}.{part}": tensor for part, tensor in parts.items() if part != "dora_scale"}
    theirs[f"base_model.model.{LAYER}.lora_magnitude_vector"] = parts["dora_scale"].flatten()
    ours = {f"diffusion_model.{LAYER}.{part}": tensor for part, tensor in parts.items()}
    assert torch.equal(in_use(loaded(theirs))[f"{LAYER}.weight"], in_use(loaded(ours))[f"{LAYER}.weight"])


@pytest.mark.parametrize("kind", ["LoHa", "LoKr of two matrices", "DoRA over outputs", "difference with bias"])
def test_adapters_over_float8_are_of_the_weight_times_its_scale(kind, way, base, run, loaded, tmp_path):
    scale, weights = 0.37, {PREFIX + name: weight for name, weight in base[1].items()}
    stored = (weights[f"{PREFIX}{LAYER}.weight"] / scale).to(torch.float8_e4m3fn)
    weights |= {f"{PREFIX}{LAYER}.weight": stored, f"{PREFIX}{LAYER}.weight_scale": torch.tensor(scale)}
    with safe_open(base[0], "pt") as file:
        save_file(weights, tmp_path / "fp8-dev.safetensors", file.metadata())
    model = run("ModelLoader", checkpoint=str(tmp_path / "fp8-dev.safetensors"), weight_dtype="auto")
    parts = adapters(torch.Generator().manual_seed(torch.seed() % 2**31))[kind]
    named = {f"diffusion_model.{LAYER}.{part}": tensor for part, tensor in parts.items()}
    real = {f"{LAYER}.weight": stored.float() * scale, f"{LAYER}.bias": base[1][f"{LAYER}.bias"].clone()}
    before = real[f"{LAYER}.weight"].clone()
    for key, patch in comfy.lora.load_lora(dict(named), {f"diffusion_model.{LAYER}": f"{LAYER}.weight"}).items():
        real[key] = comfy.lora.calculate_weight([(STRENGTH, patch, 1.0, None, None)], real[key], key)
    found = in_use(loaded(named, model=model))
    effect = (real[f"{LAYER}.weight"] - before).norm()
    # Laid over, the sum is rounded to float8 again.
    bar = 0.3 * effect if way == "as with dynamic VRAM" else 1e-5 * effect
    assert (found[f"{LAYER}.weight"] - real[f"{LAYER}.weight"].double()).norm() < bar
    assert (found[f"{LAYER}.bias"] - real[f"{LAYER}.bias"].double()).abs().max() < 1e-6


def test_norms_are_changed_where_no_function_reaches(way, base, loaded, drawn, streaming):
    """By ComfyUI's patches in both ways; what ComfyUI patches nowhere is said."""
    norm, table = "transformer_blocks.1.attn1.q_norm", "transformer_blocks.0.scale_shift_table"
    exact = {name: weight.double() for name, weight in base[1].items()}
    tensors = FORMS["official"](Drawn({LAYER: drawn.factors[LAYER]}, drawn.alpha))[0]
    exact[f"{LAYER}.weight"] = exact[f"{LAYER}.weight"] + STRENGTH * drawn.delta(LAYER)
    for name, key in ((norm, f"{norm}.weight"), (table, table)):
        tensors[f"diffusion_model.{name}.diff"] = torch.randn(exact[key].shape)
    exact[f"{norm}.weight"] += STRENGTH * tensors[f"diffusion_model.{norm}.diff"].double()
    model = loaded(tensors)
    assert error_of(in_use(model), exact) < BAR
    assert [unused.keys for unused in model.loras[0].lora.unused] == [(f"diffusion_model.{table}.diff",)]
    streaming()  # where ComfyUI has no room for layers that are not its own, it lays nothing over them either
    for _ in range(2):
        norms = model.stage(2).load().transformer.transformer_blocks[1].attn1.q_norm
        assert (norms.weight.double() - exact[f"{norm}.weight"]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("widget", "untouched"),
    [
        ("video_strength", lambda name: writes_picture(name)),
        ("audio_strength", lambda name: not writes_picture(name)),
        ("cross_strength", lambda name: between(name)),
    ],
)
def test_a_part_at_zero_is_exactly_the_model_there(widget, untouched, way, base, drawn, loaded):
    found = in_use(loaded(*FORMS["official"](drawn), **{widget: 0.0}))
    same = {name for name in drawn.factors if torch.equal(found[f"{name}.weight"], base[1][f"{name}.weight"].double())}
    assert same == {name for name in drawn.factors if untouched(name)}
    assert 10 < len(same) < len(drawn.factors) - 10


def between(name: str) -> bool:
    return any(part in name for part in ("audio_to_video_attn", "video_to_audio_attn", "av_ca_"))


def writes_picture(name: str) -> bool:
    """By the list on the help page."""
    to_sound = ("video_to_audio_attn", "av_ca_audio", "av_ca_v2a")
    if between(name):
        return not any(part in name for part in to_sound)
    of_sound = ("audio_attn1", "audio_attn2", "audio_ff", "audio_embeddings")
    return not (any(part in name for part in of_sound) or name.startswith("audio_"))


def test_factors_multiply(way, base, drawn, loaded):
    factors = {"video_strength": 0.5, "audio_strength": -1.5, "cross_strength": 2.0}
    exact = {name: weight.double() for name, weight in base[1].items()}
    for name in drawn.factors:
        factor = (0.5 if writes_picture(name) else -1.5) * (2.0 if between(name) else 1.0)
        exact[f"{name}.weight"] = exact[f"{name}.weight"] + STRENGTH * factor * drawn.delta(name)
    assert error_of(in_use(loaded(*FORMS["official"](drawn), **factors)), exact) < BAR


def test_old_workflows_act_on_everything(run, plain, drawn, loaded):
    use = loaded(*FORMS["official"](drawn)).loras[0]
    assert {use.streams.of(name) for name in drawn.factors} == {1.0}
