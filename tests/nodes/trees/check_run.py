"""Both stages through the nodes with the small model: streamed, with LoRAs, cancelled, continued, mixed with core's."""

import copy
import gc
import weakref

import comfy.model_management as mm
import pytest
import torch
from safetensors.torch import load_file

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import ConditioningError, GeometryError, LTXError
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.nodes.comfyui import compat, latents, memory, pipeline

CHECKPOINT = "ltx-2.3-small-dev.safetensors"
LORA = "ltx-2.3-small-distilled-lora.safetensors"
UPSAMPLER = "ltx-2.3-small-spatial-upscaler-x2.safetensors"
SIZE = {"width": 128, "height": 64, "frames": 9, "fps": 25.0, "steps": 2}
KEPT = {
    "noise": "continue stage one",
    "seed": 10,
    "audio": "stage one",
    "clean_background": True,
    "noise_device": "gpu",
}
TILES = {"tile_size": 64, "tile_overlap": 32, "tile_frames": 16, "tile_frame_overlap": 8}


@pytest.fixture(scope="module")
def run(nodes):
    """Executes a node by the end of its id and gives its outputs."""

    def execute(name: str, **inputs):
        outputs = nodes[f"LTXDuo{name}"].execute(**inputs).args
        return outputs[0] if len(outputs) == 1 else outputs

    return execute


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 70, 90, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(run):
    return run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")


@pytest.fixture
def with_lora(run, model):
    def add(one: float, two: float):
        return run("LoraLoader", model=model, lora=LORA, strength_stage_one=one, strength_stage_two=two)

    return add


@pytest.fixture(scope="module")
def vae(run):
    return run("VAELoader", checkpoint=CHECKPOINT, audio_file="same file")


@pytest.fixture(scope="module")
def encoder(run):
    return run("TextEncoderLoader", text_encoder="gemma-3-small", projection=CHECKPOINT, device="default")


@pytest.fixture(scope="module")
def texts(run, encoder):
    with torch.inference_mode():
        return run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")


@pytest.fixture(scope="module")
def conditions(run, image):
    return run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1)


@pytest.fixture
def stage_one(run, vae, texts, conditions):
    def sample(model, seed=10, **changes):
        inputs = {"conditions": conditions, "noise_device": "gpu", **SIZE, **changes}
        return run("StageOneSampler", model=model, vae=vae, positive=texts[0], negative=texts[1], seed=seed, **inputs)

    return sample


@pytest.fixture
def upsampled(run, vae, stage_one, model):
    upsampler = run("UpsamplerLoader", upsampler=UPSAMPLER)
    return run("LatentUpsampler", latent=stage_one(model), upsampler=upsampler, vae=vae)


@pytest.fixture
def stage_two(run, vae, texts, conditions):
    def sample(model, latent, **changes):
        inputs = {"conditions": conditions, **KEPT, **changes}
        return run("StageTwoSampler", model=model, vae=vae, positive=texts[0], latent=latent, **inputs)

    return sample


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(x, y) for x, y in zip(latents.take(a), latents.take(b), strict=True))


@pytest.fixture
def streaming(monkeypatch):
    """From here on every component streams all layers that it can, as under --novram."""

    def stream(models, **_):
        for patcher in models:
            patcher.detach()
            patcher.load(patcher.load_device, lowvram_model_memory=1)
            assert patcher.model.model_lowvram

    def start():
        monkeypatch.setattr(mm, "load_models_gpu", stream)

    return start


def test_loaders_read_no_weights(run, monkeypatch, with_lora):
    monkeypatch.setattr("comfy.utils.load_torch_file", lambda *a, **k: pytest.fail("weights were read"))
    run("VAELoader", checkpoint=CHECKPOINT, audio_file=CHECKPOINT)
    run("TextEncoderLoader", text_encoder="gemma-3-small.safetensors", projection=CHECKPOINT, device="cpu")
    run("UpsamplerLoader", upsampler=UPSAMPLER)
    assert not with_lora(0.5, 1.0).get_models()


