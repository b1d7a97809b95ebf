"""What ComfyUI's caches may rely on: outputs of their own, files read once, nothing that grows from run to run."""

import gc
from collections import Counter
from pathlib import Path

import comfy.utils
import pytest
import torch

from ltx_duo.nodes.comfyui import files, latents

RUNS, WARM_UPS = 6, 2
# Allocators keep a little back; a single latent or frame that stays would be seen in the counts below.
MOST_GROWTH = 1.5 * 2**20


@pytest.fixture
def workflow(run, names, vae, encoder):
    """A whole prompt from loaded handles to frames, as a function of seed and model."""
    upsampler = run("UpsamplerLoader", upsampler=names.upsampler)

    def execute(model, seed: int = 10):
        texts = run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")
        size = {**names.size, "steps": 1}
        first = run("StageOneSampler", model=model, vae=vae, positive=texts[0], negative=texts[1], seed=seed,
                    noise_device="cpu", **size)  # fmt: skip
        larger = run("LatentUpsampler", latent=first, upsampler=upsampler, vae=vae)
        second = run("StageTwoSampler", model=model, vae=vae, positive=texts[0], latent=larger,
                     **{**names.kept, "noise_device": "cpu"})  # fmt: skip
        video, images, audio = run("AVDecode", latent=second, vae=vae, tiling="auto", **names.tiles)
        return {"texts": texts, "first": first, "larger": larger, "second": second, "images": images, "audio": audio}

    return execute


def tensors_of(outputs) -> dict[str, torch.Tensor]:
    found = {f"text {i}": text[0][0] for i, text in enumerate(outputs["texts"])}
    for name in ("first", "larger", "second"):
        for kind, tensor in zip(("picture", "sound"), latents.take(outputs[name]), strict=True):
            found[f"{name} {kind}"] = tensor
        found[f"{name} state"] = latents.info_of(outputs[name]).generator_state
    return found | {"images": outputs["images"], "waveform": outputs["audio"]["waveform"]}


def test_outputs_are_whole_tensors_on_the_cpu(workflow, with_lora):
    for name, tensor in tensors_of(workflow(with_lora(0.0, 1.0))).items():
        assert tensor.device.type == "cpu" and tensor.is_contiguous(), name
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, f"{name} is a view of something larger"


def test_each_file_is_loaded_once(run, names, monkeypatch, texts, conditions, stage_one, upsampled):
    loaded = Counter()
    load = comfy.utils.load_torch_file

    def counted(path, *arguments, **options):
        loaded[Path(path).name] += 1
        return load(path, *arguments, **options)

    monkeypatch.setattr(comfy.utils, "load_torch_file", counted)
    files._opened.cache_clear()
    model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    fresh = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file")
    stage_one(model)
    run("AVDecode", latent=upsampled, vae=fresh, tiling="off", **names.tiles)
    assert loaded == {names.checkpoint: 1}


def test_two_workflows_in_turn(workflow, run, names, with_lora, same):
    plain = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="fp8")
    models = [with_lora(0.0, 1.0), plain]
    first = [workflow(model)["second"] for model in models]
    assert not same(*first)
    for model, expected in zip(models, first, strict=True):
        assert same(workflow(model)["second"], expected)


def resident() -> int:
    """Bytes of the process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def living() -> Counter:
    gc.collect()
    return Counter(
        type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, torch.Tensor | torch.nn.Module)
    )


def test_nothing_grows_from_run_to_run(workflow, with_lora):
    model = with_lora(0.0, 1.0)
    for seed in range(WARM_UPS):
        workflow(model, seed)
    before, memory = living(), resident()
    for seed in range(RUNS):
        workflow(model, seed)
    assert living() == before
    assert (resident() - memory) / RUNS < MOST_GROWTH, f"{(resident() - memory) / RUNS / 2**20:.2f} MiB a run"
