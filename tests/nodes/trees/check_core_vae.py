"""ComfyUI's own VAEs and latent upscale model in our nodes, from its own loaders: the same results as from ours."""

import copy
import gc
import weakref
from contextlib import contextmanager
from fractions import Fraction

import comfy.model_management as mm
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy_api.latest import InputImpl, Types

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import decoding, latents, picture_decoding
from ltx_duo.nodes.comfyui.core_vae import audio_vae, video_vae

try:
    from comfy_extras.nodes_hunyuan import LatentUpscaleModelLoader
    from comfy_extras.nodes_lt_audio import LTXVAudioVAELoader
except ImportError:
    pytest.skip("this ComfyUI has no LTX-2", allow_module_level=True)

import nodes as core

OURS = "our loader on the same file"
ROUNDING = 1e-6
FPS = 25.0


@pytest.fixture(scope="module")
def core_vae(names):
    return core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[2]


@pytest.fixture(scope="module")
def core_audio_vae(names):
    return LTXVAudioVAELoader.execute(names.checkpoint).args[0]


@pytest.fixture(scope="module")
def core_upsampler(names):
    return LatentUpscaleModelLoader.execute(names.upsampler).args[0]


@pytest.fixture
def latent(rng):
    return latent_of(rng, (1, 128, 3, 2, 4), (1, 8, 17, 16))


@pytest.fixture
def short_latent(rng):
    """For tests that decode often."""
    return latent_of(rng, (1, 128, 2, 2, 2), (1, 8, 9, 16))


def latent_of(rng, *shapes) -> dict:
    info = latents.StageInfo(FPS, "cpu", torch.Generator().get_state())
    return latents.make(*(torch.randn(shape, generator=rng) for shape in shapes), info)


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(torch.seed() % 2**31)


@pytest.fixture
def decode(run, names):
    def decoded(latent, vae, tiling="off", **inputs):
        _, images, audio = run("AVDecode", latent=latent, vae=vae, tiling=tiling, **names.tiles, **inputs)
        return images, None if audio is None else audio["waveform"]

    return decoded


@contextmanager
def changed(tensor: torch.Tensor, change):
    """The tensor of ComfyUI's object with other numbers, for a while."""
    before = tensor.clone()
    change(tensor)
    yield
    tensor.copy_(before)


@pytest.mark.parametrize("tiling", ["off", "custom"])
def test_frames_and_sound(tiling, decode, latent, vae, core_vae, core_audio_vae, measured):
    ours = decode(latent, vae, tiling)
    theirs = decode(latent, core_vae, tiling, audio_vae=core_audio_vae)
    for what, one, other in zip(("frames", "waveform"), theirs, ours, strict=True):
        assert other.std() > 1e-3
        measured(f"ComfyUI's VAE in our decoder, tiling {tiling}: {what}", OURS, one, other, ROUNDING)
    if tiling == "custom":
        assert not torch.equal(theirs[0], decode(latent, core_vae, "off", audio_vae=core_audio_vae)[0])


def test_an_encoded_sound(run, model, vae, core_vae, core_audio_vae, texts, names, measured):
    audio = {"waveform": torch.randn(1, 2, 48000), "sample_rate": 48000}
    latent = []
    for picture, sound in ((vae, {}), (core_vae, {"audio_vae": core_audio_vae})):
        given, _ = run("SoundCondition", audio=audio, start=0.0, fps=FPS, **sound)
        inputs = {"model": model, "positive": texts[0], "negative": texts[1], "conditions": given, "vae": picture}
        stage = run("StageOneSampler", seed=10, noise_device="gpu", **names.size, **inputs)
        latent.append(latents.take(stage)[1])
    assert latent[0].std() > 1e-3
    measured("ComfyUI's audio VAE: a given sound, encoded", OURS, latent[1], latent[0], ROUNDING)


def test_a_sound_and_no_vae_that_encodes_it(run, model, core_vae, texts, names):
    given, _ = run(
        "SoundCondition", audio={"waveform": torch.randn(1, 2, 48000), "sample_rate": 48000}, start=0.0, fps=FPS
    )
    inputs = {"model": model, "positive": texts[0], "negative": texts[1], "conditions": given, "vae": core_vae}
    with pytest.raises(LTXError, match="audio_vae of the node that gives the sound or the film"):
        run("StageOneSampler", seed=10, noise_device="gpu", **names.size, **inputs)


def test_a_film_whose_sound_is_made_anew_asks_for_none(run, model, core_vae, texts, names):
    """Nothing is kept of its own sound; of a retake's there is."""
    sound = {"waveform": torch.randn(1, 2, 16000), "sample_rate": 16000}
    parts = Types.VideoComponents(images=torch.rand(9, 64, 128, 3), audio=sound, frame_rate=Fraction(25))
    source, common = InputImpl.VideoFromComponents(parts), {"vae": core_vae, "seed": 10, "noise_device": "gpu"}
    common |= {"model": model, "positive": texts[0], "negative": texts[1], **names.size}
    given = run("FilmSound", video=source)[0]
    made = latents.take(run("StageOneSampler", conditions=given, **common))
    assert torch.isfinite(made[1]).all() and made[1].std() > 0
    given = run("Retake", video=source, start=0.1, end=0.2, remake="picture and sound")[0]
    with pytest.raises(LTXError, match="audio_vae of the node that gives the sound or the film"):
        run("StageOneSampler", conditions=given, **common)


