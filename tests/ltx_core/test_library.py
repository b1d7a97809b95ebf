"""The engine as a library: few names, quick to import, and a mismatch is an LTXError before anything is computed."""

import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo import ltx_core
from ltx_duo.ltx_core import (
    GivenImage,
    GivenSound,
    LatentGeometry,
    LoRA,
    LTXError,
    Request,
    StagedLoRA,
    generate,
    two_stage,
)
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.execution import precompile
from ltx_duo.ltx_core.execution.replicas import replicate
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.sampling.schedule import DISTILLED_STAGE_ONE
from ltx_duo.ltx_core.upsampler import LatentUpsampler
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.ltx_core.video_vae import Tiling
from ltx_duo.scripts.demo.server import GEMMA_270M
from ltx_duo.scripts.small_model_parts.write import write_small_model

PACK = Path(__file__).resolve().parents[2]
DEMO = PACK / "demo_model" / "files"
CHECKPOINT = DEMO / "checkpoints" / "ltx-2.3-demo-dev.safetensors"
UPSAMPLER = DEMO / "latent_upscale_models" / "ltx-2.3-demo-spatial-upscaler-x2.safetensors"
LORA = DEMO / "loras" / "ltx-2.3-demo-distilled-lora.safetensors"
SIZE = LatentGeometry(128, 64, 9, 24.0)


