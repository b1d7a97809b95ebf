"""LoRAs of a short stage stand beside weights that both stages share, where weights could be patched instead."""

import pytest

from ltx_duo.nodes.comfyui import latents, memory, stage_loras
from ltx_duo.nodes.comfyui.lora_factors import Steps


@pytest.fixture(autouse=True)
def dynamic(monkeypatch):
    """As with dynamic VRAM, which no CPU has: there LoRAs are patches."""
    monkeypatch.setattr(memory.PatchedModule, "is_dynamic", lambda self: True)


def functions_of(component) -> int:
    return sum(isinstance(function, Steps) for function in component.functions.values())


def test_a_short_stage_leaves_the_weights_as_the_other_has_them(
    with_lora, model, upsampled, stage_one, stage_two, same, monkeypatch
):
    distilled = with_lora(0.0, 1.0)
    one, two = distilled.stage(1, 30), distilled.stage(2, 3)
    assert two.patcher is one.patcher and two.beside and functions_of(two) > 50
    assert not one.functions and two is distilled.stage(2, 8)
    assert all(len(function.fixed_tensors()) == 2 for function in two.functions.values())  # what a recording reads
    ran = stage_two(distilled, upsampled)
    assert same(stage_one(distilled), stage_one(model))  # and afterwards nothing is left of it
    with monkeypatch.context() as inside:
        inside.setattr(stage_loras, "better_beside", lambda *_: False)
        assert distilled.stage(2, 3).patcher.patches and not distilled.stage(2, 3).functions
        patched = stage_two(distilled, upsampled)
    ran, plain, patched = (latents.take(own)[0] for own in (ran, stage_two(model, upsampled), patched))
    # Laid over, the sum is rounded to the file's bfloat16; added at each use, to float32, in which a CPU computes.
    assert 0 < (ran - patched).abs().max() < 0.02 * (plain - patched).abs().max() + 1e-2


def test_what_both_stages_have_stays_laid_over(run, with_lora, names):
    both = run("LoraLoader", model=with_lora(0.6, 0.6), lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
    one, two = both.stage(1, 30), both.stage(2, 3)
    assert one.patcher.patches and two.patcher is one.patcher and functions_of(two) > 50
    assert all(len(function.steps) == 1 for function in two.functions.values())  # stage two's own alone
    differing = with_lora(0.5, 1.0)
    assert differing.stage(1, 30).patcher.patches and not differing.stage(2, 3).patcher.patches


@pytest.mark.parametrize("why", ["many steps", "unknown steps", "little memory", "float8"])
def test_patches_where_they_are_better(run, with_lora, monkeypatch, names, why):
    model, steps = with_lora(0.0, 1.0), {"many steps": 9, "unknown steps": None}.get(why, 3)
    if why == "little memory":
        size = model.stage(1).size() + model.loras[0].lora.size
        monkeypatch.setattr(stage_loras, "available_memory", lambda component: size / stage_loras.SHARE - 1)
    elif why == "float8":
        fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="fp8")
        model = run("LoraLoader", model=fresh, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
    two = model.stage(2, steps)
    assert two.patcher.patches and not two.functions and two.patcher is not model.stage(1, 30).patcher


def test_exact_size_fits(with_lora, monkeypatch):
    model = with_lora(0.0, 1.0)
    size = model.stage(1).size() + model.loras[0].lora.size
    monkeypatch.setattr(stage_loras, "available_memory", lambda component: size / stage_loras.SHARE + 1)
    assert functions_of(model.stage(2, 3)) > 50
