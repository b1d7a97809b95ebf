"""A reference voice in our samplers against ComfyUI's LTXVReferenceAudio: tokens, the model's answer, the guidance."""

from dataclasses import replace

import comfy.latent_formats
import pytest
import torch

from ltx_duo.ltx_core.errors import ConditioningError
from ltx_duo.ltx_core.sampling import denoiser
from ltx_duo.ltx_core.sampling.conditions import Voice
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.ltx_core.sampling.guidance import towards_identity
from ltx_duo.ltx_core.sampling.patchify import patchify_audio, patchify_video
from ltx_duo.ltx_core.sampling.stage import Stage, Start, begin
from ltx_duo.ltx_core.transformer.inputs import GuidancePass
from ltx_duo.nodes.comfyui import latents

THEIRS = "ComfyUI's LTXVReferenceAudio"
GEOMETRY = LatentGeometry(64, 32, 9, 25.0)


def spoken(seconds: float = 2.0, rate: int = 16000, channels: int = 2) -> dict:
    """An AUDIO."""
    return {"waveform": torch.randn(1, channels, round(seconds * rate)) * 0.1, "sample_rate": rate}


@pytest.fixture
def voice(run):
    return lambda audio, scale=3.0, **chain: run("ReferenceVoice", audio=audio, scale=scale, **chain)


@pytest.fixture
def told(nodes):
    def say(audio: dict) -> str:
        done = nodes["LTXDuoReferenceVoice"].execute(audio=audio, scale=3.0)
        return "\n".join((done.ui or {}).get("text", []))

    return say


@pytest.fixture
def lt():
    """ComfyUI's nodes for LTX-2; older ones have none for a voice."""
    if not hasattr(comfy.latent_formats, "LTXAV"):
        pytest.skip("this ComfyUI has no audio-video model")
    from comfy_extras import nodes_lt

    if not hasattr(nodes_lt, "LTXVReferenceAudio"):
        pytest.skip("this ComfyUI has no reference voice")
    return nodes_lt


@pytest.fixture
def theirs(names):
    import nodes as core

    return core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[0]


def test_both_stages_hear_it(model, vae, voice, stage_one, stage_two, enlarged, watched, same):
    given = voice(spoken())
    first = stage_one(model, conditions=given)
    second = stage_two(model, enlarged(first), conditions=given)
    for stage, scale in zip(watched, (3.0, 0.0), strict=True):
        (heard,) = stage.audio.conditions
        assert isinstance(heard, Voice) and abs(heard.appended_tokens - 50) <= 1
        assert stage.guidance.identity == scale
    for latent in (first, second):
        assert latents.take(latent)[1].shape[2] == 9
    assert not same(first, stage_one(model, conditions=voice(spoken())))
    assert not same(first, stage_one(model, conditions=voice(spoken(), scale=0.0)))
    assert not same(first, stage_one(model, conditions=None))


def test_the_pass_more_is_counted(model, vae, voice, nodes, texts, names):
    def figures(scale: float) -> str:
        inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1, **names.size}
        given = voice(spoken(), scale=scale)
        done = nodes["LTXDuoStageOneSampler"].execute(**inputs, noise_device="cpu", conditions=given)
        return done.ui["text"][0]

    assert "5 passes" in figures(3.0) and "4 passes" in figures(0.0)


def test_its_own_vae_encodes_it(run, lt, names, model, voice, stage_one, watched, measured, vae):
    audio_vae = lt.__dict__.get("LTXVAudioVAELoader")
    if audio_vae is None:
        from comfy_extras import nodes_lt_audio

        audio_vae = nodes_lt_audio.LTXVAudioVAELoader
    loaded = audio_vae.execute(names.checkpoint).args[0]
    audio = spoken()
    stage_one(model, conditions=voice(audio, audio_vae=loaded))
    stage_one(model, conditions=voice(audio))
    (one,), (other,) = (stage.audio.conditions for stage in watched)
    measured("reference voice, latent of either VAE", "LTX VAE Loader", one.latent, other.latent, 1e-4)


