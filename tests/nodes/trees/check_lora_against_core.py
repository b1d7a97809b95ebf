"""LoRA files through ComfyUI's own loader on ComfyUI's own LTX-2 model: the same weights as through ours."""

import comfy.latent_formats
import comfy.lora
import comfy.sd
import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.nodes.comfyui import files, lora, stage_loras
from ltx_duo.tests.nodes.trees.lora_adapters import adapters
from ltx_duo.tests.nodes.trees.lora_forms import AB, DOWN_UP, Drawn, dotted, flat
from ltx_duo.tests.nodes.trees.lora_weights import in_use, write_float32
from nodes import LoraLoaderModelOnly

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

STRENGTH = 0.8
LAYER = "transformer_blocks.0.attn1.to_q"
WAYS = {"as with dynamic VRAM": lora.with_patches, "as without it": lora.with_factors}
KINDS = ("LoHa", "LoKr of a product", "LoKr of two matrices", "DoRA over outputs", "DoRA over inputs", "pair with bias")


def tensors_of(kind: str, shapes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(torch.seed() % 2**31)
    if kind in KINDS:
        return {f"diffusion_model.{LAYER}.{part}": tensor for part, tensor in adapters(generator)[kind].items()}
    drawn = Drawn.draw(shapes, generator)
    if kind == "kohya":
        return drawn.pairs(flat("lora_unet_"), *DOWN_UP, scaled=False) | drawn.alphas(flat("lora_unet_"))
    return drawn.pairs(dotted("diffusion_model."), *AB)


@pytest.fixture(scope="module")
def base(models, tmp_path_factory):
    return write_float32(models, tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def theirs(base):
    """ComfyUI's model of the same file, in float32."""
    return comfy.sd.load_diffusion_model(str(base[0]), model_options={"dtype": torch.float32})


@pytest.fixture(scope="module")
def ours(base, run):
    """Our model of it; files are found by their whole path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "path", lambda name, _folders: name)
        yield run("ModelLoader", checkpoint=str(base[0]), weight_dtype="auto")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [*KINDS, "kohya", "official"])
def test_weights_are_those_of_comfyuis_loader(kind, way, base, theirs, ours, run, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_loras, "with_loras", WAYS[way])
    monkeypatch.setattr("folder_paths.get_full_path_or_raise", lambda _, name: name)
    shapes = {
        key.removesuffix(".weight"): tuple(weight.shape)
        for key, weight in base[1].items()
        if key.endswith(".weight") and weight.ndim == 2
    }
    path = str(tmp_path / "lora.safetensors")
    save_file(tensors_of(kind, shapes), path)
    [patched] = LoraLoaderModelOnly().load_lora_model_only(theirs, path, STRENGTH)
    assert patched.patches
    model = run("LoraLoader", model=ours, lora=path, strength_stage_one=0.0, strength_stage_two=STRENGTH)
    found = in_use(model)
    for key, patches in patched.patches.items():
        name = key.removeprefix("diffusion_model.")
        exact = comfy.lora.calculate_weight(patches, base[1][name].clone(), key)
        assert (found[name] - exact.double()).abs().max() < 2e-6 * exact.abs().max(), name
        assert not torch.equal(exact, base[1][name])
    untouched = found.keys() - {key.removeprefix("diffusion_model.") for key in patched.patches}
    assert untouched and all(torch.equal(found[name], base[1][name].double()) for name in untouched)
