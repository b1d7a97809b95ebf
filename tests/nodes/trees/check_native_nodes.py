"""Our nodes and ComfyUI's own LTX-2 nodes in one graph: native VAEs decode our latents, ours decode native ones, and
native text conditioning drives our samplers."""

import comfy.latent_formats
import comfy.sd
import comfy.utils
import pytest
import torch

from ltx_duo.ltx_core.loading import load_tokenizer
from ltx_duo.nodes.comfyui import latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video nodes", allow_module_level=True)

import comfy.text_encoders.llama as llama
import comfy.text_encoders.lt as lt
from comfy_extras import nodes_lt, nodes_lt_audio

import nodes as core

NATIVE = "ComfyUI's native nodes"
PROMPT = "a fox at a frozen lake, “early”, naïve colours"
GEMMA = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2}
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def native_vae(models, names):
    """What CheckpointLoaderSimple gives as VAE."""
    tensors, metadata = comfy.utils.load_torch_file(
        str(models / "checkpoints" / names.checkpoint), return_metadata=True
    )
    tensors = comfy.utils.state_dict_prefix_replace(tensors, {"vae.": ""}, filter_keys=True)
    return comfy.sd.VAE(sd=tensors, metadata=metadata)


@pytest.fixture(scope="module")
def native_audio_vae(names):
    return nodes_lt_audio.LTXVAudioVAELoader.execute(names.checkpoint).args[0]


@pytest.fixture
def decoded(run, vae, names, native_vae, native_audio_vae):
    """(frames, waveform) of a LATENT by our node and by the native ones."""

    def decode(latent: dict):
        _, frames, audio = run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)
        separated = nodes_lt.LTXVSeparateAVLatent.execute(latent).args
        their_frames = core.VAEDecode().decode(native_vae, separated[0])[0]
        their_audio = nodes_lt_audio.LTXVAudioVAEDecode.execute(separated[1], native_audio_vae).args[0]
        assert audio["sample_rate"] == their_audio["sample_rate"]
        return (frames, audio["waveform"]), (their_frames, their_audio["waveform"])

    return decode


def test_our_latent_in_native_decoders(decoded, model, upsampled, stage_two, measured):
    for what, latent in (("stage one, upsampled", upsampled), ("stage two", stage_two(model, upsampled))):
        for name, ours, theirs in zip(("frames", "waveform"), *decoded(latent), strict=True):
            assert theirs.std() > 1e-3
            measured(f"our latent of {what}, decoded: {name}", NATIVE, ours, theirs, TOLERANCE)


def test_native_latent_in_our_decoder(decoded, native_vae, native_audio_vae, measured):
    generator = torch.Generator().manual_seed(torch.seed() % 2**31)
    film = torch.rand(9, 64, 128, 3, generator=generator)
    sound = {"waveform": torch.rand(1, 2, 18000, generator=generator) - 0.5, "sample_rate": 48000}
    video = core.VAEEncode().encode(native_vae, film)[0]
    audio = nodes_lt_audio.LTXVAudioVAEEncode.execute(sound, native_audio_vae).args[0]
    latent = nodes_lt.LTXVConcatAVLatent.execute(video, audio).args[0]
    for name, ours, theirs in zip(("frames", "waveform"), *decoded(latent), strict=True):
        measured(f"native latent of a film, decoded: {name}", NATIVE, ours, theirs, TOLERANCE)


def test_our_image_encoding_is_the_native_one(run, vae, native_vae, measured):
    image = torch.rand(1, 64, 128, 3, generator=torch.Generator().manual_seed(torch.seed() % 2**31))
    theirs = core.VAEEncode().encode(native_vae, image)[0]["samples"]
    pixels = (image * 2 - 1).permute(0, 3, 1, 2)[:, :, None]
    ours = vae.video_encoder().load()(pixels)
    measured("image encoded", NATIVE, ours, theirs, TOLERANCE)