def test_encoded_images_and_upsampled_latents(
    run, model, stage_one, vae, core_vae, core_upsampler, texts, conditions, names, measured
):
    inputs = {"model": model, "positive": texts[0], "conditions": conditions}
    first = run("StageOneSampler", vae=core_vae, negative=texts[1], seed=10, noise_device="gpu", **names.size, **inputs)
    ours = stage_one(model)
    bare = stage_one(model, conditions=None)
    assert not torch.equal(latents.take(ours)[0], latents.take(bare)[0])
    larger = [
        run("LatentUpsampler", latent=ours, upsampler=upsampler, vae=each)
        for upsampler, each in (
            (core_upsampler, core_vae),
            (run("UpsamplerLoader", upsampler=names.upsampler), vae),
        )
    ]
    second = [run("StageTwoSampler", vae=each, latent=larger[1], **names.kept, **inputs) for each in (core_vae, vae)]
    for what, one, other in (("stage one", first, ours), ("upsampler", *larger), ("stage two", *second)):
        pairs = zip(latents.take(one), latents.take(other), strict=True)
        for stream, (a, b) in zip(("video", "audio"), pairs, strict=True):
            measured(f"ComfyUI's VAE and upsampler, {what}: {stream}", OURS, a, b, ROUNDING)


def test_streamed_weights(decode, short_latent, run, core_vae, core_audio_vae, core_upsampler, streaming):
    def made():
        larger = run("LatentUpsampler", latent=short_latent, upsampler=core_upsampler, vae=core_vae)
        return (*decode(short_latent, core_vae, audio_vae=core_audio_vae), latents.take(larger)[0])

    whole = made()
    streaming()
    try:
        for one, other in zip(made(), whole, strict=True):
            assert torch.equal(one, other)
        assert core_vae.patcher.model.decoder.conv_in.conv.comfy_cast_weights
    finally:
        for patcher in (core_vae.patcher, core_audio_vae.patcher, core_upsampler):
            patcher.detach()


def test_weights_and_statistics_are_the_objects_own(short_latent, run, core_vae, core_audio_vae, core_upsampler):
    """Whoever changes ComfyUI's object, a patch or another loader, changes what our nodes make."""
    video, audio = latents.take(short_latent)

    def frames():
        return video_vae(core_vae).video_decoder().load()(video)

    def waveform():
        vae = audio_vae(core_audio_vae)
        return vae.vocoder().load()(vae.audio_decoder().load()(audio))

    def larger():
        enlarged = run("LatentUpsampler", latent=short_latent, upsampler=core_upsampler, vae=core_vae)
        return latents.take(enlarged)[0]

    picture, sound = core_vae.first_stage_model, core_audio_vae.first_stage_model
    made = {make: make() for make in (frames, waveform, larger)}
    for number, (tensor, *acts_on) in enumerate((
        (picture.decoder.conv_out.conv.bias, frames),
        (picture.per_channel_statistics.get_buffer("mean-of-means"), frames, larger),
        (picture.per_channel_statistics.get_buffer("std-of-means"), frames, larger),
        (sound.autoencoder.decoder.conv_out.conv.bias, waveform),
        (sound.autoencoder.per_channel_statistics.get_buffer("mean-of-means"), waveform),
        (sound.vocoder.vocoder.act_post.act.alpha, waveform),
        (sound.vocoder.bwe_generator.ups[0].weight, waveform),
        (sound.vocoder.mel_stft.mel_basis, waveform),
        (core_upsampler.model.final_conv.bias, larger),
        (core_upsampler.model.res_blocks[0].norm1.weight, larger),
    )):  # fmt: skip
        with changed(tensor, lambda t: t.add_(0.3)):
            assert not any(torch.equal(make(), made[make]) for make in acts_on), number
    assert all(torch.equal(make(), before) for make, before in made.items())


def test_tensors_that_comfyui_exchanges(short_latent, core_vae):
    """As it does when it moves a module to another device."""
    network = video_vae(core_vae).video_decoder().load()
    video = latents.take(short_latent)[0]
    before = network(video)
    model = core_vae.first_stage_model
    for module, table, name in (
        (model.per_channel_statistics, "_buffers", "mean-of-means"),
        (model.decoder.conv_out.conv, "_parameters", "bias"),
    ):
        tensors = getattr(module, table)
        kept = tensors[name]
        tensors[name] = torch.nn.Parameter(kept + 0.3, requires_grad=False)
        assert not torch.equal(network(video), before), name
        tensors[name] = kept
    assert torch.equal(network(video), before)


