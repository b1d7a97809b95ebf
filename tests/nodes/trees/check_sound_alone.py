"""A sound without a picture, from prompt to AUDIO: the engine's own numbers, its layers alone, and what is refused."""

from dataclasses import replace

import comfy.latent_formats
import pytest
import torch

from ltx_duo.ltx_core import SoundRequest, generate_sound
from ltx_duo.ltx_core.errors import ConditioningError, GeometryError, LTXError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading_components import load_sound_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.sampling.geometry import SoundGeometry
from ltx_duo.ltx_core.sampling.guidance import OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE
from ltx_duo.ltx_core.transformer.sound_only import of_sound
from ltx_duo.nodes.comfyui import handles, latents, memory, stage_info, stage_run

SECONDS = 0.36  # as the small film


@pytest.fixture
def sampled(nodes, texts):
    """Runs LTX Sound Sampler: its LATENT, and what it says on the node."""

    def sample(model, **changes):
        inputs = {"positive": texts[0], "negative": texts[1], "seconds": SECONDS, "steps": 2, "seed": 10}
        done = nodes["LTXDuoSoundSampler"].execute(model=model, noise_device="cpu", **{**inputs, **changes})
        return done.args[0], "\n".join((done.ui or {}).get("text", []))

    return sample


@pytest.fixture
def sound(sampled):
    return lambda model, **changes: sampled(model, **changes)[0]


@pytest.fixture(scope="session")
def engine(models, names):
    checkpoint, gemma = models / "checkpoints" / names.checkpoint, models / "text_encoders" / "gemma-3-small"
    return load_sound_components(checkpoint, gemma, dtype=torch.float32, device="cpu")


@pytest.fixture
def expected(engine):
    """The engine's own sound of the same prompts."""

    def make(loras=(), **changes):
        asked = {"prompt": "a lake", "negative_prompt": "noise", "seconds": SECONDS, "steps": 2, "seed": 10, **changes}
        return generate_sound(engine, SoundRequest(**asked), loras=loras)

    return make


def test_the_sound_is_the_engines(model, vae, run, sound, expected, measured):
    latent, made = sound(model), expected()
    measured("Sound alone through the nodes", "the library", latent["samples"], made.latent, 1e-5)
    audio = run("SoundDecode", latent=latent, audio_vae=vae)
    measured("its waveform", "the library", audio["waveform"], made.waveform, 1e-4)
    assert audio["sample_rate"] == made.sample_rate
    assert abs(audio["waveform"].shape[-1] / made.sample_rate - SECONDS) < 0.04 and audio["waveform"].std() > 1e-4


def test_a_loras_layers_of_sound_act_as_the_library_lays_them(with_lora, models, sampled, expected, measured, names):
    lora = LoRA.open(models / "loras" / names.lora)
    plain, strong = expected(), expected(loras=[(lora, 0.7)])
    latent, said = sampled(with_lora(0.7, 0.0))
    measured("Sound alone with a LoRA", "the library", latent["samples"], strong.latent, 1e-5)
    assert (strong.latent - plain.latent).abs().max() > 1e-2 * plain.latent.abs().max()
    assert "changes no layer" not in said
    off, _ = sampled(with_lora(0.0, 1.0))
    measured("Sound alone, the LoRA off", "the library", off["samples"], plain.latent, 1e-5)


def test_a_lora_of_pictures_is_told(model, models, names, sampled, same):
    lora = LoRA.open(models / "loras" / names.lora).fitted(model.weight_shapes())
    pictures = lora.only([name for name in lora.layers if not of_sound(name)])
    latent, said = sampled(model.with_lora(handles.LoraUse(pictures, (1.0, 1.0))))
    assert f"{names.lora} changes no layer of the sound" in said
    assert torch.equal(latent["samples"], sampled(model)[0]["samples"])


