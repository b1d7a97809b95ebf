"""A small LTX-2.0 through the nodes: the same film as from the engine, and what of LTX-2.3 does not go with it."""

from types import SimpleNamespace

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.request import Request, StagedLoRA
from ltx_duo.ltx_core.safetensors_file import TensorInfo
from ltx_duo.ltx_core.sampling.conditions import GivenImage
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.nodes.comfyui import latents
from ltx_duo.nodes.preflight import files

CHECKPOINT = "ltx-2.0-small-dev.safetensors"
LORA = "ltx-2.0-small-distilled-lora.safetensors"
UPSAMPLER = "ltx-2.0-small-spatial-upscaler-x2.safetensors"
ENGINE = "the engine by itself"


@pytest.fixture
def old(run):
    """The loaders' outputs for LTX-2.0, and its texts."""
    model = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")
    encoder = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=CHECKPOINT, device="default")
    return SimpleNamespace(
        model=run("LoraLoader", model=model, lora=LORA, strength_stage_one=0.0, strength_stage_two=1.0),
        vae=run("VAELoader", checkpoint=CHECKPOINT, audio_file="same file"),
        texts=run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise"),
        upsampler=run("UpsamplerLoader", upsampler=UPSAMPLER),
    )


@pytest.fixture
def first(run, old, conditions, names):
    def sample(**changes):
        inputs = {"model": old.model, "vae": old.vae, "conditions": conditions, "noise_device": "cpu", **names.size}
        texts = {"positive": old.texts[0], "negative": old.texts[1]}
        return run("StageOneSampler", seed=10, **{**inputs, **texts, **changes})

    return sample


@pytest.fixture
def second(run, old, conditions, names):
    def sample(latent, **changes):
        inputs = {"model": old.model, "vae": old.vae, "conditions": conditions, **names.kept, "noise_device": "cpu"}
        return run("StageTwoSampler", positive=old.texts[0], latent=latent, **{**inputs, **changes})

    return sample


def test_both_stages_are_the_engines(run, models, old, first, second, image, names, measured):
    made = first()
    larger = run("LatentUpsampler", latent=made, upsampler=old.upsampler, vae=old.vae)
    done = second(larger)
    tiles = {"tiling": "off", **names.tiles}
    _, frames, sound = run("AVDecode", latent=done, vae=old.vae, **tiles)
    assert sound["sample_rate"] == 24000

    files = models / "checkpoints" / CHECKPOINT, models / "text_encoders" / "gemma-3-small"
    parts = load_components(*files, models / "latent_upscale_models" / UPSAMPLER, dtype=torch.float32, device="cpu")
    recipe = variant_of(Kind.DEV, Generation.V2_0)
    assert parts.variant is recipe is old.model.variant
    size = names.size
    request = Request(
        prompt="a lake",
        negative_prompt="noise",
        geometry=LatentGeometry(size["width"], size["height"], size["frames"], size["fps"]),
        seed=10,
        images=(GivenImage(image[0], 0, 1.0),),
        guidance=recipe.guidance,
        stage_one_sigmas=recipe.stage_one_schedule(size["steps"]),
        stage_one_sound=True,
    )
    result = two_stage.generate(parts, request, loras=[StagedLoRA(LoRA.open(models / "loras" / LORA), 0.0, 1.0)])
    for stage, ours, theirs in (("one", made, result.stage_one), ("two", done, result.stage_two)):
        video, _ = latents.take(ours)
        measured(f"LTX-2.0 in the nodes, stage {stage}", ENGINE, video, theirs.video, 1e-5)
    measured("LTX-2.0 in the nodes, frames", ENGINE, frames, result.frames, 1e-5)
    measured("LTX-2.0 in the nodes, sound", ENGINE, sound["waveform"], result.waveform, 1e-5)


def test_the_text_is_in_comfyuis_layout(old):
    """One tensor for video and audio, as wide as Gemma, which its connectors take."""
    ((features, extra),) = old.texts[0]
    assert features.shape[-1] == 32 and extra["unprocessed_ltxav_embeds"]


def test_text_that_has_been_through_the_connectors(old, first, same):
    """As ComfyUI's CLIP gives it when it was loaded with the checkpoint: video and audio side by side."""
    model = old.model.connectors(old.model.stage(1), 1).load()
    made = []
    for ((features, _),) in old.texts:
        contexts = model.video_connector(features), model.audio_connector(features)
        made.append([[torch.cat(contexts, dim=-1), {}]])
    assert same(first(positive=made[0], negative=made[1]), first())