def test_native_empty_latents_start_our_stage_one(model, stage_one, native_audio_vae, names, measured):
    size = names.size
    video = nodes_lt.EmptyLTXVLatentVideo.execute(size["width"] // 2, size["height"] // 2, size["frames"]).args[0]
    audio = nodes_lt_audio.LTXVEmptyLatentAudio.execute(size["frames"], size["fps"], 1, native_audio_vae).args[0]
    empty = nodes_lt.LTXVConcatAVLatent.execute(video, audio).args[0]
    ours = latents.take(stage_one(model))
    started = latents.take(stage_one(model, latent=empty))
    for name, one, other in zip(("video", "audio"), ours, started, strict=True):
        # Noised to the first sigma, 0.9999999, instead of to 1.
        measured(f"stage one from native empty latents: {name}", "our stage one without a latent", other, one, 1e-4)


class JsonTokenizer:
    """ComfyUI's tokenizer interface around tokenizer.json; its own wants the SentencePiece file."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def get_vocab(self) -> dict:
        return {}

    def __call__(self, text: str) -> dict:
        return {"input_ids": self.tokenizer.encode(text) if text else [2]}


@pytest.fixture
def native_clip(models, names, encoder, monkeypatch):
    """ComfyUI's CLIP for LTX-2.3 at the small model's sizes, which its code has as numbers."""
    config, project = llama.Gemma3_12B_Config, lt.DualLinearProjection
    tokenizer = JsonTokenizer(load_tokenizer(encoder.gemma))

    def small_config(**settings):
        small = config(**{**settings, **GEMMA, "num_key_value_heads": 1})
        small.head_dim = 16
        return small

    def small_projection(_states, _video, _audio, **how):
        return project(32 * 7, 128, 64, **how)

    monkeypatch.setattr(llama, "Gemma3_12B_Config", small_config)
    monkeypatch.setattr(llama, "Gemma3MultiModalProjector", lambda *_: None)
    monkeypatch.setattr("comfy.clip_model.CLIPVision", lambda *_: None)
    monkeypatch.setattr(lt, "DualLinearProjection", small_projection)
    monkeypatch.setattr(lt, "SPieceTokenizer", type("Small", (), {"from_pretrained": lambda *_, **__: tokenizer}))

    class Target:
        params = {"text_projection_type": "dual_linear", "dtype_llama": torch.float32}
        clip = lt.LTXAVTEModel
        tokenizer = lt.LTXAVGemmaTokenizer

    clip = comfy.sd.CLIP(Target)
    gemma = comfy.utils.load_torch_file(str(models / "text_encoders" / "gemma-3-small.safetensors"))
    # ComfyUI divides by the root of the head's width; Gemma-3 by that of query_pre_attn_scalar, which only in 12B is
    # the same.  Here it is 16 times the width, so a quarter of every query.
    for name, weight in gemma.items():
        if name.endswith("q_norm.weight"):
            gemma[name] = (1 + weight.float()) / 4 - 1
    missing, _ = clip.cond_stage_model.gemma3_12b.load_sd(gemma)
    assert not missing
    missing, _ = clip.cond_stage_model.load_sd(
        comfy.utils.load_torch_file(str(models / "checkpoints" / names.checkpoint))
    )
    assert not missing
    return clip


def test_native_conditioning_drives_our_samplers(
    native_clip, run, encoder, model, vae, upsampled, conditions, names, measured
):
    native = [core.CLIPTextEncode().encode(native_clip, text)[0] for text in (PROMPT, "noise")]
    native = nodes_lt.LTXVConditioning.execute(*native, 25.0).args
    ours = run("TextEncode", text_encoder=encoder, prompt=PROMPT, negative_prompt="noise")
    for sign, one, other in zip(("positive", "negative"), ours, native, strict=True):
        measured(f"{sign} conditioning", NATIVE, one[0][0], other[0][0], TOLERANCE)

    settings = {**names.size, "seed": 10, "noise_device": "gpu", "conditions": conditions}
    films = []
    for positive, negative in (ours, native):
        first = run("StageOneSampler", model=model, vae=vae, positive=positive, negative=negative, **settings)
        kept = {**names.kept, "conditions": conditions, "latent": upsampled}
        second = run("StageTwoSampler", model=model, vae=vae, positive=positive, **kept)
        films.append((*latents.take(first), latents.take(second)[0]))
    for what, one, other in zip(("stage one, video", "stage one, audio", "stage two, video"), *films, strict=True):
        measured(f"native conditioning in our sampler, {what}", "our text encoder", other, one, 1e-4)
