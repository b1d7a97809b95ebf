"""A sound, a film and a reference that are given to LTX-2.5 through the nodes: the same film as from the engine."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, Result, StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import GivenFilm, GivenReference, GivenSound
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.nodes.comfyui import latents
from ltx_duo.scripts.small_model_parts.write_split import split_files
from ltx_duo.tests.nodes.trees.check_film_given import FPS, RATE, parts, video

FILES = split_files("ltx-2.5-small")
ENGINE = "the engine by itself"
STEPS = 2


@pytest.fixture(params=Kind)
def kind(request) -> Kind:
    return request.param


@pytest.fixture
def by_nodes(kind, run, names):
    """Both stages and the decoded film by the nodes: (stage one, stage two, frames, sound)."""
    text, model, picture, sound = (
        path.name for path in (FILES.text_encoder, FILES.transformer, FILES.video_vae, FILES.audio_vae)
    )
    encoder = run("TextEncoderLoader", text_encoder=text, projection=text, device="default")
    texts = run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")
    vae = run("VAELoader", checkpoint=picture, audio_file=sound)
    upsampler = run("UpsamplerLoader", upsampler=FILES.upsampler.name)

    def make(conditions, size: LatentGeometry, loras: dict[str, tuple[float, float]]):
        own = run("ModelLoader", checkpoint=model, weight_dtype="auto", kind=str(kind))
        for lora, (one, two) in loras.items():
            own = run("LoraLoader", model=own, lora=lora, strength_stage_one=one, strength_stage_two=two)
        inputs = {"model": own, "vae": vae, "conditions": conditions, "positive": texts[0]}
        sides = {"width": size.width, "height": size.height, "frames": size.frames, "fps": size.fps}
        one = run(
            "StageOneSampler",
            seed=10,
            negative=texts[1],
            **{**names.size, **inputs, **sides, "noise_device": "cpu", "steps": STEPS if kind is Kind.DEV else 8},
        )
        larger = run("LatentUpsampler", latent=one, upsampler=upsampler, vae=vae)
        two = run("StageTwoSampler", latent=larger, **{**names.kept, **inputs, "noise_device": "cpu"})
        _, frames, heard = run("AVDecode", latent=two, vae=vae, tiling="off", **names.tiles)
        return one, two, frames, heard

    return make


@pytest.fixture
def by_engine(kind, models):
    """The same from the same files."""
    files = FILES.below(models)
    components = load_components(
        files.transformer, files.text_encoder, files.upsampler, (files.video_vae, files.audio_vae),
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    components = replace(components, variant=variant_of(kind, components.variant.generation))

    def make(size: LatentGeometry, loras=(), **given) -> Result:
        request = Request(
            "a lake", size, negative_prompt="noise", stage_one_sound=True, steps=STEPS if kind is Kind.DEV else None,
            **given,
        )  # fmt: skip
        return two_stage.generate(components, request, loras=loras)

    return make


@pytest.fixture
def compared(measured):
    def compare(what: str, made, result: Result) -> None:
        one, two, frames, heard = made
        for stage, ours, theirs in (("one", one, result.stage_one), ("two", two, result.stage_two)):
            measured(f"LTX-2.5, {what}, stage {stage}", ENGINE, latents.take(ours)[0], theirs.video, 1e-5)
        measured(f"LTX-2.5, {what}, frames", ENGINE, frames, result.frames, 1e-5)
        measured(f"LTX-2.5, {what}, sound", ENGINE, heard["waveform"], result.waveform, 1e-5)

    return compare


def test_a_sound(run, by_nodes, by_engine, compared):
    waveform = torch.randn(1, 2, RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    chain = run("SoundCondition", audio={"waveform": waveform, "sample_rate": RATE}, start=0.25, fps=FPS)[0]
    size = LatentGeometry(128, 64, 9, FPS)
    made = by_nodes(chain, size, {})
    compared("sound given", made, by_engine(size, sound=GivenSound(waveform[0], RATE, 0.25)))


@pytest.mark.parametrize(("what", "kind"), [("retake", Kind.DEV), ("extended", Kind.DISTILLED)], indirect=["kind"])
def test_a_film(what, run, by_nodes, by_engine, compared):
    source = video()
    pictures, wave = parts(source)
    own = (pictures, FPS, GivenSound(wave[0], RATE))
    if what == "retake":
        chain, *_ = run("Retake", video=source, start=0.4, end=0.6, remake="picture and sound")
        film = GivenFilm(*own, ((0.4, 0.6),))
    else:
        chain, *_ = run("Extend", video=source, before=0.3, after=0.5, overlap=0.2, context=0.0)
        film = GivenFilm.added(*own, before=0.3, after=0.5, overlap=0.2)
    size = LatentGeometry(128, 64, film.total, FPS)
    made = by_nodes(chain, size, {})
    shift = film.total - 25 - 16 if what == "extended" else 0
    assert torch.equal(made[2][shift + 5 : shift + 10], pictures[5:10])
    compared(what, made, by_engine(size, film=film))


@pytest.mark.parametrize("kind", [Kind.DISTILLED], indirect=True)
def test_a_reference(run, by_nodes, by_engine, compared, models, folder):
    name = "ltx-2.5-small-ic-lora.safetensors"
    file = folder("loras") / name
    save_file(load_file(FILES.below(models).lora), file, {"reference_downscale_factor": "2"})
    source = video(9)
    chain = run("ReferenceVideo", video=source, strength=0.9, attention_strength=1.0, stage_two="none")
    chain = chain[0] if isinstance(chain, tuple | list) else chain
    size = LatentGeometry(256, 128, 9, FPS)
    made = by_nodes(chain, size, {name: (1.0, 0.0)})
    given = [GivenReference(parts(source)[0], 0.9)]
    compared("a reference", made, by_engine(size, [StagedLoRA(LoRA.open(file), 1.0, 0.0)], references=given))
