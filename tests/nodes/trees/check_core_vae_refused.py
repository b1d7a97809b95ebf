"""VAEs and upsamplers of ComfyUI that our nodes cannot take: one sentence that says what it is and what to connect."""

import importlib
import json
from types import SimpleNamespace

import comfy.sd
import pytest
import torch
from comfy.ldm.lightricks.vae.causal_video_autoencoder import VideoVAE

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.nodes.comfyui import core_vae, latents
from ltx_duo.nodes.comfyui.core_upsampler import latent_upsampler
from ltx_duo.nodes.comfyui.core_vae import audio_vae, sound_of, video_vae


def module_of_ltx2(name: str):
    """A module of ComfyUI's LTX-2, which older versions lack."""
    try:
        return importlib.import_module(f"comfy.ldm.lightricks.{name}")
    except ImportError:
        pytest.skip("this ComfyUI has no LTX-2")


def without_weights(make, *arguments, **options):
    with torch.device("meta"):
        return make(*arguments, **options)


def held(model, channels: int = 128, dimensions: int = 3):
    """ComfyUI's VAE object around a model, as far as our nodes look at it."""
    patcher = SimpleNamespace(load_device=torch.device("cpu"))
    return SimpleNamespace(
        first_stage_model=model,
        latent_channels=channels,
        latent_dim=dimensions,
        vae_dtype=torch.float32,
        patcher=patcher,
    )


def before_ltx2(version: int):
    return held(without_weights(VideoVAE, version=version))


def of_ltx20():
    stages = [["res_x", {"num_layers": 1}]]
    for _ in range(3):
        stages += [["compress_all", {"residual": True, "multiplier": 2}], ["res_x", {"num_layers": 1}]]
    down = [["res_x", {"num_layers": 1}]]
    for name in ("compress_space_res", "compress_time_res", "compress_all_res", "compress_all_res"):
        down += [[name, {"multiplier": 2}], ["res_x", {"num_layers": 1}]]
    return held(without_weights(VideoVAE, config={
        "_class_name": "CausalVideoAutoencoder", "dims": 3, "latent_channels": 128, "encoder_blocks": down,
        "decoder_blocks": stages, "norm_layer": "pixel_norm", "patch_size": 4, "latent_log_var": "uniform",
        "timestep_conditioning": False,
    }))  # fmt: skip


def audio(config: dict, vocoder: dict):
    sections = {"audio_vae": config["audio_vae"], "vocoder": vocoder}
    kind = module_of_ltx2("vae.audio_vae").AudioVAE
    return held(without_weights(kind, metadata={"config": json.dumps(sections)}), channels=8, dimensions=2)


def pixel_space():
    return comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)})


def test_empty_vae():
    empty = comfy.sd.VAE(sd={})
    for take in (video_vae, audio_vae):
        with pytest.raises(LTXError, match=r"vae is empty: ComfyUI's loader found no VAE in its file; .*Connect"):
            take(empty)


@pytest.mark.parametrize("take, slot", [(video_vae, "vae"), (audio_vae, "audio_vae")])
def test_other_models(take, slot):
    wan = held(type("WanVAE", (torch.nn.Module,), {})(), channels=16)
    for given, words in (
        (pixel_space(), rf"^{slot} is of another model: ComfyUI's PixelspaceConversionVAE, "),
        (wan, rf"^{slot} is of another model: ComfyUI's WanVAE, a video VAE of 16 channels; expected LTX-2's"),
        (held(type("TAEHV", (torch.nn.Module,), {})()), r"TAEHV, a small decoder for previews of 128 channels"),
        ("a file", rf"^{slot} is a str; expected a VAE"),
    ):
        with pytest.raises(LTXError, match=words):
            take(given)


KEEPS_CONFIG = hasattr(without_weights(VideoVAE), "config")
keeps_config = pytest.mark.skipif(not KEEPS_CONFIG, reason="this ComfyUI keeps no config with its video VAE")


def test_video_vae_without_its_config():
    """As older versions of ComfyUI have it."""
    given = before_ltx2(2)
    given.first_stage_model.__dict__.pop("config", None)
    with pytest.raises(LTXError, match=r"^vae is a video VAE of LTX that this version of ComfyUI keeps without"):
        video_vae(given)


@keeps_config
@pytest.mark.parametrize("version", [0, 1, 2])
def test_models_before_ltx2(version):
    with pytest.raises(LTXError, match=r"^vae is the VAE of an LTX-Video before LTX-2, or its file came without"):
        video_vae(before_ltx2(version))


@keeps_config
def test_picture_of_ltx20():
    taken = video_vae(of_ltx20())
    assert taken.generation is Generation.V2_0 and taken.params.decoder_padding == "reflect"


def test_sound_of_ltx20(config):
    vocoder = {"upsample_rates": [6, 5, 2, 2, 2], "upsample_kernel_sizes": [16, 15, 8, 4, 4]}
    taken = audio_vae(audio(config, vocoder))
    assert taken.generation is Generation.V2_0
    assert taken.vocoder().module.output_sampling_rate == 24000


