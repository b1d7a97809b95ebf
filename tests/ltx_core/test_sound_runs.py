"""Sound alone, from files to a waveform: what is read, what is sampled, and what is refused before anything is."""

import math
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core import sound_only
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.execution import precompile
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading import load_component, load_sound_transformer
from ltx_duo.ltx_core.loading_components import load_sound_components
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.ltx_core.sampling.conditions import GivenSound, GivenVoice
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, OFF, Guidance, ModalityGuidance
from ltx_duo.ltx_core.sound_only import SoundRequest, generate_sound
from ltx_duo.ltx_core.transformer.sound_only import of_sound
from ltx_duo.ltx_core.variants import MODEL_VARIANTS, Kind, variant_of
from ltx_duo.scripts.demo.server import GEMMA_270M
from ltx_duo.tests.ltx_core.test_two_stage import described

DEMO = Path(__file__).resolve().parents[2] / "demo_model" / "files"
CHECKPOINT = DEMO / "checkpoints" / "ltx-2.3-demo-dev.safetensors"
SIGMAS = torch.tensor([1.0, 0.6, 0.2, 0.0])


@pytest.fixture(scope="module")
def components():
    return load_sound_components(CHECKPOINT, GEMMA_270M, dtype=torch.float32, device="cpu")


def request_of(prompt: str = "A large red circle moves to the right.", **options) -> SoundRequest:
    return SoundRequest(prompt, **{"seconds": 0.6, "steps": 2, **options})


def rewritten(path: Path, change) -> Path:
    """The miniature's checkpoint with other tensors: `change(name, tensor)`, None takes one out."""
    with safe_open(CHECKPOINT, "pt") as file:
        metadata = file.metadata()
    changed = {name: change(name, tensor) for name, tensor in load_file(CHECKPOINT).items()}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path, metadata)
    return path


def video_key(name: str) -> bool:
    """Whether a tensor of the file is of the transformer's video layers, of its attention between both, or of a VAE or
    connector that makes pictures."""
    inner = name.removeprefix("model.diffusion_model.")
    if name.startswith("vae.") or inner.startswith("video_embeddings_connector."):
        return True
    return inner != name and "connector" not in inner and not of_sound(inner)


class TestRequests:
    @pytest.mark.parametrize("record", MODEL_VARIANTS.values(), ids=lambda own: f"{own.generation} {own.kind}")
    def test_what_is_left_open_is_as_the_model_has_it(self, record):
        filled = SoundRequest("", 5.0).filled(record)
        assert filled.guidance == record.guidance and filled.negative_prompt == record.negative_prompt
        assert torch.equal(filled.sigmas, record.stage_one_schedule())
        assert described(filled.sampler) == described(record.samplers(10)[0])

    def test_what_is_said_stays(self):
        said = SoundRequest("a", 5.0, negative_prompt="", seed=0, guidance=OFF, sigmas=SIGMAS, sampler=len)
        filled = said.filled(variant_of(Kind.DISTILLED))
        assert (filled.negative_prompt, filled.seed, filled.guidance, filled.sampler) == ("", 0, OFF, len)
        assert torch.equal(filled.sigmas, SIGMAS)

    def test_the_block_that_is_left_open_is_that_of_the_generation(self):
        open_block = Guidance(audio=ModalityGuidance(stg=1.0))
        filled = SoundRequest("", 5.0, guidance=open_block).filled(variant_of(Kind.DEV, Generation.V2_0))
        assert filled.guidance.blocks(48) == {29}

    @pytest.mark.parametrize(("values", "words"), [
        ({"seed": -1}, "seed is -1, expected"), ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"steps": 0}, "steps is 0, expected at least 1"), ({"steps": 5, "sigmas": SIGMAS}, "4 sigmas make 3 steps"),
        ({"sigmas": SIGMAS.flip(0)}, "do not fall"),
    ])  # fmt: skip
    def test_what_no_model_makes(self, values, words):
        with pytest.raises(LTXError, match=words):
            SoundRequest("", 5.0, **values)

    def test_a_distilled_model_has_its_own_steps(self):
        with pytest.raises(LTXError, match="distilled model has its own 8. Leave steps out, or give sigmas"):
            SoundRequest("", 5.0, steps=30).filled(variant_of(Kind.DISTILLED))