@pytest.fixture(scope="module")
def components():
    return load_components(CHECKPOINT, GEMMA_270M, UPSAMPLER, dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> tuple[Path, ...]:
    """Checkpoint, upsampler, LoRA, Gemma and another file of a model of other sizes."""
    return tuple(write_small_model(tmp_path_factory.mktemp("small"), PACK / ".local" / "tokenizer", 0))


@pytest.fixture(autouse=True)
def computes_nothing(request, monkeypatch):
    if "computes" not in request.fixturenames:
        monkeypatch.setattr(two_stage, "encode_prompt", lambda *_: pytest.fail("something was computed"))


@pytest.fixture
def computes():
    """Asked for by tests that may compute."""


class TestNames:
    def test_every_name_is_there(self):
        assert {name: getattr(ltx_core, name).__name__ for name in ltx_core.__all__} == {n: n for n in ltx_core.__all__}

    def test_other_names_are_not(self):
        with pytest.raises(AttributeError, match="generat"):
            _ = ltx_core.generat

    def test_importing_the_package_imports_nothing_else(self):
        code = "import sys, ltx_core; print(*(name for name in ('torch', 'numpy', 'av') if name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], cwd=PACK, capture_output=True, text=True, check=True)
        assert done.stdout.split() == []


class TestRequests:
    def test_a_size_of_stage_one_is_not_a_final_one(self):
        with pytest.raises(LTXError, match="width is 96, expected a multiple of 64.*use 64 or 128"):
            Request("", LatentGeometry(96, 64, 9, 24.0))

    @pytest.mark.parametrize("steps", [0, -1])
    def test_no_steps(self, steps):
        with pytest.raises(LTXError, match=f"steps is {steps}, expected at least 1"):
            Request("", SIZE, steps=steps)

    def test_images_stand_within_the_film(self):
        with pytest.raises(LTXError, match="placed at frame 9, but the video has 9"):
            Request("", SIZE, images=[GivenImage(torch.zeros(8, 8, 3), frame=9)])

    def test_a_sound_is_heard_within_the_film(self):
        late = GivenSound(torch.zeros(2, 48000), 48000, start=-0.375)
        with pytest.raises(LTXError, match="begins 0.375 s after the film"):
            Request("", SIZE, sound=late)

    @pytest.mark.parametrize("seed", [-1, 2**64])
    def test_a_seed_that_no_generator_takes(self, seed):
        with pytest.raises(LTXError, match=f"seed is {seed}, expected"):
            Request("", SIZE, seed=seed)

    @pytest.mark.parametrize("values, words", [
        ({"strength": 1.5}, "image strength is 1.5, expected"), ({"strength": torch.nan}, "image strength is nan"),
        ({"crf": -5}, "crf is -5, expected 0"), ({"crf": 52}, "crf is 52, expected 0"),
    ])  # fmt: skip
    def test_an_image_is_kept_and_compressed_as_can_be(self, values, words):
        with pytest.raises(LTXError, match=words):
            GivenImage(torch.zeros(8, 8, 3), **values)

    def test_steps_are_said_once(self):
        with pytest.raises(LTXError, match=r"steps is 3, but the 3 stage_one_sigmas make 2 steps\. Leave one of"):
            Request("", SIZE, steps=3, stage_one_sigmas=torch.tensor([1.0, 0.5, 0.0]))

    def test_sigmas_that_cannot_be_followed(self):
        with pytest.raises(LTXError, match="do not fall"):
            Request("", SIZE, stage_two_sigmas=torch.tensor([0.5, 0.9, 0.0]))

    def test_a_distilled_model_has_its_own_steps(self):
        distilled = variant_of(Kind.DISTILLED)
        with pytest.raises(LTXError, match="steps is 30, but a distilled model has its own 8"):
            Request("", SIZE, steps=30).filled(distilled)
        for steps in (None, 8):
            sigmas = Request("", SIZE, steps=steps).filled(distilled).stage_one_sigmas
            assert sigmas.tolist() == pytest.approx(DISTILLED_STAGE_ONE)


class TestFiles:
    def test_a_gemma_of_another_width(self, small_model):
        with pytest.raises(LTXError, match=r"takes 12,160 values a token, but the text encoder in .* gives .* Choose"):
            load_components(CHECKPOINT, small_model[3], UPSAMPLER, device="cpu")

    def test_a_file_in_the_place_of_another(self):
        with pytest.raises(LTXError, match="has no transformer: it holds latent upsampler. Choose"):
            load_components(UPSAMPLER, GEMMA_270M, CHECKPOINT, device="cpu")

    def test_a_download_that_is_not_finished(self, tmp_path):
        path = tmp_path / UPSAMPLER.name
        weights = {name: torch.zeros_like(tensor) for name, tensor in load_file(UPSAMPLER).items()}
        with safe_open(UPSAMPLER, "pt") as file:
            save_file(weights, path, file.metadata())
        path.with_suffix(".safetensors.part").touch()
        with pytest.raises(LTXError, match="holds nothing but zeros, and .*The download is not finished"):
            load_component(Checkpoint.open(path), Component.UPSAMPLER)

    @pytest.mark.parametrize("device", ["cuda:99", "toaster"])
    def test_a_device_that_is_not_there(self, device):
        with pytest.raises(LTXError, match=f"device is '{device}', which cannot be used here .* Use 'cuda'"):
            load_components(CHECKPOINT, GEMMA_270M, UPSAMPLER, device=device)

    def test_a_further_device_that_is_not_there(self):
        with pytest.raises(LTXError, match="device is 'cuda:99', which cannot be used here"):
            load_components(CHECKPOINT, GEMMA_270M, UPSAMPLER, device="cpu", more_devices=["cuda:99"])

    @pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
    def test_a_dtype_that_nothing_is_computed_in(self, dtype):
        with pytest.raises(LTXError, match=f"dtype is {dtype}, expected"):
            load_components(CHECKPOINT, GEMMA_270M, UPSAMPLER, dtype=dtype, device="cpu")


class TestComponents:
    def test_one_on_another_device(self, components):
        with torch.device("meta"):
            upsampler = LatentUpsampler(components.upsampler.params)
        with pytest.raises(LTXError, match=r"upsampler's .* is torch.float32 on meta, expected torch.float32 on cpu"):
            generate(replace(components, upsampler=upsampler), Request("", SIZE))

    def test_one_of_another_dtype(self, components):
        upsampler = LatentUpsampler(components.upsampler.params).bfloat16()
        with pytest.raises(LTXError, match="upsampler's .* is torch.bfloat16 on cpu, expected torch.float32"):
            generate(replace(components, upsampler=upsampler), Request("", SIZE))

    def test_replicas_of_something_else(self, components, small_model):
        coarse = replicate(components.transformer, "cpu").bfloat16()
        with pytest.raises(LTXError, match="replica of the transformer's .* is torch.bfloat16 on cpu, expected"):
            generate(replace(components, replicas=(coarse,)), Request("", SIZE))
        other = load_component(Checkpoint.open(small_model[0]), Component.TRANSFORMER, dtype=torch.float32)
        with pytest.raises(LTXError, match="replica on cpu is not of the same transformer"):
            generate(replace(components, replicas=(other,)), Request("", SIZE))
        decoder = load_component(Checkpoint.open(small_model[0]), Component.VIDEO_DECODER, dtype=torch.float32)
        with pytest.raises(LTXError, match="replica on cpu is not of the same video decoder"):
            generate(replace(components, decoder_replicas=(decoder,)), Request("", SIZE))

    def test_a_copy_of_the_transformer_on_each_further_device(self, components):
        loaded = load_components(
            CHECKPOINT, GEMMA_270M, UPSAMPLER, dtype=torch.float32, device="cpu", more_devices=["cpu", "cpu"]
        )
        for replica in loaded.replicas:
            assert replica is not loaded.transformer
            for own, other in zip(components.transformer.parameters(), replica.parameters(), strict=True):
                assert torch.equal(own, other)
        for replica in loaded.decoder_replicas:
            assert replica is not loaded.video_decoder
            for own, other in zip(components.video_decoder.parameters(), replica.parameters(), strict=True):
                assert torch.equal(own, other)
        assert len(loaded.replicas) == len(loaded.decoder_replicas) == 2

    def test_the_device_that_they_are_said_to_be_on(self, components):
        with pytest.raises(LTXError, match="text encoder's .* on cpu, expected torch.float32 on cuda"):
            generate(replace(components, device=torch.device("cuda")), Request("", SIZE))

    def test_a_sound_without_what_encodes_it(self, components):
        request = Request("", SIZE, sound=GivenSound(torch.zeros(2, 48000), 48000))
        with pytest.raises(LTXError, match="no audio VAE encoder. Load them from a checkpoint that has one"):
            generate(replace(components, audio_encoder=None), request)

    def test_an_upsampler_of_another_factor(self, components):
        params = replace(components.upsampler.params, spatial_scale=type(components.upsampler.params.spatial_scale)(4))
        with pytest.raises(LTXError, match="enlarges by 4 in width and height; stage two expects twice"):
            generate(replace(components, upsampler=LatentUpsampler(params)), Request("", SIZE))

    def test_parts_of_two_models(self, components, small_model):
        checkpoint, upsampler, _, gemma, _ = small_model
        other = load_components(checkpoint, gemma, upsampler, dtype=torch.float32, device="cpu")
        for name in ("text_encoder", "audio_connector", "transformer"):
            with pytest.raises(LTXError, match=r"text projection gives .* expected one width\. Load all three"):
                generate(replace(components, **{name: getattr(other, name)}), Request("", SIZE))

    def test_a_block_that_is_not_there(self, components):
        guidance = replace(variant_of(Kind.DEV).guidance, stg_blocks=(99,))
        with pytest.raises(LTXError, match=r"STG blocks \[99\] do not exist: the model has"):
            generate(components, Request("", SIZE, guidance=guidance))

    @pytest.mark.parametrize("kind, texts", [(Kind.DEV, 2), (Kind.DISTILLED, 1)])
    def test_a_negative_prompt_is_encoded_where_guidance_needs_it(self, components, kind, texts, monkeypatch, computes):
        encode, seen = two_stage.encode_prompt, []
        monkeypatch.setattr(two_stage, "encode_prompt", lambda *a: seen.append(a[2]) or encode(*a))
        sigmas = torch.tensor([1.0, 0.0])
        request = Request("A red circle.", SIZE, stage_one_sigmas=sigmas, stage_two_sigmas=sigmas)
        generate(replace(components, variant=variant_of(kind)), request)
        assert len(seen) == texts

    def test_kernels_are_compiled_before_a_stage_also_where_gradients_are_on(self, components, monkeypatch):
        compiled = Future()
        compiled.set_result(None)
        monkeypatch.setattr(precompile, "can_fuse", lambda tokens: True)
        monkeypatch.setattr(precompile, "compile_transformer", lambda *a: seen.append(a[0]) or compiled)
        seen = []
        assert torch.is_grad_enabled()
        precompile.finish_transformer(components.transformer, torch.float32, torch.device("cpu"))
        assert seen == [components.transformer.params]


class TestLoRAs:
    def test_one_of_another_model(self, components, small_model):
        lora = StagedLoRA(LoRA.open(small_model[2]), stage_one=0.0, stage_two=1.0)
        with pytest.raises(LTXError, match=r"is a LoRA of another model .* Use a LoRA that was made for"):
            generate(components, Request("", SIZE), loras=[lora])

    def test_each_stage_has_its_own_strength(self, components, monkeypatch, computes):
        """The transformer's weights in each stage, and afterwards, are those of its file with the LoRA's products."""
        lora, seen = LoRA.open(LORA), []
        name = lora.target_names()[0]
        weight, (down, up, scale) = components.transformer.get_submodule(name).weight, lora.factors()[name]
        original, product = weight.detach().clone(), scale * up.float() @ down.float()
        sample = two_stage.sample_stage

        def watched(*arguments, **options):
            seen.append(weight.detach() - original)
            return sample(*arguments, **options)

        monkeypatch.setattr(two_stage, "sample_stage", watched)
        generate(components, Request("", SIZE, steps=1), loras=[StagedLoRA(lora, stage_one=0.25, stage_two=1.0)])
        torch.testing.assert_close(seen[0], 0.25 * product, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(seen[1], product, atol=1e-6, rtol=1e-4)
        assert torch.equal(weight, original)
        assert product.abs().max() > 1e-4

    def test_replicas_have_it_too(self, components, monkeypatch, computes):
        """Two devices make the film of one, from weights that all have the LoRA and afterwards none has."""
        lora, request = LoRA.open(LORA), Request("A red circle.", SIZE, steps=2, seed=4, tiling=Tiling(64, 32, 16, 0))
        loras = [StagedLoRA(lora, stage_one=0.25, stage_two=1.0)]
        replica, decoder = replicate(components.transformer, "cpu"), replicate(components.video_decoder, "cpu")
        decoded = []
        decoder.register_forward_pre_hook(lambda *_: decoded.append(True))
        weight = replica.get_submodule(lora.target_names()[0]).weight
        original, seen = weight.detach().clone(), []
        forward = type(replica).forward

        def watched(model, *arguments):
            if model is replica:
                seen.append(torch.equal(weight, original))
            return forward(model, *arguments)

        monkeypatch.setattr(type(replica), "forward", watched)
        found = generate(replace(components, replicas=(replica,), decoder_replicas=(decoder,)), request, loras=loras)
        assert seen == [False, False]  # both steps of stage one
        assert torch.equal(weight, original) and decoded
        expected = generate(components, request, loras=loras)
        assert (found.frames - expected.frames).abs().max() < 1e-3
        torch.testing.assert_close(found.waveform, expected.waveform, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("made_for, named", [(Generation.V2_0, True), (Generation.V2_3, False)])
    def test_one_for_another_generation_is_named(self, components, made_for, named, caplog, monkeypatch):
        """Its layers may have the same sizes, so it runs: a warning, as in the nodes."""
        lora = replace(LoRA.open(LORA), made_for=(made_for, "its name says so"))

        def begun(*_):
            raise InterruptedError

        monkeypatch.setattr(two_stage, "encode_prompt", begun)
        with pytest.raises(InterruptedError), caplog.at_level("WARNING"):
            generate(components, Request("", SIZE), loras=[StagedLoRA(lora, 0.0, 1.0)])
        assert ("is for LTX-2.0 (its name says so), but the model is LTX-2.3" in caplog.text) == named


class TestImages:
    @pytest.mark.parametrize(
        "image, words",
        [
            (torch.zeros(3, 32, 48), r"\(3, 32, 48\), expected \(height, width, 3\)"),
            (torch.zeros(1, 32, 48, 3), r"\(1, 32, 48, 3\), expected \(height, width, 3\)"),
            (torch.zeros(32, 48, 4), r"\(32, 48, 4\), expected"),
            (torch.zeros(0, 48, 3), r"\(0, 48, 3\), expected"),
            (torch.zeros(32, 48, 3, dtype=torch.uint8), "torch.uint8, expected floats in 0..1: divide"),
        ],
    )
    def test_what_is_no_picture(self, components, image, words):
        with pytest.raises(LTXError, match=words):
            generate(components, Request("", SIZE, images=[GivenImage(image)]))

    def test_without_pyav_compression_is_refused_at_once(self, components, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(LTXError, match=r"Compressing an image \(crf=0 .*\) needs PyAV: pip install av"):
            generate(components, Request("", SIZE, images=[GivenImage(torch.zeros(32, 48, 3))]))

    def test_an_image_is_compressed_as_the_model_learned_it(self, components, monkeypatch, computes):
        from ltx_duo.ltx_core.sampling.conditions import images

        used = []
        monkeypatch.setattr(images, "compress", lambda image, crf: used.append(crf) or image)
        given = [GivenImage(torch.rand(32, 48, 3)), GivenImage(torch.rand(32, 48, 3), frame=8, crf=0)]
        generate(components, Request("", SIZE, steps=1, images=given))
        assert used == [33, 0, 33, 0]  # in both stages


def test_a_result_says_its_rates(components, computes):
    result = generate(components, Request("A red circle.", SIZE, steps=1))
    assert (result.fps, result.sample_rate) == (24.0, 48000)
    assert result.frames.shape == (9, 64, 128, 3)
    assert result.waveform.shape[2] / 48000 == pytest.approx(9 / 24, abs=0.05)