def test_the_model_answers_as_theirs(lt, theirs, model, texts, measured):
    """Velocities of both streams, with the tokens in front and with none."""
    component = model.stage(1)
    transformer = component.load(0).transformer
    latent = torch.randn(1, 8, 12, 16)
    stage = Stage(GEOMETRY, torch.tensor([1.0, 0.0]), audio=Start(conditions=(Voice(latent),)))
    state = begin(stage, torch.Generator().manual_seed(1), dtype=torch.float32)
    sigma = torch.tensor([0.7])
    contexts = model.contexts((model.features(texts[0]), None), component, 0, 1)
    words = GuidancePass("cond", contexts.video, contexts.audio)
    positions = [modality.positions for modality in state.modalities]
    inputs = [
        denoiser._model_input(modality, sigma, rope, None)
        for modality, rope in zip(state.modalities, transformer.rope_tables(*positions), strict=True)
    ]
    own = GEOMETRY.audio_frames
    network = theirs.model.diffusion_model.float()
    video, audio = state.latents()
    context = torch.cat((contexts.video, contexts.audio), dim=-1)
    for what, ref_audio, given in (
        ("", {"tokens": patchify_audio(latent)}, inputs),
        (", without it", None, [inputs[0], _cut(transformer, state, inputs[1], own)]),
    ):
        made = transformer(*given, [words])[0]
        expected = network.forward(
            [video.clone(), audio.clone()], (sigma, sigma), context, None, frame_rate=25.0, transformer_options={},
            ref_audio=ref_audio,
        )  # fmt: skip
        measured(f"reference voice, video velocity{what}", THEIRS, made[0], patchify_video(expected[0]), 2e-5)
        measured(f"reference voice, audio velocity{what}", THEIRS, made[1][:, :own], patchify_audio(expected[1]), 2e-5)


def _cut(transformer, state, audio, own: int):
    rope = transformer.rope_tables(None, state.audio.positions[:, :, :own])[1]
    return replace(audio, tokens=audio.tokens[:, :own], timesteps=audio.timesteps[:, :own], rope=rope)


def test_the_guidance_is_theirs(lt, theirs, monkeypatch, measured):
    class Encoder:
        audio_sample_rate = 16000

        def encode(self, waveform):
            return torch.randn(1, 8, 5, 16)

    import comfy.samplers

    changed, *_ = lt.LTXVReferenceAudio.execute(theirs, [], [], spoken(), Encoder(), 3.0, 0.0, 1.0).args
    guide = changed.model_options["sampler_post_cfg_function"][-1]
    guided, cond, without = (torch.randn(1, 9, 128) for _ in range(3))
    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", lambda *_: (without,))
    expected = guide({
        "denoised": guided, "cond_denoised": cond, "cond": [], "sigma": torch.tensor([0.5]), "model": None,
        "model_options": {}, "input": None,
    })  # fmt: skip
    measured("reference voice, guidance", THEIRS, towards_identity(guided, cond, without, 3.0), expected, 1e-6)


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (None, "holds no sound"),
        (spoken(0.1), "lasts 0.10 s, expected at least 0.5 s"),
        ({"waveform": torch.zeros(2, 1, 16000), "sample_rate": 16000}, "holds 2 sounds"),
    ],
)
def test_what_is_no_voice_is_refused(voice, audio, words):
    with pytest.raises(ConditioningError, match=words):
        voice(audio)


def test_two_voices_are_refused(voice):
    with pytest.raises(ConditioningError, match="a reference voice already"):
        voice(spoken(), conditions=voice(spoken()))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.6, "lasts 0.6 s"), (5, None), (12, "lasts 12.0 s"), (60, "first 20 s are read")]
)
def test_short_and_long_voices_are_told(told, seconds, words):
    said = told(spoken(seconds))
    assert (words in said) if words else not said


def test_a_silent_voice_is_told(told):
    assert "is silent" in told({"waveform": torch.zeros(1, 1, 16000 * 5), "sample_rate": 16000})


def test_no_voice_in_a_sound_that_is_given(run, model, voice, stage_one):
    sound = run("SoundCondition", audio=spoken(), start=0.0, fps=25.0)[0]
    with pytest.raises(ConditioningError, match="the voice changes nothing"):
        stage_one(model, conditions=voice(spoken(), conditions=sound))
