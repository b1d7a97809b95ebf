"""The model's weights in both stages: streamed, with LoRAs of two strengths, laid over or added at each use."""

import pytest
import torch
from safetensors.torch import load_file

from ltx_duo.ltx_core.execution.graphs import _weights
from ltx_duo.nodes.comfyui import latents, lora, stage_loras

WAYS = {"as with dynamic VRAM": lora.with_patches, "as without it": lora.with_factors}


@pytest.fixture(autouse=True, params=WAYS)
def way(request, monkeypatch):
    """On a CPU there is no dynamic VRAM: both ways on the ModelPatcher without it."""
    monkeypatch.setattr(stage_loras, "with_loras", WAYS[request.param])


def weights_in_use(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the layers compute with."""
    found = dict(module.state_dict())
    for name, layer in module.named_modules():
        for function in getattr(layer, "weight_function", ()):
            found[f"{name}.weight"] = function(found[f"{name}.weight"])
    return found


def test_streamed_run_equals_whole_run(run, model, vae, stage_one, stage_two, upsampled, streaming, names, same):
    whole = stage_one(model), stage_two(model, upsampled)
    frames = run("AVDecode", latent=whole[1], vae=vae, tiling="off", **names.tiles)[1]
    streaming()
    fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    assert same(stage_one(fresh), whole[0])
    assert same(stage_two(fresh, upsampled), whole[1])
    streamed = run("AVDecode", latent=whole[1], vae=vae, tiling="off", **names.tiles)[1]
    assert torch.equal(streamed, frames)


def test_streamed_lora_equals_laid_over_lora(run, stage_two, upsampled, streaming, with_lora, names):
    whole = latents.take(stage_two(with_lora(0.0, 1.0), upsampled))
    streaming()
    fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    fresh = run("LoraLoader", model=fresh, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
    streamed = latents.take(stage_two(fresh, upsampled))
    plain = latents.take(stage_two(run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto"), upsampled))
    # Laid over, the sum is rounded to the file's bfloat16; streamed, it is not.
    difference = (streamed[0] - whole[0]).abs().max()
    assert difference < 0.02 * (plain[0] - whole[0]).abs().max() + 1e-2


def test_stage_one_never_sees_stage_twos_lora(model, stage_one, stage_two, upsampled, with_lora, same):
    plain_one, plain_two = stage_one(model), stage_two(model, upsampled)
    distilled = with_lora(0.0, 1.0)
    for _ in range(2):
        assert same(stage_one(distilled), plain_one)
        assert not same(stage_two(distilled, upsampled), plain_two)
    assert not same(stage_one(with_lora(0.7, 1.0)), plain_one)


def test_strength_zero_is_no_lora_also_after_a_run_with_it(model, stage_two, upsampled, with_lora, same):
    plain = stage_two(model, upsampled)
    assert same(stage_two(with_lora(1.0, 0.0), upsampled), plain)
    stage_two(with_lora(0.0, 1.0), upsampled)
    assert same(stage_two(with_lora(1.0, 0.0), upsampled), plain)
    assert same(stage_two(model, upsampled), plain)


def test_lora_changes_weights_by_its_product(models, with_lora, names):
    base = load_file(models / "checkpoints" / names.checkpoint)
    pairs = load_file(models / "loras" / names.lora)
    both = with_lora(0.0, 0.8)
    patched = weights_in_use(both.stage(2).load().transformer)
    changed = 0
    for key, down in pairs.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix("diffusion_model.").removesuffix(".lora_A.weight") + ".weight"
            weight = base[f"model.diffusion_model.{name}"]
            delta = 0.8 * (pairs[key.replace("lora_A", "lora_B")].float() @ down.float())
            expected = (weight.float() + delta).to(weight.dtype)
            ulp = weight.float().abs().max() * 2**-8
            assert (patched[name].float() - expected.float()).abs().max() <= ulp, name
            assert not torch.equal(patched[name], weight)
            changed += 1
    assert changed == len(pairs) // 2 > 50
    restored = weights_in_use(both.stage(1).load().transformer)
    assert all(torch.equal(restored[name], base[f"model.diffusion_model.{name}"]) for name in restored)


def test_stages_of_one_model_share_their_weights(with_lora):
    both = with_lora(0.0, 1.0)
    assert both.stage(1).patcher.model is both.stage(2).patcher.model
    assert both.stage(1) is not both.stage(2) and both.stage(2) is both.stage(2)
    same_strengths = with_lora(1.0, 1.0)
    assert same_strengths.stage(1) is same_strengths.stage(2)


def test_changed_loras_keep_nothing_of_the_old_ones(run, with_lora, names):
    first = with_lora(0.0, 1.0)
    first.stage(2)
    second = run("LoraLoader", model=first, lora=names.lora, strength_stage_one=0.0, strength_stage_two=0.5)
    assert first.patched.parts and not second.patched.parts
    assert second.stage(2).patcher.model is first.stage(2).patcher.model


def test_a_recording_ends_where_weights_are_patched(run, model, with_lora, streaming, names):
    def marks(handle, stage: int):
        return _weights(handle.stage(stage).load().transformer.transformer_blocks, torch.device("cpu"))

    plain, patched = marks(model, 1), marks(with_lora(0.0, 1.0), 2)
    assert plain is not None and patched != plain  # None where the LoRA is added at each use
    streaming()
    fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    fresh = run("LoraLoader", model=fresh, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
    assert marks(fresh, 2) is None