@keeps_config
def test_what_no_record_knows_is_refused(config, monkeypatch):
    monkeypatch.setattr(core_vae, "guessed_generation", lambda *_: Generation.V2_5)
    for take, given in ((video_vae, of_ltx20()), (audio_vae, audio(config, config["vocoder"]))):
        with pytest.raises(
            LTXError, match=r" of LTX-2\.5, which LTX Duo takes from its own loaders alone; expected one of LTX-2\.3"
        ):
            take(given)


def test_picture_and_sound_in_each_others_place(config):
    picture = held(without_weights(VideoVAE, config=config["vae"]))
    with pytest.raises(LTXError, match=r"^audio_vae is ComfyUI's video VAE .*Connect LTXVAudioVAELoader"):
        audio_vae(picture)
    with pytest.raises(LTXError, match=r"^The latent has sound, and vae.*picture alone.*Connect LTXVAudioVAELoader"):
        sound_of(picture, None)
    sound = audio(config, config["vocoder"])
    with pytest.raises(LTXError, match=r"^vae is ComfyUI's audio VAE .*goes into audio_vae.*Connect LTX VAE Loader"):
        video_vae(sound)
    assert sound_of(picture, sound).vocoder().module.output_sampling_rate == 48000


@keeps_config
def test_a_vae_of_the_picture_encodes_no_sound(config):
    picture = held(without_weights(VideoVAE, config=config["vae"]))
    with pytest.raises(LTXError, match=r"^A sound is given, and vae.*audio_vae of the node that gives the sound"):
        video_vae(picture).audio_encoder()


@keeps_config
def test_weights_that_do_not_fit(config):
    """A module that another pack has changed."""
    picture = held(without_weights(VideoVAE, config=config["vae"]))
    picture.first_stage_model.decoder.conv_out.conv = torch.nn.Conv3d(128, 12, 3)
    with pytest.raises(LTXError, match=r"decoder of ComfyUI's video VAE does not fit.*conv_out\.conv\.weight is 12x"):
        video_vae(picture).video_decoder()


def test_every_node_that_takes_a_vae_refuses(run, model, texts, upsampled, names):
    """What is refused at once is refused before anything is computed."""
    wan = held(type("WanVAE", (torch.nn.Module,), {})(), channels=16)
    sampler = {"model": model, "vae": wan, "positive": texts[0]}
    upsampler = run("UpsamplerLoader", upsampler=names.upsampler)
    for name, inputs in (
        ("StageOneSampler", {**sampler, "negative": texts[1], "seed": 1, "noise_device": "cpu", **names.size}),
        ("StageTwoSampler", {**sampler, "latent": upsampled, **names.kept}),
        ("LatentUpsampler", {"latent": upsampled, "upsampler": upsampler, "vae": wan}),
        ("AVDecode", {"latent": upsampled, "vae": wan, "tiling": "auto", **names.tiles}),
    ):
        with pytest.raises(LTXError, match="^vae is of another model: ComfyUI's WanVAE"):
            run(name, **inputs)


def test_audio_vae_of_a_latent_without_sound(nodes, vae, upsampled, names):
    silent = latents.make(latents.take(upsampled)[0], None, latents.info_of(upsampled))
    inputs = {"latent": silent, "vae": vae, "tiling": "off", **names.tiles}
    done = nodes["LTXDuoAVDecode"].execute(audio_vae=vae, **inputs)
    assert done.ui["text"] == ["The latent has no sound: audio_vae is not used."]
    with pytest.raises(LTXError, match="^audio_vae is a str"):
        nodes["LTXDuoAVDecode"].execute(audio_vae="a file", **inputs)


UPSCALER = {"mid_channels": 64, "in_channels": 128, "num_blocks_per_stage": 1, "dims": 3}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"spatial_scale": 1.5, "rational_resampler": True}, "enlarges by 1.5 in width and height.*spatial x2"),
        ({"spatial_upsample": False, "temporal_upsample": True}, "enlarges in time.*spatial x2"),
    ],
)
def test_upsamplers_of_another_scale(changes, words):
    kind = module_of_ltx2("latent_upsampler").LatentUpsampler
    model = kind.from_config({**UPSCALER, **changes}, operations=torch.nn)
    with pytest.raises(LTXError, match=f"^upsampler, ComfyUI's latent upscale model, {words}"):
        latent_upsampler(SimpleNamespace(model=model, load_device=torch.device("cpu")))


def test_upsamplers_of_other_models():
    config = {"in_channels": 4, "out_channels": 4, "hidden_channels": 8, "num_blocks": 1, "global_residual": False}
    importlib.import_module("nodes")  # makes a folder importable that an older ComfyUI's upsampler needs
    kind = importlib.import_module("comfy.ldm.hunyuan_video.upsampler").HunyuanVideo15SRModel
    hunyuan = without_weights(kind, "720p", config)
    for given, words in ((hunyuan, "is of another model: ComfyUI's SRModel3DV2"), (3, "is a int")):
        with pytest.raises(LTXError, match=f"^upsampler {words}; expected LTX's x2 upsampler. Connect"):
            latent_upsampler(given)