class TestFiles:
    def test_nothing_of_the_picture_is_read(self, tmp_path, components):
        """A file whose video weights are NaN, all of them, makes the same sound; one with a NaN of the sound's none."""
        path = rewritten(tmp_path / CHECKPOINT.name, lambda n, t: torch.full_like(t, torch.nan) if video_key(n) else t)
        with pytest.raises(LTXError, match="holds NaN or infinity"):
            load_component(Checkpoint.open(path), Component.TRANSFORMER)
        blind = load_sound_components(path, GEMMA_270M, dtype=torch.float32, device="cpu")
        ours, expected = blind.transformer.state_dict(), components.transformer.state_dict()
        assert ours.keys() == expected.keys() and all(torch.equal(ours[name], expected[name]) for name in ours)
        made = generate_sound(blind, request_of())
        assert torch.equal(made.waveform, generate_sound(components, request_of()).waveform)

        end = "audio_attn1.to_q.weight"
        path = rewritten(tmp_path / "bad.safetensors", lambda n, t: t * torch.nan if n.endswith(end) else t)
        with pytest.raises(LTXError, match=f"Weight transformer_blocks.0.{end} in .* holds NaN"):
            load_sound_transformer(Checkpoint.open(path))

    def test_the_sounds_layers_are_those_of_the_whole_transformer(self, components):
        whole = load_component(Checkpoint.open(CHECKPOINT), Component.TRANSFORMER, dtype=torch.float32)
        state, own = whole.state_dict(), components.transformer.state_dict()
        assert list(own) == [name for name in state if of_sound(name)]
        assert all(torch.equal(own[name], state[name]) for name in own)
        left = {name.split(".")[2 if name.startswith("transformer_blocks.") else 0] for name in own}
        assert all(part.startswith("audio_") for part in left) and "audio_to_video_attn" not in left

    def test_official_names(self, official_tensors):
        names = official_tensors("transformer")
        own = [name for name in names if of_sound(name)]
        assert len(own) == 1457
        assert sum(math.prod(names[name]) for name in own) == 3_286_408_320

    def test_layers_in_float8(self, tmp_path, components):
        """The layers beside a scale that lies in the file under names of its own."""

        def scaled(name: str, tensor: torch.Tensor):
            return tensor.to(torch.float8_e4m3fn) if scaled_name(name) else tensor

        path = rewritten(tmp_path / "fp8.safetensors", scaled)
        tensors = load_file(path)
        scales = {f"{n.removesuffix('weight')}weight_scale": torch.tensor(0.5) for n in tensors if scaled_name(n)}
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(tensors | scales, path, metadata)
        module = load_sound_transformer(Checkpoint.open(path), dtype=torch.float32)
        plain = components.transformer.transformer_blocks[0].audio_attn1.to_q.weight
        expected = plain.to(torch.float8_e4m3fn).float() * 0.5
        assert torch.equal(module.transformer_blocks[0].audio_attn1.to_q.weight, expected)

    def test_a_file_that_lacks_a_layer_of_the_sound(self, tmp_path):
        end = "1.audio_ff.net.2.bias"
        path = rewritten(tmp_path / "short.safetensors", lambda n, t: None if n.endswith(end) else t)
        with pytest.raises(LTXError, match=f"1 missing of .* tensors .transformer_blocks.{end}"):
            load_sound_transformer(Checkpoint.open(path))

    def test_a_file_without_a_part(self, tmp_path):
        path = rewritten(tmp_path / "mute.safetensors", lambda n, t: None if n.startswith("vocoder.") else t)
        with pytest.raises(LTXError, match="has no vocoder: it holds"):
            load_sound_components(path, GEMMA_270M, device="cpu")

    def test_a_dtype_that_nothing_is_computed_in(self):
        with pytest.raises(LTXError, match="dtype is torch.int8, expected"):
            load_sound_components(CHECKPOINT, GEMMA_270M, dtype=torch.int8, device="cpu")


def scaled_name(name: str) -> bool:
    return name.endswith("audio_attn1.to_q.weight")


