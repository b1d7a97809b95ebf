"""ComfyUI's own MODEL in our samplers: the same films as from our loader, and the MODEL stays as it was."""

import gc
import json
import weakref
from fractions import Fraction

import comfy.latent_formats
import comfy.model_management as mm
import comfy.ops
import comfy.sd
import pytest
import torch
from comfy_api.latest import InputImpl, Types

from ltx_duo.ltx_core.execution.graphs import _weights
from ltx_duo.ltx_core.kernels.fp8_linear import converts
from ltx_duo.ltx_core.sampling.guidance import OFF
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.nodes.comfyui import core_layers, core_model, latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

import nodes as core

OURS = "the same file through LTX Model Loader"


@pytest.fixture
def load(names):
    """What CheckpointLoaderSimple gives as MODEL."""

    def make(name: str = names.checkpoint):
        return core.CheckpointLoaderSimple().load_checkpoint(name)[0]

    return make


@pytest.fixture
def theirs(load):
    return load()


@pytest.fixture
def with_their_lora(names):
    """What LoraLoaderModelOnly makes of a MODEL."""

    def add(model, strength: float):
        return core.LoraLoaderModelOnly().load_lora_model_only(model, names.lora, strength)[0]

    return add


@pytest.fixture
def equal(measured):
    def compare(what: str, ours: dict, reference: dict, tolerance: float = 0.0) -> None:
        for name, a, b in zip(("video", "audio"), latents.take(ours), latents.take(reference), strict=True):
            measured(f"{what}: {name}", OURS, a, b, tolerance)

    return compare


def test_both_stages_equal_our_loaders(theirs, model, stage_one, stage_two, upsampled, equal):
    equal("ComfyUI's MODEL, stage one", stage_one(theirs), stage_one(model))
    equal("ComfyUI's MODEL, stage two", stage_two(theirs, upsampled), stage_two(model, upsampled))


def test_their_lora_is_ours(theirs, with_their_lora, model, with_lora, stage_one, stage_two, upsampled, equal, same):
    patched = with_their_lora(theirs, 0.7)
    equal("ComfyUI's MODEL with a LoRA, stage one", stage_one(patched), stage_one(with_lora(0.7, 0.0)), 2e-5)
    both = stage_two(patched, upsampled), stage_two(with_lora(0.0, 0.7), upsampled)
    equal("ComfyUI's MODEL with a LoRA, stage two", *both, 2e-5)
    assert not same(both[0], stage_two(model, upsampled))


def test_our_lora_loader_takes_their_model(run, theirs, with_their_lora, stage_one, stage_two, upsampled, names, same):
    plain = stage_one(theirs), stage_two(theirs, upsampled)
    ours = run("LoraLoader", model=theirs, lora=names.lora, strength_stage_one=0.0, strength_stage_two=0.7)
    patched = with_their_lora(theirs, 0.7)
    assert same(stage_two(ours, upsampled), stage_two(patched, upsampled))
    assert same(stage_one(ours), plain[0])
    assert same(stage_two(ours, upsampled), stage_two(patched, upsampled))
    assert same(stage_two(theirs, upsampled), plain[1])
    # On top of what lies on the MODEL.
    twice = run("LoraLoader", model=patched, lora=names.lora, strength_stage_one=0.0, strength_stage_two=-0.7)
    assert not same(stage_one(twice), plain[0])
    undone, reference = (latents.take(stage_two(m, upsampled))[0] for m in (twice, theirs))
    changed = latents.take(stage_two(patched, upsampled))[0]
    assert (undone - reference).abs().max() < 0.05 * (changed - reference).abs().max()


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_transformer_in_a_file_of_its_own(prefix, rewritten, names, model, stage_one, stage_two, upsampled, equal):
    """Through UNETLoader, as split files are published."""

    def only(tensors, metadata):
        kept = {key: tensors[key] for key in tensors if key.startswith("model.diffusion_model.")}
        tensors.clear()
        tensors.update({prefix + key.removeprefix("model.diffusion_model."): kept[key] for key in kept})

    name = rewritten("checkpoints", names.checkpoint, only, "diffusion_models")
    theirs = core.UNETLoader().load_unet(name, "default")[0]
    equal("UNETLoader's MODEL, stage one", stage_one(theirs), stage_one(model))
    equal("UNETLoader's MODEL, stage two", stage_two(theirs, upsampled), stage_two(model, upsampled))


