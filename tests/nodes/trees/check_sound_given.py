"""A sound that is given: frozen in both stages, travelling with the latent, and out again as it came."""

import math
from types import MappingProxyType

import comfy.model_management as mm
import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.errors import CheckpointError, ConditioningError, LTXError
from ltx_duo.ltx_core.sampling.conditions import GivenSound, encode_sound
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry
from ltx_duo.nodes.comfyui import compat, latent_files, latents, stage_run
from ltx_duo.nodes.sounds import sound_of

# Of the films here: 9 frames at 25 a second.
SECONDS = 9 / 25
GEOMETRY = LatentGeometry(64, 32, 9, 25.0)


def noise(seconds: float = 1.0, rate: int = 44100, channels: int = 2, seed: int = 0) -> dict:
    """An AUDIO."""
    waveform = torch.randn(1, channels, round(seconds * rate), generator=torch.Generator().manual_seed(seed)) * 0.1
    return {"waveform": waveform, "sample_rate": rate}


@pytest.fixture
def sound(run):
    """A chain of conditions with a sound."""

    def given(audio: dict | None, start: float = 0.0, fps: float = 25.0, **chain):
        return run("SoundCondition", audio=audio, start=start, fps=fps, **chain)[0]

    return given


@pytest.fixture
def decoded(run, vae, names):
    return lambda latent: run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)[2]


@pytest.fixture
def told(nodes, vae, texts, names):
    """What a sampler shows on itself after its run, below the line of figures, and the latent that it makes."""

    def sample(name: str, model, **inputs):
        one = name == "StageOneSampler"
        more = {"negative": texts[1], "seed": 10, "noise_device": "gpu", **names.size} if one else names.kept
        done = nodes[f"LTXDuo{name}"].execute(model=model, vae=vae, positive=texts[0], **{**more, **inputs})
        return done.ui["text"][1:], done.args[0]

    return sample


def expected_latent(vae, audio: dict, start: float = 0.0) -> torch.Tensor:
    sound = GivenSound(audio["waveform"][0], audio["sample_rate"], start)
    return encode_sound(vae.audio_encoder().load(), sound, GEOMETRY, dtype=torch.float32)


@pytest.mark.parametrize("in_both", [True, False], ids=["in both samplers", "in stage one alone"])
def test_the_sound_is_frozen_in_both_stages_and_comes_out_as_it_went_in(
    in_both, vae, model, sound, conditions, stage_one, stage_two, enlarged, decoded, watched, same
):
    audio = noise()
    given = sound(audio, start=0.25, conditions=conditions)
    expected = expected_latent(vae, audio, 0.25)
    first = stage_one(model, conditions=given)
    second = stage_two(model, enlarged(first), conditions=given if in_both else conditions)
    for latent in (first, second):
        assert torch.equal(latents.take(latent)[1], expected)
    for stage in watched:
        assert torch.equal(stage.audio.latent, expected) and stage.audio.frozen and stage.audio.noise_scale == 0
        assert len(stage.video.conditions) == 1
    begin = round(0.25 * 44100)
    for latent in (first, second):
        out = decoded(latent)
        assert out["sample_rate"] == 44100
        assert torch.equal(out["waveform"], audio["waveform"][..., begin : begin + round(SECONDS * 44100)])
    # It acts: the picture is another one, which the rest of the conditions keep.
    assert not same(first, stage_one(model, conditions=conditions))


def test_a_chain_has_kinds_in_any_order(run, sound, image):
    """Each node keeps what it was given, and changes nothing of it."""
    first = sound(noise())
    both = run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1, conditions=first)
    again = sound(noise(), conditions=run("ImageCondition", image=image, frame=0, strength=1.0, crf=-1))
    assert both.sound is first.sound and len(both.images) == len(again.images) == 1
    assert first.images == () and again.sound is not None


def test_another_sound_makes_another_picture(model, sound, stage_one):
    pictures = [latents.take(stage_one(model, conditions=sound(noise(seed=seed))))[0] for seed in (0, 1, 0)]
    assert torch.equal(pictures[0], pictures[2]) and not torch.equal(pictures[0], pictures[1])


def test_a_sound_that_came_with_the_latent_is_not_encoded_again(
    model, sound, stage_one, stage_two, enlarged, monkeypatch
):
    given = sound(noise())
    larger = enlarged(stage_one(model, conditions=given))
    monkeypatch.setattr(stage_run, "encode_sound", lambda *_, **__: pytest.fail("encoded again"))
    stage_two(model, larger, conditions=given)
    stage_two(model, larger, conditions=None, audio="stage two")


