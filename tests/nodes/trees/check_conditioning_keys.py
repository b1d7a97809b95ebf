"""What a CONDITIONING carries beside its text acts, is refused, or is told: nothing is dropped without a word."""

import comfy.hooks
import comfy_extras.nodes_edit_model
import comfy_extras.nodes_flux
import comfy_extras.nodes_lt as nodes_lt
import pytest
import torch

import nodes as core
from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.nodes.comfyui import conditioning
from ltx_duo.tests.nodes.trees.text_widths import transformer_for

MODEL = transformer_for(96, 64)
MASK, HALF = torch.ones(1, 4, 4), torch.full((1, 4, 4), 0.5)


def text(**extra) -> list:
    made = conditioning.make(torch.randn(1, 7, 96), torch.randn(1, 7, 64))
    return [[made[0][0], {**made[0][1], **extra}]]


def notes(given: list, fps: float = 24.0) -> list[str]:
    conditioning.take(given, MODEL)
    return list(conditioning.notes_on({"positive": given, "negative": None}, fps))


def hooked(strength: float) -> list:
    weights = comfy.hooks.create_hook_lora({}, strength, strength)
    return comfy.hooks.set_hooks_for_conditioning(text(), weights)


REFUSED = {
    "steps": ("start_percent", lambda: core.ConditioningSetTimestepRange().set_range(text(), 0.2, 1.0)[0]),
    "last steps": ("end_percent", lambda: core.ConditioningSetTimestepRange().set_range(text(), 0.0, 0.999)[0]),
    "area": ("area", lambda: core.ConditioningSetArea().append(text(), 64, 64, 0, 0, 1.0)[0]),
    "half": ("area", lambda: core.ConditioningSetAreaPercentage().append(text(), 0.5, 1.0, 0.0, 0.0, 1.0)[0]),
    "corner": ("area", lambda: core.ConditioningSetAreaPercentage().append(text(), 1.0, 1.0, 0.5, 0.0, 1.0)[0]),
    "mask": ("mask", lambda: core.ConditioningSetMask().append(text(), HALF, "default", 1.0)[0]),
    "hooks": ("hooks", lambda: hooked(1.0)),
    "clip schedule": ("clip_start_percent", lambda: text(clip_start_percent=0.5, clip_end_percent=1.0)),
    "control": ("control", lambda: text(control=object(), control_apply_to_uncond=True)),
    "gligen": ("gligen", lambda: text(gligen=("position", None, []))),
    "inpainting": ("concat_latent_image", lambda: text(concat_latent_image=torch.zeros(1), concat_mask=MASK)),
    "mask of the latent": ("concat_mask", lambda: text(concat_mask=HALF)),
    "hidden tokens": ("attention_mask", lambda: text(attention_mask=torch.tensor([[0, 1, 1]]))),
    "guide": ("keyframe_idxs", lambda: text(keyframe_idxs=torch.zeros(1))),
    "attention to guides": ("guide_attention_entries", lambda: text(guide_attention_entries=[{}])),
    "voice": ("ref_audio", lambda: text(ref_audio={"tokens": torch.zeros(1)})),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_make_another_film_is_refused(case):
    key, given = REFUSED[case]
    with pytest.raises(ConditioningError, match=f"'{key}' .* sets it.: it would .*Take that node out"):
        conditioning.take(given(), MODEL)


PASSING = {
    "plain": lambda: text(),
    "all steps": lambda: core.ConditioningSetTimestepRange().set_range(text(), 0.0, 1.0)[0],
    "whole picture": lambda: core.ConditioningSetAreaPercentage().append(text(), 1.0, 1.0, 0.0, 0.0, 1.0)[0],
    "whole film": lambda: text(area=("percentage", 1.0, 1, 1.0, 0, 0.0, 0), strength=1),
    "mask of ones": lambda: core.ConditioningSetMask().append(text(), MASK, "default", 1.0)[0],
    "no hooks": lambda: text(hooks=comfy.hooks.HookGroup()),
    "no schedule": lambda: text(clip_start_percent=0.0, clip_end_percent=1.0),
    "all tokens": lambda: text(attention_mask=torch.ones(1, 7)),
    "guides cropped": lambda: text(keyframe_idxs=None, guide_attention_entries=None, guidance=None),
    "zeroed": lambda: core.ConditioningZeroOut().zero_out(text())[0],
    "joined": lambda: core.ConditioningConcat().concat(text(), text())[0],
    "averaged": lambda: core.ConditioningAverage().addWeighted(text(), text(), 0.5)[0],
    "rate": lambda: nodes_lt.LTXVConditioning.execute(text(), text(), 24.0).args[0],
}


@pytest.mark.parametrize("case", PASSING)
def test_what_changes_nothing_passes_without_a_word(case):
    assert notes(PASSING[case]()) == []


TOLD = {
    "strength": lambda: core.ConditioningSetAreaStrength().append(text(), 0.5)[0],
    "reference_latents": lambda: comfy_extras.nodes_edit_model.ReferenceLatent.execute(
        text(), {"samples": torch.zeros(1)}
    ).args[0],
    "guidance": lambda: comfy_extras.nodes_flux.FluxGuidance.execute(text(), 3.5).args[0],
    "key_of_tomorrow": lambda: text(key_of_tomorrow=1),
}


@pytest.mark.parametrize("key", TOLD)
def test_what_has_no_effect_is_told(key):
    (note,) = notes(TOLD[key]())
    assert note.startswith("'positive'") and f"'{key}'" in note


def test_a_rate_that_contradicts_the_film_is_told():
    given = nodes_lt.LTXVConditioning.execute(text(), text(), 25.0).args[0]
    assert notes(given, 25.0) == []
    (note,) = notes(given, 24.0)
    assert "25 frames a second" in note and "made at 24" in note and "LTXVConditioning" in note


@pytest.mark.parametrize("rate", [0.0, -24.0, float("nan"), float("inf"), 1e-300, "x"])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ConditioningError, match="frame_rate of LTXVConditioning"):
        notes(text(frame_rate=rate))