def test_conditioned_frame_comes_out_bit_identical(model, vae, conditions, stage_one, stage_two, upsampled):
    for latent, size in ((stage_one(model), (64, 32)), (stage_two(model, upsampled), (128, 64))):
        stage = pipeline.Stage(model, 1, LatentGeometry(*size, 9, 25.0), conditions, pipeline.OFF, (("", ""), None))
        encoded = stage.encode_images(vae)[0].latent
        assert torch.equal(latents.take(latent)[0][:, :, :1], encoded)


def test_streamed_run_equals_whole_run(run, model, vae, stage_one, stage_two, upsampled, streaming):
    whole = stage_one(model), stage_two(model, upsampled)
    frames = run("AVDecode", latent=whole[1], vae=vae, tiling="off", **TILES)[1]
    streaming()
    fresh = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")
    assert same(stage_one(fresh), whole[0])
    assert same(stage_two(fresh, upsampled), whole[1])
    streamed = run("AVDecode", latent=whole[1], vae=vae, tiling="off", **TILES)[1]
    assert torch.equal(streamed, frames)


def test_streamed_lora_equals_laid_over_lora(run, stage_two, upsampled, streaming, with_lora):
    whole = latents.take(stage_two(with_lora(0.0, 1.0), upsampled))
    streaming()
    fresh = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")
    fresh = run("LoraLoader", model=fresh, lora=LORA, strength_stage_one=0.0, strength_stage_two=1.0)
    streamed = latents.take(stage_two(fresh, upsampled))
    plain = latents.take(stage_two(run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto"), upsampled))
    # Laid over, the sum is rounded to the file's bfloat16; streamed, it is not.
    difference = (streamed[0] - whole[0]).abs().max()
    assert difference < 0.02 * (plain[0] - whole[0]).abs().max() + 1e-2


def test_stage_one_never_sees_stage_twos_lora(model, stage_one, stage_two, upsampled, with_lora):
    plain_one, plain_two = stage_one(model), stage_two(model, upsampled)
    distilled = with_lora(0.0, 1.0)
    for _ in range(2):
        assert same(stage_one(distilled), plain_one)
        assert not same(stage_two(distilled, upsampled), plain_two)
    assert not same(stage_one(with_lora(0.7, 1.0)), plain_one)


def test_strength_zero_is_no_lora_also_after_a_run_with_it(model, stage_two, upsampled, with_lora):
    plain = stage_two(model, upsampled)
    assert same(stage_two(with_lora(1.0, 0.0), upsampled), plain)
    stage_two(with_lora(0.0, 1.0), upsampled)
    assert same(stage_two(with_lora(1.0, 0.0), upsampled), plain)
    assert same(stage_two(model, upsampled), plain)


def test_lora_changes_weights_by_its_product(models, model, with_lora):
    base = load_file(models / "checkpoints" / CHECKPOINT)
    pairs = load_file(models / "loras" / LORA)
    patched = with_lora(0.0, 0.8).stage(2).load().transformer.state_dict()
    changed = 0
    for key, down in pairs.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix("diffusion_model.").removesuffix(".lora_A.weight") + ".weight"
            weight = base[f"model.diffusion_model.{name}"]
            delta = 0.8 * (pairs[key.replace("lora_A", "lora_B")].float() @ down.float())
            expected = (weight.float() + delta).to(weight.dtype)
            ulp = weight.float().abs().max() * 2**-8
            assert (patched[name].float() - expected.float()).abs().max() <= ulp, name
            assert not torch.equal(patched[name], weight)
            changed += 1
    assert changed == len(pairs) // 2 > 50
    restored = model.stage(1).load().transformer.state_dict()
    assert all(torch.equal(restored[name], base[f"model.diffusion_model.{name}"]) for name in restored)


def test_stages_of_one_model_share_their_weights(with_lora):
    both = with_lora(0.0, 1.0)
    assert both.stage(1).patcher.model is both.stage(2).patcher.model
    assert both.stage(1) is not both.stage(2) and both.stage(2) is both.stage(2)
    same_strengths = with_lora(1.0, 1.0)
    assert same_strengths.stage(1) is same_strengths.stage(2)


def test_changed_loras_keep_nothing_of_the_old_ones(run, with_lora):
    first = with_lora(0.0, 1.0)
    first.stage(2)
    second = run("LoraLoader", model=first, lora=LORA, strength_stage_one=0.0, strength_stage_two=0.5)
    assert first.patched.parts and not second.patched.parts
    assert second.stage(2).patcher.model is first.stage(2).patcher.model


def test_fp8_weights_stay_close(run, stage_one, model):
    fp8 = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="fp8")
    assert fp8.stage(1).module.transformer.transformer_blocks[0].attn1.to_q.weight.dtype == torch.float8_e4m3fn
    a, b = latents.take(stage_one(fp8))[0], latents.take(stage_one(model))[0]
    assert (a - b).abs().max() > 0 and torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.9


PHASES = {
    "encoding prompt 1": lambda r: r["texts"](),
    pipeline.ENCODING: lambda r: r["one"](),
    pipeline.SAMPLING: lambda r: r["one"](),
    "upsampling": lambda r: r["upsample"](),
    "decoding picture": lambda r: r["decode"](),
    "decoding sound": lambda r: r["decode"](),
}


@pytest.mark.parametrize("phase", PHASES)
def test_cancel_stops_every_phase_and_the_next_run_is_sound(
    phase, monkeypatch, run, encoder, model, vae, stage_one, upsampled
):
    upsampler = run("UpsamplerLoader", upsampler=UPSAMPLER)
    first = stage_one(model)
    calls = {
        "texts": lambda: run("TextEncode", text_encoder=encoder, prompt="b", negative_prompt=""),
        "one": lambda: stage_one(model),
        "upsample": lambda: run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae),
        "decode": lambda: run("AVDecode", latent=upsampled, vae=vae, tiling="custom", **TILES),
    }
    seen = []

    def interrupt(text: str) -> None:
        seen.append(text)
        if text == phase:
            mm.interrupt_current_processing()

    with monkeypatch.context() as patched:
        patched.setattr(compat, "send_text", interrupt)
        with pytest.raises(mm.InterruptProcessingException):
            PHASES[phase](calls)
    assert seen[-1] == phase
    assert same(stage_one(model), first)