def test_another_sound_in_stage_two_counts_and_is_told(vae, model, sound, stage_one, enlarged, told, decoded):
    audio, other = noise(), noise(seed=1)
    made, free = (enlarged(stage_one(model, conditions=chain)) for chain in (sound(audio), None))
    for larger in (made, free):
        said, latent = told("StageTwoSampler", model, latent=larger, conditions=sound(other))
        assert len(said) == 1 and "without this sound, or to another" in said[0]
        assert torch.equal(latents.take(latent)[1], expected_latent(vae, other))
        assert torch.equal(decoded(latent)["waveform"], other["waveform"][..., : round(SECONDS * 44100)])
    assert told("StageTwoSampler", model, latent=made, conditions=sound(audio))[0] == []


def test_a_distilled_model_takes_a_sound_without_guidance(run, vae, texts, names, sound, watched):
    model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto", kind="distilled")
    inputs = {"model": model, "vae": vae, "positive": texts[0], "conditions": sound(noise()), "noise_device": "cpu"}
    latent = run("StageOneSampler", seed=1, **names.size, **inputs)
    assert len(watched[0].sigmas) == 9 and watched[0].audio.frozen
    assert torch.equal(latents.take(latent)[1], expected_latent(vae, noise()))


def test_a_sound_needs_no_negative_prompt_of_its_own(run, model, vae, texts, names, sound):
    """CFG of the sound alone asks for none when the sound is given."""
    scales = {
        f"{m}_{n}": v for m in ("video", "audio") for n, v in (("cfg", 1), ("stg", 0), ("modality", 1), ("rescale", 0))
    }
    guidance = run("Guidance", preset="custom", stg_blocks="auto", skip_step=0, **{**scales, "audio_cfg": 7})
    inputs = {"model": model, "vae": vae, "positive": texts[0], "guidance": guidance, "seed": 1, "noise_device": "cpu"}
    with pytest.raises(ConditioningError, match="negative"):
        run("StageOneSampler", **names.size, **inputs)
    run("StageOneSampler", **names.size, **inputs, conditions=sound(noise()))


