"""A small LTX-2.5 through the nodes: the same film as from the engine, and what of LTX-2.3 does not go with it."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, StagedLoRA
from ltx_duo.ltx_core.sampling.conditions import GivenImage
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.nodes.comfyui import latents
from ltx_duo.scripts.small_model_parts.write_split import split_files

FILES = split_files("ltx-2.5-small")
TEXT, MODEL, VIDEO, AUDIO = (
    path.name for path in (FILES.text_encoder, FILES.transformer, FILES.video_vae, FILES.audio_vae)
)
ENGINE = "the engine by itself"


@pytest.fixture
def texts_2_5(run):
    encoder = run("TextEncoderLoader", text_encoder=TEXT, projection=TEXT, device="default")
    return run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")


@pytest.fixture
def new(run, texts_2_5):
    """The loaders' outputs for LTX-2.5, and its texts."""
    model = run("ModelLoader", checkpoint=MODEL, weight_dtype="auto")
    return SimpleNamespace(
        base=model,
        model=run("LoraLoader", model=model, lora=FILES.lora.name, strength_stage_one=0.0, strength_stage_two=1.0),
        vae=run("VAELoader", checkpoint=VIDEO, audio_file=AUDIO),
        texts=texts_2_5,
        upsampler=run("UpsamplerLoader", upsampler=FILES.upsampler.name),
    )


@pytest.fixture
def film(run, new, conditions, names):
    """Stage one, the enlarged latent, and stage two."""

    def make(model, **changes):
        inputs = {"model": model, "vae": new.vae, "conditions": conditions, "noise_device": "cpu"}
        one = run(
            "StageOneSampler", seed=10, positive=new.texts[0], negative=new.texts[1], **names.size, **inputs, **changes
        )
        larger = run("LatentUpsampler", latent=one, upsampler=new.upsampler, vae=new.vae)
        return one, run(
            "StageTwoSampler", positive=new.texts[0], latent=larger, **{**inputs, **names.kept, "noise_device": "cpu"}
        )

    return make


def engine_film(models, names, image, kind: Kind):
    """The same by the engine, from the same files."""
    files = FILES.below(models)
    parts = load_components(
        files.transformer, files.text_encoder, files.upsampler,
        (files.video_vae, files.diffusion_vae, files.audio_vae),
        dtype=torch.float32, device="cpu",
    )  # fmt: skip
    recipe, size = variant_of(kind, Generation.V2_5), names.size
    dev = kind is Kind.DEV
    request = Request(
        prompt="a lake",
        negative_prompt="noise",
        geometry=LatentGeometry(size["width"], size["height"], size["frames"], size["fps"]),
        seed=10,
        images=(GivenImage(image[0], 0, 1.0),),
        steps=size["steps"] if dev else None,
        stage_one_sound=True,
        video_decoder="conv" if dev else "diffusion",
    )
    parts = type(parts)(**{**vars(parts), "variant": recipe})
    loras = [StagedLoRA(LoRA.open(files.lora), 0.0, 1.0)] if dev else []
    return two_stage.generate(parts, request, loras=loras)


@pytest.mark.parametrize("kind", Kind)
def test_both_stages_are_the_engines(kind, run, models, new, film, image, names, measured, watched):
    """Distilled: ancestral Euler in stage one alone; its film is decoded by diffusion, from the noise that follows."""
    model = (
        new.model if kind is Kind.DEV else run("ModelLoader", checkpoint=MODEL, weight_dtype="auto", kind="distilled")
    )
    assert model.variant is variant_of(kind, Generation.V2_5)
    made, done = film(model)
    result = engine_film(models, names, image, kind)
    for stage, ours, theirs in (("one", made, result.stage_one), ("two", done, result.stage_two)):
        video, _ = latents.take(ours)
        measured(f"{kind} LTX-2.5 in the nodes, stage {stage}", ENGINE, video, theirs.video, 1e-5)
    vae = new.vae if kind is Kind.DEV else run("VAELoader", checkpoint=FILES.diffusion_vae.name, audio_file=AUDIO)
    _, frames, sound = run("AVDecode", latent=done, vae=vae, **{"tiling": "off", **names.tiles})
    measured(f"{kind} LTX-2.5 in the nodes, frames", ENGINE, frames, result.frames, 1e-5)
    measured(f"{kind} LTX-2.5 in the nodes, sound", ENGINE, sound["waveform"], result.waveform, 1e-5)
    one, two = (getattr(stage.sampler, "keywords", {}) for stage in watched[:2])
    assert one.get("noise_seed") == (10010 if kind is Kind.DISTILLED else None) and not two


@pytest.mark.parametrize("what", ["model", "vae", "positive", "latent"])
def test_stages_do_not_mix_generations(what, run, model, vae, texts, stage_one, new, names):
    given = {"model": model, "vae": vae, "positive": texts[0]}
    if what == "latent":
        given["latent"] = stage_one(model, conditions=None, noise_device="cpu")
    inputs = {"model": new.model, "vae": new.vae, "positive": new.texts[0], "negative": new.texts[1]}
    with pytest.raises(VariantError, match=r"LTX-2\.5.*LTX-2\.3|LTX-2\.3.*LTX-2\.5"):
        run(
            "StageOneSampler",
            seed=10,
            noise_device="cpu",
            conditions=None,
            **names.size,
            **{**inputs, what: given[what]},
        )


def test_text_encoders_do_not_mix_generations(run, names):
    """Gemma-3 and Gemma-4 are equally wide and deep, and Gemma-3 is of two generations."""
    own = r"is Gemma-3, but the text projection in .* is of LTX-2\.5, which reads prompts with Gemma-4"
    both = r"is of LTX-2\.5, but .* is of LTX-2\.3; files of one generation belong together"
    for encoder, projection, words in (("gemma-3-small", TEXT, own), (TEXT, names.checkpoint, both)):
        with pytest.raises(VariantError, match=words):
            run("TextEncoderLoader", text_encoder=encoder, projection=projection, device="default")


def test_vae_files_do_not_mix_generations(run, names):
    for pair in ((VIDEO, names.checkpoint), (names.checkpoint, AUDIO)):
        with pytest.raises(VariantError, match=r"is of LTX-2\.[35], but .* is of LTX-2\.[35]"):
            run("VAELoader", checkpoint=pair[0], audio_file=pair[1])


def test_connectors_do_not_mix_generations(run, names):
    with pytest.raises(VariantError, match=r"is of LTX-2\.5, but .* is of LTX-2\.3"):
        run("ModelLoader", checkpoint=MODEL, weight_dtype="auto", connectors=names.checkpoint)


def test_a_lora_of_2_3_fits_and_is_warned_of(run, new, folder, models, names):
    """Its layers have the same sizes, as users run them."""
    shutil.copy(models / "loras" / names.lora, folder("loras") / "ltx-2.3-style.safetensors")
    run("LoraLoader", model=new.base, lora="ltx-2.3-style.safetensors", strength_stage_one=1.0, strength_stage_two=1.0)


@pytest.mark.parametrize("file", [FILES.duration_head, FILES.diffusion_vae])
def test_other_files_of_2_5_are_no_model(file, run, folder, models):
    shutil.copy(models / file, folder("checkpoints") / file.name)
    with pytest.raises(LTXError, match="has no transformer: it holds"):
        run("ModelLoader", checkpoint=file.name, weight_dtype="auto")