class TestRuns:
    def test_a_sound(self, components):
        made = generate_sound(components, request_of(steps=4))
        assert made.sample_rate == 48000 and made.latent.shape == (1, 8, 15, 16)
        assert made.waveform.shape[:2] == (1, 2) and made.waveform.shape[2] / 48000 == pytest.approx(0.6, abs=0.05)
        assert made.waveform.isfinite().all() and made.waveform.std() > 1e-3

    def test_prompts_and_seed_count(self, components):
        latents = [
            generate_sound(components, request).latent
            for request in (
                request_of(), request_of(), request_of(seed=11), request_of("A dog."), request_of(negative_prompt="hm"),
            )
        ]  # fmt: skip
        assert torch.equal(latents[0], latents[1])
        assert all((latents[0] - other).abs().max() > 1e-3 for other in latents[2:])

    def test_a_voice_counts(self, components):
        voice = GivenVoice(GivenSound(torch.randn(1, 16000) * 0.1, 16000), scale=2.0)
        voices = (voice, replace(voice, scale=0.0), None)
        led, shown, plain = (generate_sound(components, request_of(voice=own)).latent for own in voices)
        for one, other in ((led, shown), (shown, plain)):
            assert one.shape == other.shape and (one - other).abs().max() > 1e-3
        with pytest.raises(LTXError, match="gives a voice, but the components have no audio VAE encoder"):
            generate_sound(replace(components, audio_encoder=None), request_of(voice=voice))

    @pytest.mark.parametrize(("guidance", "texts"), [(None, 2), (OFF, 1), (Guidance(video=LTX_2_3_DEV.video), 1)])
    def test_a_negative_prompt_is_encoded_where_the_sound_needs_it(self, components, guidance, texts, monkeypatch):
        encode, seen = sound_only.encode_prompt, []
        monkeypatch.setattr(sound_only, "encode_prompt", lambda *a: seen.append(a[2]) or encode(*a))
        generate_sound(components, request_of(guidance=guidance))
        assert len(seen) == texts

    def test_what_does_not_fit_is_refused_before_anything_is_computed(self, components, monkeypatch):
        monkeypatch.setattr(sound_only, "encode_prompt", lambda *_: pytest.fail("something was computed"))
        with pytest.raises(LTXError, match="text encoder's .* on cpu, expected torch.float32 on cuda"):
            generate_sound(replace(components, device=torch.device("cuda")), request_of())
        with pytest.raises(LTXError, match=r"STG blocks \[99\] do not exist"):
            generate_sound(components, request_of(guidance=replace(LTX_2_3_DEV, stg_blocks=(99,))))

    def test_kernels_are_compiled_before_it_is_made(self, components, monkeypatch):
        compiled, seen = Future(), []
        compiled.set_result(None)
        monkeypatch.setattr(precompile, "can_fuse", lambda tokens: True)
        monkeypatch.setattr(precompile, "compile_transformer", lambda *a: seen.append(a) or compiled)
        precompile.finish_transformer(components.transformer, torch.float32, torch.device("cpu"))
        assert seen == [(components.transformer.params, torch.float32, torch.device("cpu"), False)]


class TestLoRAs:
    @pytest.fixture
    def lora(self, tmp_path, components, rng):
        """Makes a LoRA of rank 2 for layers of the transformer and of the audio connector."""

        def make(*layers: str) -> LoRA:
            widths = {"audio": components.transformer.params.audio.width, "": components.transformer.params.video.width}
            tensors = {}
            for layer in layers:
                width = widths["audio" if "audio" in layer else ""]
                for part, shape in (("lora_A", (2, width)), ("lora_B", (width, 2))):
                    tensors[f"diffusion_model.{layer}.{part}.weight"] = torch.randn(shape, generator=rng)
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
            save_file(tensors, path)
            return LoRA.open(path)

        return make

    def test_it_is_laid_over_what_makes_sound(self, components, lora, caplog):
        plain = generate_sound(components, request_of()).latent
        sound, video = "transformer_blocks.0.audio_attn1.to_q", "transformer_blocks.0.attn1.to_q"
        connector = "audio_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
        own = lora(sound, video)
        with caplog.at_level("WARNING"):
            alone = generate_sound(components, request_of(), loras=[(own, 1.0)]).latent
        assert (alone - plain).abs().max() > 1e-3 and not caplog.text
        assert torch.equal(plain, generate_sound(components, request_of(), loras=[(own, 0.0)]).latent)
        text = generate_sound(components, request_of(), loras=[(lora(connector), 1.0)]).latent
        assert (text - plain).abs().max() > 1e-3
        assert torch.equal(plain, generate_sound(components, request_of()).latent)

    def test_one_for_the_picture_alone_is_refused(self, components, lora, monkeypatch):
        monkeypatch.setattr(sound_only, "encode_prompt", lambda *_: pytest.fail("something was computed"))
        with pytest.raises(LTXError, match="changes no layer of the sound: take it out"):
            own = lora("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.audio_to_video_attn.to_q")
            generate_sound(components, request_of(), loras=[(own, 1.0)])

    def test_layers_that_nothing_has_are_named(self, components, lora, caplog):
        own = lora("transformer_blocks.0.audio_attn1.to_q", "transformer_blocks.99.audio_attn1.to_q")
        with caplog.at_level("WARNING"):
            generate_sound(components, request_of(), loras=[(own, 1.0)])
        assert "of layers that this model does not have" in caplog.text


def test_it_is_a_library_of_its_own():
    """The names of the package suffice."""
    code = (
        "from ltx_core import SoundRequest, generate_sound, load_sound_components; print(SoundRequest('', 1).seconds)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DEMO.parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