class TestBadInput:
    @pytest.mark.parametrize("audio, start, words", [
        (None, 0, "holds no sound: the film that it comes from has none"),
        ({"samples": 1}, 0, "without a waveform"), (3, 0, "holds a int"),
        (noise(0.0), 0, r"empty, of shape \(2, 0\)"),
        (noise(channels=0), 0, "empty"),
        ({**noise(), "waveform": torch.zeros(2, 9)}, 0, r"shape \(2, 9\); expected \(1, channels, samples\)"),
        ({**noise(), "waveform": torch.zeros(2, 2, 900)}, 0, "2 sounds; a film has one"),
        ({**noise(), "waveform": torch.zeros(0, 2, 900)}, 0, "0 sounds"),
        ({**noise(), "waveform": torch.full((1, 2, 900), math.nan)}, 0, "not numbers"),
        ({**noise(), "waveform": torch.full((1, 2, 900), math.inf)}, 0, "not numbers"),
        ({**noise(), "waveform": torch.zeros(1, 2, 900, dtype=torch.int16)}, 0, "int16.*divide"),
        ({**noise(), "sample_rate": 0}, 0, "rate is 0, expected"), ({**noise(), "sample_rate": 44100.5}, 0, "44100.5"),
        ({**noise(), "sample_rate": "44100"}, 0, "rate is 44100, expected a whole number"),
        (noise(1.0), 1.0, "begin at second 1 of a sound that lasts 1.00 s"), (noise(1.0), 7.5, "second 7.5"),
    ])  # fmt: skip
    def test_what_is_no_sound_is_refused_on_its_node(self, sound, audio, start, words):
        with pytest.raises(ConditioningError, match=words):
            sound(audio, start=start)

    def test_one_film_has_one_sound(self, sound):
        with pytest.raises(ConditioningError, match="has a sound already"):
            sound(noise(), conditions=sound(noise(seed=1)))

    def test_a_sound_that_begins_after_the_film(self, run, names, sound, stage_one):
        fresh = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
        with pytest.raises(ConditioningError, match=r"begins 0.4 s after the film, which lasts 0.36 s"):
            stage_one(fresh, conditions=sound(noise(), start=-0.4))
        assert not fresh.get_models()

    @pytest.mark.parametrize("audio", [noise(rate=8000, channels=1), noise(channels=6), noise(channels=8),
                                       noise(channels=3), noise(rate=192000), noise(rate=44101), noise(0.05),
                                       {**noise(), "sample_rate": 44100.0}])  # fmt: skip
    def test_any_sound_works(self, model, sound, stage_one, decoded, audio):
        latent = stage_one(model, conditions=sound(audio))
        out, rate = decoded(latent), int(audio["sample_rate"])
        channels = audio["waveform"].shape[1]
        assert out["sample_rate"] == rate
        assert out["waveform"].shape == (1, min(channels, 2) if channels != 3 else 1, round(SECONDS * rate))
        if channels <= 2:
            whole = audio["waveform"][..., : round(SECONDS * rate)]
            assert torch.equal(out["waveform"][..., : whole.shape[-1]], whole)
            assert not out["waveform"][..., whole.shape[-1] :].any()

    def test_what_is_cut_or_filled_up_is_told(self, model, sound, told):
        said, _ = told("StageOneSampler", model, conditions=sound(noise(0.04)))
        assert len(said) == 1 and "ends after 0.04 s, the film after 0.36 s: silence" in said[0] and "1 fr" in said[0]
        said, _ = told("StageOneSampler", model, conditions=sound(noise(2.0)))
        assert len(said) == 1 and "ends after 0.36 s, 1.64 s before the sound" in said[0] and "57 frames" in said[0]
        silent = {**noise(0.36), "waveform": torch.zeros(1, 2, 15876)}
        said, _ = told("StageOneSampler", model, conditions=sound(silent))
        assert len(said) == 1 and "silent" in said[0]
        assert told("StageOneSampler", model, conditions=sound(noise(0.36)))[0] == []

    def test_a_start_latent_with_a_sound_of_its_own(self, vae, model, sound, stage_one, told):
        start = stage_one(model, seed=3, conditions=None)
        sigmas = torch.tensor([0.7, 0.0])
        said, latent = told("StageOneSampler", model, latent=start, sigmas=sigmas, conditions=sound(noise(0.36)))
        assert said == ["The sound of the connected latent gives way to the one of LTX Sound Condition."]
        assert torch.equal(latents.take(latent)[1], expected_latent(vae, noise(0.36)))

    @pytest.mark.parametrize("same_file", [True, False])
    def test_a_vae_without_an_encoder(self, run, names, rewritten, sound, model, texts, same_file):
        def drop(tensors, _):
            for name in [name for name in tensors if name.startswith("audio_vae.encoder.")]:
                del tensors[name]

        changed = rewritten("checkpoints", names.checkpoint, drop)
        files = {
            "checkpoint": changed if same_file else names.checkpoint,
            "audio_file": "same file" if same_file else changed,
        }
        vae = run("VAELoader", **files)
        with pytest.raises(CheckpointError, match="changed.safetensors has no audio VAE encoder"):
            inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], **names.size}
            run("StageOneSampler", seed=1, noise_device="cpu", conditions=sound(noise()), **inputs)

    def test_a_broken_encoder_is_told(self, run, names, model, texts, sound):
        vae = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
        weight = vae.audio_encoder().module.conv_out.conv.weight
        weight.data = torch.full_like(weight.data, math.nan)
        inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], **names.size}
        with pytest.raises(LTXError, match="encoded sound.*conv_out"):
            run("StageOneSampler", seed=1, noise_device="cpu", conditions=sound(noise()), **inputs)


@pytest.mark.parametrize(("rate", "inside"), [(8000, 8000), (44101, 48000), (192000, 48000)])
def test_a_video_can_be_saved_at_any_rate(run, model, vae, names, sound, stage_one, tmp_path, rate, inside):
    """AAC has few sampling rates; the output for sound keeps its own."""
    import av

    tone = {"waveform": torch.sin(torch.arange(rate) * 2 * math.pi * 440 / rate)[None, None] * 0.5, "sample_rate": rate}
    latent = stage_one(model, conditions=sound(tone))
    video, _, out = run("AVDecode", latent=latent, vae=vae, tiling="off", **names.tiles)
    assert out["sample_rate"] == rate
    video.save_to(str(tmp_path / "film.mp4"))
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.audio[0].rate == inside
    samples = video.get_components().audio["waveform"][0, 0]
    assert abs(samples.std() - 0.5 / math.sqrt(2)) < 0.02 and len(samples) == round(SECONDS * inside)


class TestFrames:
    @pytest.mark.parametrize("seconds, start, fps, frames", [
        (1.0, 0.0, 24.0, 25), (1.0, 0.5, 24.0, 17), (25 / 24, 0.0, 24.0, 25), (121 / 24, 0.0, 24.0, 121),
        (1.05, 0.0, 24.0, 33), (0.01, 0.0, 24.0, 1), (1.0, -1.0, 24.0, 49), (10.0, 0.0, 29.97, 305),
    ])  # fmt: skip
    def test_a_film_holds_the_whole_sound(self, run, seconds, start, fps, frames):
        assert run("SoundCondition", audio=noise(seconds, 48000, 1), start=start, fps=fps)[1] == frames
        # No fewer would hold it.
        assert frames / fps >= seconds - start - 1e-4 and (frames == 1 or (frames - 8) / fps < seconds - start)