def test_only_the_layers_of_sound_are_made_ready(model, with_lora, sound, monkeypatch):
    loaded = []
    whole = memory.load_together
    monkeypatch.setattr(memory, "load_together", lambda parts, need: (loaded.extend(parts), whole(parts, need)))
    sound(model)
    networks = [part.module for part in loaded]
    assert [sorted(name for name, _ in own.named_children()) for own in networks] == [
        ["audio_connector"],
        ["transformer"],
    ]
    held = [name for name, _ in networks[1].transformer.named_parameters()]
    assert held and all(map(of_sound, held))
    assert set(model.built.parts) == {"sound", "sound connector"}
    sound(with_lora(1.0, 1.0))
    assert all(
        of_sound(name)
        for part in loaded
        for name, _ in getattr(part.module, "transformer", torch.nn.Module()).named_parameters()
    )


@pytest.mark.parametrize("weight_dtype", ["bf16", "fp8"])
def test_in_other_dtypes_too(run, names, sound, model, weight_dtype):
    """Rounding of weights changes little of a sound."""
    other = sound(run("ModelLoader", checkpoint=names.checkpoint, weight_dtype=weight_dtype))["samples"]
    own = sound(model)["samples"]
    assert 0 <= (other - own).std() < 0.5 * own.std() and torch.isfinite(other).all()


def test_seed_steps_and_length_count(model, sound):
    first = sound(model)
    assert first["samples"].shape == (1, 8, 9, 16)
    assert torch.equal(first["samples"], sound(model)["samples"])
    for change in ({"seed": 11}, {"steps": 3}, {"guidance": OFF}, {"sampler": "res_2s"}, {"schedule": "distilled"}):
        assert not torch.equal(first["samples"], sound(model, **change)["samples"]), change
    assert sound(model, seconds=1.0)["samples"].shape[2] == 25


def test_a_schedule_of_ones_own(model, sampled):
    sigmas = torch.tensor(DISTILLED_STAGE_ONE)
    own, said = sampled(model, sigmas=sigmas)
    assert torch.equal(own["samples"], sampled(model, schedule="distilled")[0]["samples"])
    assert said.startswith("8 steps x 3 passes") and "no effect" not in said
    assert "no effect" in sampled(model, sigmas=sigmas, schedule="distilled")[1]
    assert "begins with noise alone" in sampled(model, sigmas=torch.tensor([0.7, 0.3, 0.0]))[1]
    assert "keeps noise" in sampled(model, sigmas=torch.tensor([1.0, 0.3]))[1]


@pytest.mark.parametrize("guidance, passes", [(None, 3), (OFF, 1), (Guidance(audio=ModalityGuidance(modality=3.0)), 1)])
def test_passes_are_counted(model, sampled, guidance, passes):
    """Prompt, negative prompt and STG; there is no other modality to be isolated from."""
    assert sampled(model, guidance=guidance)[1].startswith(f"2 steps x {passes} pass")


def test_without_the_negative_prompt_cfg_is_refused_before_weights_are_read(model, sound):
    with pytest.raises(ConditioningError, match="negative"):
        sound(model, negative=None)
    assert not model.built.parts
    sound(model, negative=None, guidance=Guidance(video=ModalityGuidance(cfg=3.0)))  # of a picture that is not there


def test_long_sounds_and_rates_of_frames_are_told(model, sampled, texts):
    said = sampled(model, seconds=21.0, steps=1, guidance=OFF)[1]
    assert "about 20 s; 21 s" in said
    timed = [[texts[0][0][0], {**texts[0][0][1], "frame_rate": 24.0}]]
    assert "'positive' asks for 24 frames a second" in sampled(model, positive=timed)[1]


def test_a_text_that_has_been_through_the_connectors(model, sampled, texts, with_lora):
    pairs = []
    for text in texts:
        contexts = model.contexts((model.features(text), None), model.stage(1), 0, 1)
        pairs.append([[torch.cat((contexts.video, contexts.audio), dim=-1), {}]])
    connected = sampled(model, positive=pairs[0], negative=pairs[1])[0]
    assert torch.equal(connected["samples"], sampled(model)[0]["samples"])