def test_clones_of_one_model_in_two_samplers(theirs, with_their_lora, load, stage_one, stage_two, upsampled, same):
    """One LoRA set in each stage, switched back and forth, as two MODEL wires make it."""
    first, second = with_their_lora(theirs, 0.4), with_their_lora(theirs, -0.9)
    expected = stage_one(with_their_lora(load(), 0.4)), stage_two(with_their_lora(load(), -0.9), upsampled)
    plain = stage_one(theirs)
    for _ in range(2):
        assert same(stage_one(first), expected[0])
        assert same(stage_two(second, upsampled), expected[1])
        assert same(stage_one(theirs), plain)
    assert not same(expected[0], plain)


def test_scaled_fp8_file(load, run, rewritten, names, stage_one, stage_two, upsampled, equal):
    def quantise(tensors, metadata):
        layers = {}
        for key in [key for key in tensors if key.startswith("model.diffusion_model.transformer_blocks.")]:
            layer, _, last = key.rpartition(".")
            if last == "weight" and tensors[key].ndim == 2 and converts(layer, tensors[key]):
                full = tensors[key].float()
                scale = full.abs().max() / 448
                tensors[key] = (full / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
                tensors[f"{layer}.weight_scale"] = scale
                layers[layer] = {"format": "float8_e4m3fn"}
        metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": layers})

    name = rewritten("checkpoints", names.checkpoint, quantise)
    theirs, ours = load(name), run("ModelLoader", checkpoint=name, weight_dtype="auto")
    mm.load_models_gpu([theirs])
    layer = theirs.model.diffusion_model.transformer_blocks[0].attn1.to_q
    assert type(layer.weight.data) is not torch.Tensor and core_model.take(theirs).stage(1).expanding_bytes > 0
    equal("ComfyUI's MODEL of an fp8 file, stage one", stage_one(theirs), stage_one(ours), 2e-5)
    equal("ComfyUI's MODEL of an fp8 file, stage two", stage_two(theirs, upsampled), stage_two(ours, upsampled), 2e-5)


def test_packed_file(load, run, rewritten, names, stage_one, stage_two, upsampled, equal):
    """nvfp4 as ComfyUI writes it, beside layers in bfloat16 and fp8: expanded by the same layers on both sides."""
    store = {"nvfp4": {}, "float8_e4m3fn": {"scale": "recalculate"}}

    def quantise(tensors, metadata):
        layers = {}
        found = [key for key in tensors if ".transformer_blocks." in key and key.startswith("model.diffusion_model.")]
        matrices = [key for key in found if key.endswith(".weight") and tensors[key].ndim == 2]
        for index, key in enumerate(key for key in matrices if converts(key.removesuffix(".weight"), tensors[key])):
            form, layer = (*store, None)[index % 3], key.removesuffix(".weight")
            if form is None:
                continue
            layout = comfy.ops.QUANT_ALGOS[form]["comfy_tensor_layout"]
            packed = comfy.ops.QuantizedTensor.from_float(tensors.pop(key).float(), layout, **store[form])
            tensors.update({name: part.contiguous() for name, part in packed.state_dict(key).items()})
            layers[layer] = {"format": form}
        metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": layers})

    name = rewritten("checkpoints", names.checkpoint, quantise)
    theirs, ours = load(name), run("ModelLoader", checkpoint=name, weight_dtype="auto")
    assert core_model.take(theirs).stage(1).expanding_bytes > 0
    equal("ComfyUI's MODEL of an nvfp4 file, stage one", stage_one(theirs), stage_one(ours), 2e-5)
    equal("ComfyUI's MODEL of an nvfp4 file, stage two", stage_two(theirs, upsampled), stage_two(ours, upsampled), 2e-5)


@pytest.fixture
def partly(monkeypatch):
    """From here on ComfyUI has room for half of a model's weights."""

    def load(models, **_):
        for patcher in models:
            patcher.detach()
            patcher.load(patcher.load_device, lowvram_model_memory=patcher.model_size() // 2)
            assert patcher.model.model_lowvram and 0 < patcher.loaded_size() < patcher.model_size()

    return lambda: monkeypatch.setattr(mm, "load_models_gpu", load)


@pytest.mark.parametrize("how", ["streaming", "partly"])
def test_streamed_weights_give_the_same_film(
    how, request, theirs, load, with_their_lora, stage_one, stage_two, upsampled, same
):
    plain = stage_one(theirs)
    whole = stage_two(theirs, upsampled)
    patched = stage_two(with_their_lora(theirs, 0.7), upsampled)
    request.getfixturevalue(how)()
    fresh = load()
    assert same(stage_one(fresh), plain)
    assert same(stage_two(fresh, upsampled), whole)
    # Laid over, the sum is rounded to the file's bfloat16; streamed, it is not.
    streamed = stage_two(with_their_lora(fresh, 0.7), upsampled)
    away, near, base = (latents.take(latent)[0] for latent in (patched, streamed, whole))
    assert (near - away).abs().max() < 0.05 * (away - base).abs().max()


PATCHED = (
    "transformer_blocks.0.attn1.q_norm.weight",
    "transformer_blocks.1.audio_ff.net.2.bias",
    "adaln_single.linear.weight",
    "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_v.weight",
)


@pytest.mark.parametrize("name", PATCHED)
def test_whatever_comfyui_patches_acts_laid_over_and_streamed(name, theirs, stage_one, streaming, same):
    patched, key = theirs.clone(), f"diffusion_model.{name}"
    weight = dict(theirs.model.named_parameters())[key]
    assert patched.add_patches({key: ("diff", (torch.full_like(weight, 0.5),))}, 1.0) == [key]
    plain, whole = stage_one(theirs), stage_one(patched)
    streaming()
    for streamed, laid_over in zip(latents.take(stage_one(patched)), latents.take(whole), strict=True):
        assert torch.allclose(streamed, laid_over, atol=1e-4)
    assert not any(map(torch.allclose, latents.take(plain), latents.take(whole)))
    assert same(stage_one(theirs), plain)


def test_their_sampler_keeps_what_our_masks_keep(theirs, texts, run, stage_one):
    """The latent of a retake, refined by ComfyUI's KSampler: its noise masks say the same there."""
    sound = {"waveform": torch.randn(1, 2, 16000) * 0.1, "sample_rate": 16000}
    parts = Types.VideoComponents(images=torch.rand(9, 64, 128, 3), audio=sound, frame_rate=Fraction(25))
    source = InputImpl.VideoFromComponents(parts)
    given = run("Retake", video=source, start=0.1, end=0.2, remake="picture and sound")[0]
    latent = stage_one(theirs, conditions=given)
    made = core.KSampler().sample(theirs, 3, 2, 1.0, "euler", "simple", texts[0], texts[1], latent, 0.5)[0]
    pairs = list(zip(made["samples"].unbind(), latents.take(latent), latent["noise_mask"].unbind(), strict=True))
    for after, before, mask in pairs:
        mask = mask.expand_as(before)
        assert 0 < mask.mean() < 1
        assert torch.allclose(after[mask == 0], before[mask == 0], atol=1e-5)
        assert (after != before)[mask == 1].float().mean() > 0.99


@pytest.fixture
def keyed(texts, upsampled):
    """What ComfyUI's KSampler makes of a MODEL."""
    noisy = {"samples": upsampled["samples"]}

    def sample(model) -> list[torch.Tensor]:
        made = core.KSampler().sample(model, 3, 1, 1.0, "euler", "simple", texts[0], texts[1], noisy, 0.5)[0]
        return list(made["samples"].unbind())

    return sample


def test_their_sampler_gives_what_it_gave_before(theirs, with_their_lora, keyed, stage_one, stage_two, upsampled):
    patched = with_their_lora(theirs, 0.7)
    before = keyed(theirs), keyed(patched)
    modules = list(theirs.model.named_modules())
    inside = {name: (set(vars(module)), type(module)) for name, module in modules}
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for _, module in modules]
    stage_one(patched)
    stage_two(theirs, upsampled)
    after = keyed(theirs), keyed(patched)
    for one, other in zip(before, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(before[0][0], before[1][0])
    assert {name: (set(vars(module)), type(module)) for name, module in theirs.model.named_modules()} == inside
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for _, module in modules] == hooks


def test_cancelled_in_the_middle_and_run_again(theirs, with_their_lora, stage_one, same, monkeypatch):
    patched = with_their_lora(theirs, 0.7)
    expected = stage_one(patched), stage_one(theirs)
    inside = {name: type(module) for name, module in theirs.model.named_modules()}
    check, seen, stop_at = mm.throw_exception_if_processing_interrupted, [], None

    def counted():
        seen.append(None)
        if len(seen) == stop_at:
            mm.interrupt_current_processing()
        check()

    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", counted)
    stage_one(patched)
    stop_at = len(seen) * 2 // 3
    assert stop_at > 20  # one for each block of each pass, at least
    seen.clear()
    with pytest.raises(mm.InterruptProcessingException):
        stage_one(patched)
    assert len(seen) == stop_at
    assert {name: type(module) for name, module in theirs.model.named_modules()} == inside
    assert same(stage_one(patched), expected[0]) and same(stage_one(theirs), expected[1])


def test_nothing_keeps_the_model_alive(load, stage_one):
    model = load()
    stage_one(model)
    gone = weakref.ref(model.model)
    mm.unload_all_models()
    del model
    gc.collect()
    assert gone() is None


def test_layers_of_comfyui_are_never_recorded(theirs):
    blocks = core_model.take(theirs).stage(1).load().transformer.transformer_blocks
    assert _weights(blocks, torch.device("cpu")) is None


def _swapped_values(bind):
    def wrong(self, network):
        bind(self, network)
        attention = self.video_connector.transformer_1d_blocks[0].attn1
        attention.to_k = attention.to_v

    return wrong


def _foreign_table(bind):
    def wrong(self, network):
        bind(self, network)
        self.transformer.transformer_blocks[0]._parameters = network.transformer_blocks[1]._parameters

    return wrong


@pytest.mark.parametrize("mistake", [_swapped_values, _foreign_table])
def test_a_wrong_layer_shows(mistake, theirs, model, stage_one, same, monkeypatch):
    monkeypatch.setattr(core_layers.BorrowedModel, "bind", mistake(core_layers.BorrowedModel.bind))
    assert not same(stage_one(theirs), stage_one(model))


def test_distilled_by_the_files_name_or_by_inputs(load, run, stage_one, same, models, names, folder):
    """A distilled MODEL takes its own steps; where it does not tell, guidance and sigmas say all that kind says."""
    name = "ltx-2.3-small-distilled.safetensors"
    (folder("checkpoints") / name).symlink_to(models / "checkpoints" / names.checkpoint)
    theirs = load(name)
    expected = stage_one(run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto", kind="distilled"))
    assert core_model.take(theirs).kind is Kind.DISTILLED
    assert same(stage_one(theirs), expected)
    theirs.cached_patcher_init = None
    assert core_model.take(theirs).kind is Kind.DEV
    sigmas = torch.tensor(variant_of(Kind.DISTILLED).fixed_sigmas)
    assert same(stage_one(theirs, guidance=OFF, sigmas=sigmas), expected)