def test_inputs_are_not_written(model, texts, stage_one, stage_two, upsampled):
    before = copy.deepcopy((upsampled, texts))
    stage_two(model, upsampled)
    stage_one(model, latent=stage_one(model), sigmas=torch.tensor([0.7, 0.3, 0.0]))
    assert same(upsampled, before[0])
    assert all(torch.equal(a[0][0], b[0][0]) for a, b in zip(texts, before[1], strict=True))


def test_same_result_after_everything_was_dropped(run, model, vae, texts, conditions, stage_one):
    first = stage_one(model)
    engine = weakref.ref(model.stage(1).module)
    model.built.parts.clear()
    gc.collect()
    mm.cleanup_models()
    assert engine() is None
    assert same(stage_one(model), first)


def test_noise_continues_or_starts_anew(model, stage_one, stage_two, upsampled):
    continued = stage_two(model, upsampled)
    assert same(stage_two(model, upsampled, seed=99), continued)
    anew = stage_two(model, upsampled, noise="new seed", seed=99)
    assert not same(anew, continued)
    assert same(stage_two(model, upsampled, noise="new seed", seed=99), anew)
    # Another seed in stage one reaches stage two through the latent.
    other = {**upsampled, latents.KEY: stage_one(model, seed=11)[latents.KEY]}
    assert not same(stage_two(model, other), continued)