def test_a_voice(model, vae, run, sampled, monkeypatch):
    from ltx_duo.tests.watching import watch_stages

    watched = watch_stages(monkeypatch, stage_run)
    audio = {"waveform": torch.randn(1, 2, 32000) * 0.1, "sample_rate": 16000}
    given = run("ReferenceVoice", audio=audio, scale=2.0, audio_vae=vae)
    latent, said = sampled(model, conditions=given)
    assert latent["samples"].shape == (1, 8, 9, 16) and said.startswith("2 steps x 4 passes")
    (voice,) = watched[-1].audio.conditions
    assert abs(voice.appended_tokens - 50) <= 1 and watched[-1].guidance.identity == 2.0
    assert not torch.equal(latent["samples"], sampled(model)[0]["samples"])
    with pytest.raises(ConditioningError, match="audio_vae of LTX Reference Voice"):
        sampled(model, conditions=run("ReferenceVoice", audio=audio, scale=2.0))


def test_the_voices_tokens_count_in_what_memory_is_asked_for(model, vae, run, sampled, monkeypatch):
    asked, whole = [], stage_run.memory_estimates.sound_transformer
    monkeypatch.setattr(stage_run.memory_estimates, "sound_transformer", lambda *how: asked.append(how) or whole(*how))
    audio = {"waveform": torch.randn(1, 2, 32000) * 0.1, "sample_rate": 16000}
    for given, extra in ((None, 0), (run("ReferenceVoice", audio=audio, scale=2.0, audio_vae=vae), 50)):
        asked.clear()
        sampled(model, conditions=given)
        assert {how[1] for how in asked} == {SoundGeometry(9)} and all(abs(how[3] - extra) <= 1 for how in asked)


def given_kinds(run, image):
    audio = {"waveform": torch.randn(1, 2, 16000) * 0.1, "sample_rate": 16000}
    yield "LTX Image Condition", run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1)
    yield "LTX Sound Condition", run("SoundCondition", audio=audio, start=0.0, fps=25.0)[0]


def test_what_belongs_to_a_film_is_refused(model, sound, run, image):
    for node, given in given_kinds(run, image):
        with pytest.raises(ConditioningError, match=node):
            sound(model, conditions=given)
    assert not model.built.parts


def test_core_decodes_it_alike(model, vae, run, sound, names, measured):
    core = pytest.importorskip("comfy_extras.nodes_lt_audio")
    theirs = core.LTXVAudioVAELoader.execute(names.checkpoint).args[0]
    latent = sound(model)
    heard = core.LTXVAudioVAEDecode.execute(latent, theirs).args[0]
    for audio_vae in (vae, theirs):
        audio = run("SoundDecode", latent=latent, audio_vae=audio_vae)
        measured("Sound alone, decoded", "ComfyUI's LTXVAudioVAEDecode", audio["waveform"], heard["waveform"], 1e-3)
        assert audio["sample_rate"] == heard["sample_rate"]


def test_cores_own_latents_of_sound(model, vae, run, stage_one, names):
    """Taken out of a film, or empty."""
    film = stage_one(model)
    sound = latents.take(film)[1]
    together = run("SoundDecode", latent=film, audio_vae=vae)
    alone = run("SoundDecode", latent={"samples": sound, "type": "audio"}, audio_vae=vae)
    assert torch.equal(together["waveform"], alone["waveform"])
    decoded = run("AVDecode", latent=film, vae=vae, tiling="off", **names.tiles)[2]
    assert torch.equal(together["waveform"], decoded["waveform"])
    run("SoundDecode", latent={"samples": torch.zeros(1, 8, 5, 16)}, audio_vae=vae)


def test_a_sound_that_was_given_comes_out_as_it_was(model, vae, run, stage_one, names):
    audio = {"waveform": torch.rand(1, 2, 8000) - 0.5, "sample_rate": 16000}
    film = stage_one(model, conditions=run("SoundCondition", audio=audio, start=0.0, fps=25.0)[0])
    heard = run("AVDecode", latent=film, vae=vae, tiling="off", **names.tiles)[2]
    alone = {**film, "samples": latents.take(film)[1]}  # as LTXVSeparateAVLatent leaves it
    for latent in (film, alone):
        own = run("SoundDecode", latent=latent, audio_vae=vae)
        assert own["sample_rate"] == 16000 and torch.equal(own["waveform"], heard["waveform"])


