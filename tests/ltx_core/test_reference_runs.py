"""Whole runs with a reference film or a voice on a small model: which stage reads what, at which size."""

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import GeometryError, LTXError, VariantError
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, Result, StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import FirstFrame, GivenImage, GivenReference, GivenVoice, Reference, Voice
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF
from ltx_duo.tests.ltx_core.test_given_film_runs import components, new, pictures, sound, stages  # noqa: F401

FINAL = LatentGeometry(256, 128, 9, 25.0)
FEW = {"stage_one_sigmas": torch.tensor([1.0, 0.5, 0.0]), "stage_two_sigmas": torch.tensor([0.9, 0.0])}


@pytest.fixture
def ic_lora(components, tmp_path):  # noqa: F811
    """A LoRA with these metadata, in which stages it acts."""

    def make(one: float = 1.0, two: float = 0.0, name: str = "ic", **metadata: str) -> StagedLoRA:
        path = tmp_path / f"{name}.safetensors"
        layer = "transformer_blocks.0.attn1.to_q"
        out, width = components.transformer.get_submodule(layer).weight.shape
        factors = {"lora_A": torch.randn(4, width) * 0.1, "lora_B": torch.randn(out, 4) * 0.1}
        save_file({f"diffusion_model.{layer}.{key}.weight": x for key, x in factors.items()}, path, metadata or None)
        return StagedLoRA(LoRA.open(path), one, two)

    return make


def run(components, loras=(), **settings) -> Result:  # noqa: F811
    request = Request("a lake", FINAL, **({"guidance": OFF, **FEW} | settings))
    return two_stage.generate(components, request, loras=loras)


def test_stage_one_alone_reads_it_at_the_loras_size(components, stages, ic_lora):  # noqa: F811
    given = GivenReference(pictures(9, 40, 90), 0.8)
    shown = GivenImage(pictures(1)[0])
    run(components, [ic_lora(reference_downscale_factor="2")], references=[given], images=[shown])
    image, reference = stages[0].video.conditions
    assert isinstance(image, FirstFrame) and isinstance(reference, Reference)
    assert reference.latent.shape == (1, 128, 2, 1, 2) and reference.downscale_factor == 2 and reference.strength == 0.8
    assert [type(c) for c in stages[1].video.conditions] == [FirstFrame]


def test_stage_two_reads_it_at_its_own_size_where_it_is_asked(components, stages, ic_lora):  # noqa: F811
    given = [GivenReference(pictures(9), stage_two=True), GivenReference(pictures(9))]
    result = run(components, [ic_lora(two=1.0, reference_downscale_factor="2")], references=given)
    assert [c.latent.shape[3:] for c in stages[0].video.conditions] == [(1, 2), (1, 2)]
    assert [c.latent.shape[3:] for c in stages[1].video.conditions] == [(2, 4)]
    assert result.stage_two.video.shape == (1, *FINAL.video_shape)


@pytest.mark.parametrize("strengths", [{}, {"attention_strength": 0.2}, {"strength": 0.3}])
def test_what_is_seen_of_it_changes_the_film(components, strengths):  # noqa: F811
    frames, other = pictures(9), pictures(9)
    first, second, plain = (
        run(components, references=[GivenReference(f, **s)]).stage_one.video
        for f, s in ((frames, strengths), (other, strengths), (frames, {"attention_strength": 0.0}))
    )
    assert new(first, second) and new(first, plain)


def test_both_stages_hear_the_voice(components, stages):  # noqa: F811
    result = run(components, voice=GivenVoice(sound(25), 2.0))
    assert [[type(c) for c in stage.audio.conditions] for stage in stages] == [[Voice], [Voice]]
    assert [stage.guidance.identity for stage in stages] == [2.0, 0.0]
    assert result.stage_one.audio.shape == result.stage_two.audio.shape == (1, *FINAL.audio_shape)
    assert new(result.stage_one.audio, run(components, voice=GivenVoice(sound(25), 2.0)).stage_one.audio)


def test_a_reference_to_a_sound_that_is_kept(components):  # noqa: F811
    """How the source's sound is kept."""
    own = sound(9)
    result = run(components, references=[GivenReference(pictures(9))], sound=own)
    assert torch.equal(result.waveform[0], own.waveform)


def test_what_does_not_go_together_is_refused_before_anything_runs(components, stages, ic_lora):  # noqa: F811
    given = [GivenReference(pictures(9))]
    half, third = (ic_lora(name=n, reference_downscale_factor=n) for n in "23")
    with pytest.raises(VariantError, match="references of different size"):
        run(components, [half, third], references=given)
    run(components, [half, StagedLoRA(third.lora, 0.0, 0.0)], references=given)  # one that is off does not count
    stages.clear()
    with pytest.raises(GeometryError, match="1/3 of the size"):
        run(components, [third], references=given)
    with pytest.raises(LTXError, match="says reference_downscale_factor 'two'"):
        run(components, [ic_lora(reference_downscale_factor="two")], references=given)
    assert not stages
    run(components, [ic_lora(reference_downscale_factor="two")])  # without a reference nobody reads it