def test_noise_of_another_device_is_not_continued(model, stage_two, upsampled):
    info = upsampled[latents.KEY]
    moved = {**upsampled, latents.KEY: latents.StageInfo(info.fps, "cuda", torch.zeros(16, dtype=torch.uint8))}
    with pytest.raises(ConditioningError, match="noise_device"):
        stage_two(model, moved)
    stage_two(model, moved, noise="new seed")


def test_clean_background_reaches_the_engine(monkeypatch, model, stage_two, upsampled):
    given = []
    sample = two_stage.stage_two

    def stage(*arguments, clean_background, **settings):
        given.append(clean_background)
        return sample(*arguments, clean_background=clean_background, **settings)

    monkeypatch.setattr(two_stage, "stage_two", stage)
    stage_two(model, upsampled, clean_background=False)
    stage_two(model, upsampled, clean_background=True)
    assert given == [False, True]


def test_conditioning_after_the_connectors_gives_the_same_film(model, run, vae, texts, stage_one):
    module = model.stage(1).load()
    pairs = []
    for text in texts:
        contexts = model.contexts(module, (model.features(text), None), torch.float32, torch.device("cpu"))
        pairs.append([[torch.cat((contexts.video, contexts.audio), dim=-1), {}]])
    settings = {**SIZE, "seed": 10, "noise_device": "gpu"}
    connected = run("StageOneSampler", model=model, vae=vae, positive=pairs[0], negative=pairs[1], **settings)
    assert same(connected, stage_one(model, conditions=None))


def test_sound_of_the_chosen_stage(model, stage_two, upsampled):
    sound = latents.take(upsampled)[1]
    assert torch.equal(latents.take(stage_two(model, upsampled))[1], sound)
    refined = latents.take(stage_two(model, upsampled, audio="stage two"))
    assert not torch.equal(refined[1], sound)
    assert torch.equal(refined[0], latents.take(stage_two(model, upsampled))[0])


def test_latent_without_our_information_still_works(model, run, vae, texts, stage_two, upsampled):
    native = {"samples": upsampled["samples"]}
    timed = [[texts[0][0][0], {**texts[0][0][1], "frame_rate": 25.0}]]
    result = run(
        "StageTwoSampler", model=model, vae=vae, positive=timed, latent=native, conditions=None, **{**KEPT, "seed": 5}
    )
    expected = stage_two(model, upsampled, noise="new seed", seed=5, conditions=None)
    assert same(expected, result) and latents.fps_of(result) == 25.0


def test_latent_of_another_size_is_refused(model, stage_one, upsampled):
    with pytest.raises(GeometryError, match="64x32"):
        stage_one(model, latent=upsampled)


def test_image_beyond_the_end_is_refused_before_weights_are_read(run, image, stage_one):
    fresh = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")
    late = run("ImageCondition", image=image, frame=9, strength=1.0, crf=-1)
    with pytest.raises(ConditioningError, match="frame 9"):
        stage_one(fresh, conditions=late)
    assert not fresh.get_models()


def test_own_compression(run, image, model, stage_one):
    given = {crf: run("ImageCondition", image=image, frame=0, strength=1.0, crf=crf) for crf in (-1, 33, 50)}
    results = {crf: stage_one(model, conditions=conditions) for crf, conditions in given.items()}
    assert same(results[-1], results[33]) and not same(results[33], results[50])


def test_strength_zero_is_no_image(run, image, model, stage_one):
    none = run("ImageCondition", image=image, frame=0, strength=0.0, crf=-1)
    assert same(stage_one(model, conditions=none), stage_one(model, conditions=None))


def test_last_frame_counts_from_the_end(run, image, model, stage_one):
    last, eighth = (run("ImageCondition", image=image, frame=f, strength=1.0, crf=-1) for f in (-1, 8))
    assert same(stage_one(model, conditions=last), stage_one(model, conditions=eighth))
    assert not same(stage_one(model, conditions=last), stage_one(model, conditions=None))