def test_what_has_no_sound_is_refused(model, vae, run, stage_one, sound):
    film = stage_one(model)
    for samples, words in (
        (latents.take(film)[0], "no sound"),
        (torch.zeros(1, 4, 8, 8), "expected"),
        (torch.zeros(2, 8, 9, 16), "batch of 2"),
    ):
        with pytest.raises(GeometryError, match=words):
            run("SoundDecode", latent={"samples": samples}, audio_vae=vae)
    with pytest.raises(LTXError, match="LTXVAudioVAELoader"):
        run("SoundDecode", latent=sound(model), audio_vae=object())


def test_of_another_generation_it_is_refused(model, vae, run, sound):
    latent = sound(model)
    other = latents.make_sound(latent["samples"], Generation.V2_0)
    with pytest.raises(VariantError, match="LTX-2.0"):
        run("SoundDecode", latent=other, audio_vae=vae)
    assert stage_info.maker_of(latent, latent["samples"]) is Generation.V2_3
    assert stage_info.of_others(latent) == {"type": "audio"}


def test_nodes_for_pictures_say_what_to_do_with_it(model, vae, run, sound, stage_two, names):
    latent = sound(model)
    with pytest.raises(GeometryError, match="LTX Sound Decode"):
        stage_two(model, latent)
    with pytest.raises(GeometryError, match="LTX Sound Decode"):
        run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)


def test_progress_ends_and_a_cancel_stops_it(model, sound, monkeypatch):
    import comfy.model_management as mm
    import comfy.utils

    shown = []
    monkeypatch.setattr(
        comfy.utils.ProgressBar, "update_absolute", lambda _, value, total, *__: shown.append(value / total)
    )
    sound(model)
    assert shown == sorted(shown) and shown[-1] == 1.0 and len(shown) >= 2
    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        sound(model)


def test_streamed_weights_give_the_same_sound(model, sound, streaming):
    expected = sound(model)
    streaming()
    fresh = replace(model, built=handles.Built(), patched=handles.Built())
    assert torch.equal(sound(fresh)["samples"], expected["samples"])


def test_ltx_2_0(run, models, sampled, measured):
    name = "ltx-2.0-small-dev.safetensors"
    model = run("ModelLoader", checkpoint=name, weight_dtype="auto")
    encoder = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=name, device="default")
    texts = run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")
    latent, _ = sampled(model, positive=texts[0], negative=texts[1])
    files = models / "checkpoints" / name, models / "text_encoders" / "gemma-3-small"
    parts = load_sound_components(*files, dtype=torch.float32, device="cpu")
    made = generate_sound(parts, SoundRequest("a lake", SECONDS, negative_prompt="noise", steps=2))
    measured("Sound alone of LTX-2.0", "the library", latent["samples"], made.latent, 1e-5)
    audio = run("SoundDecode", latent=latent, audio_vae=run("VAELoader", checkpoint=name, audio_file="same file"))
    assert audio["sample_rate"] == 24000
    measured("its waveform, LTX-2.0", "the library", audio["waveform"], made.waveform, 1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_a_model_of_comfyuis_own(model, sampled, run, names, with_lora, measured, strength):
    """Its layers lie together: all of them are made ready, and the node says so."""
    if not hasattr(comfy.latent_formats, "LTXAV"):
        pytest.skip("this ComfyUI has no audio-video model")
    import nodes as core

    theirs = core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[0]
    if strength:
        theirs = run("LoraLoader", model=theirs, lora=names.lora, strength_stage_one=strength, strength_stage_two=0.0)
    latent, said = sampled(theirs)
    ours, quiet = sampled(with_lora(strength, 0.0))
    measured("Sound alone, ComfyUI's MODEL", "LTX Model Loader", latent["samples"], ours["samples"], 1e-5)
    assert "LTX Model Loader" in said and "LTX Model Loader" not in quiet