def nested(*tensors):
    return compat.nested_tensor_class()(tensors)


class TestTravelling:
    def test_saved_and_loaded(self, model, sound, stage_one, stage_two, enlarged, decoded, same):
        given = sound(noise(channels=1), start=0.1)
        first = stage_one(model, conditions=given)
        place = latent_files.save(first, "latents/given", {})
        loaded = latent_files.load(f"{place['subfolder']}/{place['filename']} [output]")
        assert same(loaded, first)
        before, after = (decoded(latent) for latent in (first, loaded))
        assert before["sample_rate"] == after["sample_rate"] == 44100
        assert torch.equal(before["waveform"], after["waveform"]) and before["waveform"].shape[1] == 1
        ours = stage_two(model, enlarged(loaded), conditions=None)
        assert same(ours, stage_two(model, enlarged(first), conditions=given))

    @pytest.mark.parametrize("info, change, words", [
        ("no table", {}, "cannot be read"), ("[1]", {}, "no table"), ('{"sample_rate": "x"}', {}, "sample_rate.*'x'"),
        ('{"sample_rate": 5}', {}, "rate is 5"), ('{"sample_rate": 48000}', {"given_sound": None}, "is missing"),
        ('{"sample_rate": 48000}', {"given_sound": torch.zeros(2, 9).half()}, "type F16"),
        ('{"sample_rate": 48000}', {"given_sound": torch.zeros(9)}, "shape"),
        ('{"sample_rate": 48000}', {"given_sound": torch.full((1, 9), math.nan)}, "not numbers"),
    ])  # fmt: skip
    def test_a_strange_file(self, model, sound, stage_one, info, change, words):
        place = latent_files.save(stage_one(model, conditions=sound(noise())), "latents/given", {})
        name = f"{place['subfolder']}/{place['filename']} [output]"
        path = latent_files.path(name)
        tensors = {key: value for key, value in {**load_file(path), **change}.items() if value is not None}
        metadata = latent_files.SafetensorsFile.open(path).metadata
        save_file(tensors, path, {**metadata, latent_files.GIVEN_INFO: info})
        with pytest.raises(CheckpointError, match=words):
            latent_files.load(name)

    def test_a_sound_finds_its_waveform_after_a_join_and_loses_it_where_it_was_changed(
        self, model, sound, stage_one, decoded
    ):
        """Core's nodes put a picture and a sound together, whosever they are; a noise mask of 0 keeps any sound."""
        made, given = stage_one(model, conditions=None), stage_one(model, conditions=sound(noise()))
        samples = nested(latents.take(made)[0], latents.take(given)[1])
        joined = {**made, **given, "samples": samples}
        assert latents.sound_info(joined).waveform is latents.sound_info(given).waveform
        other = {**given, **made, "samples": nested(latents.take(given)[0], latents.take(made)[1])}
        assert latents.sound_info(other).waveform is None and decoded(other)["sample_rate"] == 48000
        louder = {**given, "samples": nested(latents.take(given)[0], latents.take(given)[1] * 1.5)}
        assert latents.sound_info(louder).waveform is None
        assert latents.sound_info({key: value for key, value in louder.items() if key != "noise_mask"}) is None

    def test_little_memory_travels(self, model, sound, stage_one):
        waveform = latents.sound_info(stage_one(model, conditions=sound(noise(20.0)))).waveform.waveform
        assert waveform.untyped_storage().nbytes() == waveform.nbytes == 2 * 4 * round(SECONDS * 44100)


def test_cancel_while_the_sound_is_encoded(model, sound, stage_one, monkeypatch, same):
    given = sound(noise())
    expected, shown = stage_one(model, conditions=given), []
    check = mm.throw_exception_if_processing_interrupted

    def interrupt():
        if shown and shown[-1] == stage_run.HEARING:
            shown.append("cancelled")
            mm.interrupt_current_processing()
        check()

    with monkeypatch.context() as patch:
        patch.setattr(compat, "send_text", shown.append)
        patch.setattr(mm, "throw_exception_if_processing_interrupted", interrupt)
        with pytest.raises(mm.InterruptProcessingException):
            stage_one(model, conditions=given)
    assert shown[-2:] == [stage_run.HEARING, "cancelled"]
    assert same(stage_one(model, conditions=given), expected)


def test_an_audio_of_another_kind_of_table():
    """VHS's LazyAudioMap is a Mapping, not a dict; some nodes give numpy's numbers."""
    given = sound_of(MappingProxyType({**noise(), "sample_rate": torch.tensor(44100)}), 0.0)
    assert given.waveform.shape == (2, 44100) and type(given.sample_rate) is int