def test_the_stg_block_is_that_of_2_0(run, first, watched):
    """Also of guidance whose blocks are 'auto'."""
    names = [
        f"{modality}_{scale}" for modality in ("video", "audio") for scale in ("cfg", "stg", "modality", "rescale")
    ]
    custom = run("Guidance", preset="custom", stg_blocks="auto", skip_step=0, **dict.fromkeys(names, 1.0))
    for guidance in (None, custom):
        first(guidance=guidance)
        assert watched[-1].guidance.blocks(48) == {29}


@pytest.mark.parametrize("what", ["model", "vae", "positive", "latent"])
def test_stages_do_not_mix_generations(what, run, model, vae, texts, conditions, names, first, stage_one):
    """Where the graph does not tell what comes in, the run does."""
    given = {"model": model, "vae": vae, "positive": texts[0]}
    if what == "latent":
        given["latent"] = stage_one(model, conditions=None, noise_device="cpu")
    with pytest.raises(LTXError, match=r"LTX-2\.0|LTX-2\.3|wide") as told:
        first(**{what: given[what]})
    if what != "positive":  # a small model's widths are no generation's
        assert isinstance(told.value, VariantError)
        assert "LTX-2.0" in str(told.value) and "LTX-2.3" in str(told.value)


def test_later_nodes_do_not_mix_generations(run, vae, model, stage_two, first, names):
    made = first(conditions=None)
    tiles = {"tiling": "off", **names.tiles}
    for refused in (
        lambda: run("AVDecode", latent=made, vae=vae, **tiles),
        lambda: run("LatentUpsampler", latent=made, vae=vae, upsampler=run("UpsamplerLoader", upsampler=UPSAMPLER)),
        lambda: stage_two(model, made),
    ):
        with pytest.raises(VariantError, match=r"LTX-2\.0.*LTX-2\.3|LTX-2\.3.*LTX-2\.0"):
            refused()


@pytest.mark.parametrize("own", [True, False])
def test_loras_do_not_mix_generations(own, run, names):
    file, lora = (CHECKPOINT, names.lora) if own else (names.checkpoint, LORA)
    model = run("ModelLoader", checkpoint=file, weight_dtype="auto")
    with pytest.raises(VariantError, match="is a LoRA of another model"):
        run("LoraLoader", model=model, lora=lora, strength_stage_one=0.0, strength_stage_two=1.0)


def test_vae_files_do_not_mix_generations(run, names):
    for pair in ((CHECKPOINT, names.checkpoint), (names.checkpoint, CHECKPOINT)):
        with pytest.raises(VariantError, match=r"is of LTX-2\.[03], but .* is of LTX-2\.[03]"):
            run("VAELoader", checkpoint=pair[0], audio_file=pair[1])


def test_connectors_do_not_mix_generations(run, names):
    with pytest.raises(VariantError, match=r"is of LTX-2\.0, but .* is of LTX-2\.3"):
        run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto", connectors=names.checkpoint)


def test_a_given_sound_is_encoded_by_a_vae_of_the_models_generation(run, old, vae, first):
    audio = {"waveform": torch.randn(1, 2, 24000), "sample_rate": 48000}
    given, _ = run("SoundCondition", audio=audio, start=0.0, fps=25.0, audio_vae=vae)
    with pytest.raises(VariantError, match=r"model is of LTX-2\.0, but audio_vae is of LTX-2\.3"):
        first(conditions=given)
    own, _ = run("SoundCondition", audio=audio, start=0.0, fps=25.0, audio_vae=old.vae)
    first(conditions=own)


def test_a_projection_of_another_width(old):
    """Before anything runs."""
    params, model = old.model.transformer_params, old.model.checkpoint
    for rows in (32, 48):
        info = TensorInfo("BF16", (rows, 224))
        projection = SimpleNamespace(tensors=lambda _, info=info: {"aggregate_embed.weight": info}, path=model.path)
        if rows == 32:
            files.check_projection(params, model, projection)
            continue
        with pytest.raises(LTXError, match="makes video text 48 wide, but ltx-2.0-small-dev.safetensors takes 32"):
            files.check_projection(params, model, projection)