def test_patches_of_the_patcher_act(decode, short_latent, core_vae, core_audio_vae):
    bias = core_vae.first_stage_model.decoder.conv_out.conv.bias
    patched = copy.copy(core_vae)
    patched.patcher = core_vae.patcher.clone()
    patched.patcher.add_patches({"decoder.conv_out.conv.bias": (torch.full_like(bias, 0.1),)})
    plain = decode(short_latent, core_vae, audio_vae=core_audio_vae)[0]
    brighter = decode(short_latent, patched, audio_vae=core_audio_vae)[0]
    patched.patcher.detach()
    assert (brighter - plain).mean() > 0.01
    assert torch.equal(decode(short_latent, core_vae, audio_vae=core_audio_vae)[0], plain)


def test_own_sound_gives_way_to_audio_vae(decode, short_latent, vae, core_vae, core_audio_vae):
    frames, sound = decode(short_latent, vae)
    bias = core_audio_vae.first_stage_model.autoencoder.decoder.conv_out.conv.bias
    with changed(bias, lambda t: t.add_(0.5)):
        images, other = decode(short_latent, vae, audio_vae=core_audio_vae)
    assert torch.equal(images, frames) and not torch.equal(other, sound)
    # The other way round: our sound beside ComfyUI's picture.
    assert all(
        torch.equal(a, b) for a, b in zip(decode(short_latent, core_vae, audio_vae=vae), (frames, sound), strict=True)
    )


def test_nothing_is_left_on_comfyuis_objects(decode, short_latent, names):
    """ComfyUI's own decoding goes on as before, and its modules die with their owner."""

    def traces(module):
        return {
            name: (sorted(each.__dict__), len(each._forward_hooks), len(each._forward_pre_hooks), type(each))
            for name, each in module.named_modules()
        }

    own = core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[2]
    samples = {"samples": latents.take(short_latent)[0]}
    before = core.VAEDecode().decode(own, samples)[0]
    seen = traces(own.first_stage_model)
    sound = LTXVAudioVAELoader.execute(names.checkpoint).args[0]
    decode(short_latent, own, audio_vae=sound)
    assert traces(own.first_stage_model) == seen
    assert torch.equal(core.VAEDecode().decode(own, samples)[0], before)
    models = [weakref.ref(each.first_stage_model) for each in (own, sound)]
    own = sound = None
    gc.collect()
    mm.cleanup_models()
    gc.collect()
    assert [model() for model in models] == [None, None]


def test_float16_is_computed_in_another_dtype_and_said(decode, nodes, short_latent, models, names, vae, monkeypatch):
    tensors, metadata = comfy.utils.load_torch_file(
        str(models / "checkpoints" / names.checkpoint), return_metadata=True
    )
    tensors = comfy.utils.state_dict_prefix_replace(tensors, {"vae.": ""}, filter_keys=True)
    half = comfy.sd.VAE(sd=tensors, metadata=metadata, dtype=torch.float16)
    assert half.first_stage_model.decoder.conv_in.conv.weight.dtype == torch.float16
    silent = latents.make(latents.take(short_latent)[0], None, latents.info_of(short_latent))
    dtypes = []
    kept = picture_decoding.first_that_fits
    monkeypatch.setattr(
        picture_decoding, "first_that_fits", lambda c, *rest: dtypes.append(c.compute_dtype) or kept(c, *rest)
    )
    done = nodes["LTXDuoAVDecode"].execute(latent=silent, vae=half, tiling="off", **names.tiles)
    assert dtypes[0] in (torch.bfloat16, torch.float32)
    (note,) = done.ui["text"]
    assert "float16" in note and "overflows" in note
    assert (done.args[1] - decode(silent, vae)[0]).abs().max() < 0.05


def test_broken_weights_are_named(decode, short_latent, core_vae, core_audio_vae):
    broken = core_vae.first_stage_model.decoder.up_blocks[0].res_blocks[0].conv1.conv.bias
    with (
        changed(broken, lambda t: t.fill_(float("nan"))),
        pytest.raises(LTXError, match=r"decoded video.*up_blocks\.0\.res_blocks\.0\.conv1\.conv\.bias"),
    ):
        decode(short_latent, core_vae, audio_vae=core_audio_vae)


def test_cancel(decode, short_latent, core_vae, core_audio_vae):
    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        decode(short_latent, core_vae, audio_vae=core_audio_vae)


def test_smaller_tiles_where_memory_runs_out(decode, latent, core_vae, core_audio_vae, monkeypatch):
    whole = decode(latent, core_vae, audio_vae=core_audio_vae)[0]
    tried = []
    decoded = decoding.two_stage.decode_video

    def scarce(decoder, video, way, reporter):
        tried.append(way)
        if way is None:
            raise torch.OutOfMemoryError("no memory left")
        return decoded(decoder, video, way, reporter)

    monkeypatch.setattr(decoding.two_stage, "decode_video", scarce)
    images = decode(latent, core_vae, "auto", audio_vae=core_audio_vae)[0]
    assert len(tried) == 2 and images.shape == whole.shape
