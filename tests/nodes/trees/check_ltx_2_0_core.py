"""LTX-2.0 of ComfyUI's own loaders in our nodes: the same as the file through ours, and none of it beside LTX-2.3's."""

import comfy.latent_formats
import pytest

from ltx_duo.ltx_core.errors import VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.nodes.comfyui import core_model, latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

from comfy_extras import nodes_hunyuan, nodes_lt_audio

import nodes as core

CHECKPOINT = "ltx-2.0-small-dev.safetensors"
UPSAMPLER = "ltx-2.0-small-spatial-upscaler-x2.safetensors"
OURS = "the same file through our loaders"


@pytest.fixture
def theirs():
    """What Load Checkpoint gives: MODEL, CLIP and VAE."""
    return core.CheckpointLoaderSimple().load_checkpoint(CHECKPOINT)


@pytest.fixture
def audio_vae():
    return nodes_lt_audio.LTXVAudioVAELoader.execute(CHECKPOINT).args[0]


@pytest.fixture
def our_model(run):
    return run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")


@pytest.fixture
def our_vae(run):
    return run("VAELoader", checkpoint=CHECKPOINT, audio_file="same file")


@pytest.fixture
def first(run, conditions, names):
    encoder = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=CHECKPOINT, device="default")
    positive, negative = run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")

    def sample(model, vae):
        inputs = {"conditions": conditions, "noise_device": "cpu", "seed": 10, **names.size}
        return run("StageOneSampler", model=model, vae=vae, positive=positive, negative=negative, **inputs)

    return sample


def test_model_and_vae_make_the_same_film(run, theirs, audio_vae, our_model, our_vae, first, names, measured):
    model, _, vae = theirs
    made, reference = first(model, vae), first(our_model, our_vae)
    for name, a, b in zip(("video", "audio"), latents.take(made), latents.take(reference), strict=True):
        measured(f"ComfyUI's MODEL and VAE of LTX-2.0, stage one: {name}", OURS, a, b, 1e-5)
    tiles = {"tiling": "off", **names.tiles}
    # A decoder that reflects takes no latent of one row: both are enlarged, by either one's upsampler.
    their_upsampler = nodes_hunyuan.LatentUpscaleModelLoader.execute(UPSAMPLER).args[0]
    made = run("LatentUpsampler", latent=made, upsampler=their_upsampler, vae=vae)
    our_upsampler = run("UpsamplerLoader", upsampler=UPSAMPLER)
    reference = run("LatentUpsampler", latent=reference, upsampler=our_upsampler, vae=our_vae)
    _, frames, sound = run("AVDecode", latent=made, vae=vae, audio_vae=audio_vae, **tiles)
    _, our_frames, our_sound = run("AVDecode", latent=reference, vae=our_vae, **tiles)
    measured("ComfyUI's VAE of LTX-2.0, frames", OURS, frames, our_frames, 1e-5)
    measured("ComfyUI's audio VAE of LTX-2.0, sound", OURS, sound["waveform"], our_sound["waveform"], 1e-5)
    assert sound["sample_rate"] == our_sound["sample_rate"] == 24000


def test_it_is_taken_as_what_it_is(theirs):
    handle = core_model.take(theirs[0])
    assert handle.generation is Generation.V2_0
    assert handle.variant is variant_of(Kind.DEV, Generation.V2_0)


def test_generations_do_not_mix(theirs, audio_vae, run, model, vae, our_model, our_vae, first, names):
    made = first(our_model, our_vae)
    for refused in (
        lambda: first(theirs[0], vae),
        lambda: first(model, theirs[2]),
        lambda: run("AVDecode", latent=made, vae=vae, tiling="off", **names.tiles),
    ):
        with pytest.raises(VariantError, match=r"LTX-2\.0.*LTX-2\.3|LTX-2\.3.*LTX-2\.0"):
            refused()
    new_audio = nodes_lt_audio.LTXVAudioVAELoader.execute(names.checkpoint).args[0]
    with pytest.raises(VariantError, match=r"vae is of LTX-2\.0, but audio_vae is of LTX-2\.3"):
        run("AVDecode", latent=made, vae=theirs[2], audio_vae=new_audio, tiling="off", **names.tiles)