def test_decode_gives_one_film_three_ways(run, model, vae, stage_two, upsampled):
    latent = stage_two(model, upsampled)
    video, images, audio = run("AVDecode", latent=latent, vae=vae, tiling="auto", **TILES)
    assert images.shape == (9, 64, 128, 3) and images.min() >= 0 and images.max() <= 1
    assert audio["sample_rate"] == 48000 and audio["waveform"].shape[:2] == (1, 2)
    components = video.get_components()
    assert components.images is images and components.audio is audio and float(components.frame_rate) == 25.0
    whole = run("AVDecode", latent=latent, vae=vae, tiling="off", **TILES)[1]
    assert torch.equal(images, whole)
    tiled = run("AVDecode", latent=latent, vae=vae, tiling="custom", **TILES)[1]
    assert tiled.shape == whole.shape and not torch.equal(tiled, whole)


def test_decode_goes_to_tiles_when_memory_is_short(run, model, vae, upsampled, monkeypatch):
    calls = []

    def decode(decoder, latent, tiling, reporter):
        calls.append(tiling)
        if tiling is None:
            raise torch.OutOfMemoryError("planted")
        return torch.zeros(9, 64, 128, 3)

    monkeypatch.setattr(two_stage, "decode_video", decode)
    monkeypatch.setattr(mm, "is_oom", lambda e: isinstance(e, torch.OutOfMemoryError), raising=False)
    run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **TILES)
    assert calls[0] is None and calls[1] is not None
    with pytest.raises(torch.OutOfMemoryError):
        run("AVDecode", latent=upsampled, vae=vae, tiling="off", **TILES)
    monkeypatch.setattr(mm, "get_free_memory", lambda *a: 1e5)
    calls.clear()
    run("AVDecode", latent=upsampled, vae=vae, tiling="auto", **TILES)
    assert calls[0] is not None


def test_latent_without_sound(run, model, vae, upsampled):
    silent = latents.make(latents.take(upsampled)[0], None, latents.info_of(upsampled))
    video, images, audio = run("AVDecode", latent=silent, vae=vae, tiling="auto", **TILES)
    assert audio is None and video.get_components().audio is None and len(images) == 9


def test_own_guidance_and_sigmas(run, model, stage_one):
    scales = {
        f"{m}_{n}": v for m in ("video", "audio") for n, v in (("cfg", 1), ("stg", 0), ("modality", 1), ("rescale", 0))
    }
    neutral = run("Guidance", preset="custom", stg_blocks="auto", skip_step=0, **scales)
    off = run("Guidance", preset="none", stg_blocks="auto", skip_step=0, **scales)
    assert same(stage_one(model, guidance=neutral), stage_one(model, guidance=off))
    assert not same(stage_one(model, guidance=off), stage_one(model))
    sigmas = model.default_sigmas(2)
    assert same(stage_one(model, sigmas=sigmas, steps=7), stage_one(model))


def test_text_encoders_file_and_folder_agree(run, encoder, texts):
    single = run("TextEncoderLoader", text_encoder="gemma-3-small.safetensors", projection=CHECKPOINT, device="cpu")
    again = run("TextEncode", text_encoder=single, prompt="a lake", negative_prompt="noise")
    for a, b in zip(texts, again, strict=True):
        assert torch.equal(a[0][0], b[0][0])


def test_result_that_is_not_finite_names_the_broken_weight(run, upsampled):
    fresh = run("VAELoader", checkpoint=CHECKPOINT, audio_file="same file")
    fresh.video_decoder().module.conv_out.conv.bias.data = torch.full_like(
        fresh.video_decoder().module.conv_out.conv.bias.data, float("nan")
    )
    with pytest.raises(LTXError, match="decoded video.*conv_out.conv.bias"):
        run("AVDecode", latent=upsampled, vae=fresh, tiling="off", **TILES)


def test_components_are_reused(model, stage_one, monkeypatch):
    stage_one(model)
    monkeypatch.setattr(memory, "build", lambda *a, **k: pytest.fail("built again"))
    stage_one(model)