@pytest.mark.parametrize(
    "given, count",
    [
        (lambda: core.ConditioningCombine().combine(text(), text())[0], "several prompts, 2"),
        (lambda: [[torch.cat([text()[0][0]] * 3), {}]], "several prompts, 3"),
        (lambda: [], "no prompt"),
    ],
)
def test_one_prompt_is_taken(given, count):
    with pytest.raises(ConditioningError, match=count):
        conditioning.take(given(), MODEL)


@pytest.mark.parametrize("features", [torch.zeros(1, 160), torch.zeros(1, 7, 160, dtype=torch.long)])
def test_text_of_another_kind(features):
    with pytest.raises(ConditioningError, match="text features"):
        conditioning.take([[features, {}]], MODEL)


def test_both_samplers_refuse_and_tell(nodes, model, vae, texts, upsampled, names):
    def given(**extra):
        return [[texts[0][0][0], {**texts[0][0][1], **extra}]]

    one = {**names.size, "model": model, "vae": vae, "seed": 1, "noise_device": "cpu"}
    two = {"model": model, "vae": vae, "latent": upsampled, **names.kept}
    first, second = nodes["LTXDuoStageOneSampler"], nodes["LTXDuoStageTwoSampler"]
    ranged = given(start_percent=0.5, end_percent=1.0)
    for node, inputs in (
        (first, {**one, "positive": ranged, "negative": texts[1]}),
        (first, {**one, "positive": texts[0], "negative": ranged}),
        (second, {**two, "positive": ranged}),
        (second, {**two, "positive": texts[0] + texts[0]}),
    ):
        with pytest.raises(ConditioningError, match="start_percent|several prompts"):
            node.execute(**inputs)
    timed = given(frame_rate=24.0, strength=0.5)
    lines = first.execute(**one, positive=texts[0], negative=timed).ui["text"]
    assert any("'negative' asks for 24" in line for line in lines) and any("'strength'" in line for line in lines)
    lines = second.execute(**two, positive=timed).ui["text"]
    assert any("'positive' asks for 24" in line and "made at 25" in line for line in lines)
