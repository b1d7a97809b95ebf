"""Runs inside one ComfyUI tree (see test_comfyui_trees.py): makes its modules importable, started with --cpu.

With LTXDUO_CHECKS_ON_GPU=1 without that flag, for the checks that are also of GPUs: check_several_gpus.
"""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import ltx_duo

TREE = Path(os.environ["LTXDUO_COMFYUI_TREE"])
BASE = Path(os.environ["LTXDUO_BASE_DIRECTORY"])

if str(TREE) not in sys.path:
    sys.path.insert(0, str(TREE))
    # Where torchvision's compiled operators are missing, this declares them.
    with contextlib.suppress(ImportError):
        import torchvision_cpu_ops  # noqa: F401
    import comfy.options

    device = [] if os.environ.get("LTXDUO_CHECKS_ON_GPU") else ["--cpu"]
    arguments, sys.argv = sys.argv, ["main.py", *device, "--base-directory", str(BASE)]
    comfy.options.enable_args_parsing()
    import comfy.cli_args  # noqa: F401

    sys.argv = arguments

CONFIG = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
SMALL = {
    "num_layers": 2,
    "num_attention_heads": 4,
    "attention_head_dim": 24,
    "cross_attention_dim": 96,
    "audio_num_attention_heads": 4,
    "audio_attention_head_dim": 16,
    "audio_cross_attention_dim": 64,
}


@pytest.fixture
def config() -> dict:
    """A checkpoint's config with a small transformer."""
    return {**CONFIG, "transformer": {**CONFIG["transformer"], **SMALL}}


@pytest.fixture(autouse=True)
def _inference():
    """ComfyUI's prompt worker runs like this."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models() -> Path:
    """The models folder of the base directory; holds the small model."""
    return BASE / "models"


@pytest.fixture(scope="session")
def nodes() -> dict[str, type]:
    """The pack's node classes by id."""
    extension = asyncio.run(ltx_duo.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


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
NAMES = SimpleNamespace(checkpoint=CHECKPOINT, lora=LORA, upsampler=UPSAMPLER, size=SIZE, kept=KEPT, tiles=TILES)


@pytest.fixture(scope="session")
def names() -> SimpleNamespace:
    """What the small model's files are called, and inputs that most runs share."""
    return NAMES


@pytest.fixture(scope="session")
def run(nodes):
    """Executes a node by the end of its id and gives its outputs."""

    def execute(name: str, **inputs):
        done = nodes[f"LTXDuo{name}"].execute(**inputs)
        outputs = (asyncio.run(done) if asyncio.iscoroutine(done) else done).args
        return outputs[0] if len(outputs) == 1 else outputs

    return execute


@pytest.fixture(scope="session")
def image():
    return torch.rand(1, 70, 90, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for each kind of model, as extra_model_paths.yaml adds them."""
    import folder_paths

    from ltx_duo.nodes.comfyui import files

    known = {key: (list(paths), kinds) for key, (paths, kinds) in folder_paths.folder_names_and_paths.items()}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    files.register_folders()

    def add(kind: str):
        path = tmp_path / kind
        path.mkdir(exist_ok=True)
        folder_paths.add_model_folder_path(kind, str(path))
        return path

    return add


@pytest.fixture
def rewritten(models, folder):
    """Saves a changed copy of one of the small files: `change(tensors, metadata)` works in place."""

    def save(kind: str, name: str, change, target: str | None = None) -> str:
        source = models / kind / name
        with safe_open(source, "pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(source)
        change(tensors, metadata)
        save_file(tensors, folder(target or kind) / "changed.safetensors", metadata)
        return "changed.safetensors"

    return save


@pytest.fixture
def model(run):
    return run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")


@pytest.fixture
def with_lora(run, model):
    def add(one: float, two: float):
        return run("LoraLoader", model=model, lora=LORA, strength_stage_one=one, strength_stage_two=two)

    return add


@pytest.fixture(scope="session")
def vae(run):
    return run("VAELoader", checkpoint=CHECKPOINT, audio_file="same file")


@pytest.fixture(scope="session")
def encoder(run):
    return run("TextEncoderLoader", text_encoder="gemma-3-small", projection=CHECKPOINT, device="default")


@pytest.fixture(scope="session")
def texts(run, encoder):
    with torch.inference_mode():
        return run("TextEncode", text_encoder=encoder, prompt="a lake", negative_prompt="noise")


@pytest.fixture(scope="session")
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
def enlarged(run, vae, names):
    upsampler = run("UpsamplerLoader", upsampler=names.upsampler)
    return lambda latent: run("LatentUpsampler", latent=latent, upsampler=upsampler, vae=vae)


@pytest.fixture
def stage_two(run, vae, texts, conditions):
    def sample(model, latent, **changes):
        inputs = {"conditions": conditions, **KEPT, **changes}
        return run("StageTwoSampler", model=model, vae=vae, positive=texts[0], latent=latent, **inputs)

    return sample


@pytest.fixture
def watched(monkeypatch):
    from ltx_duo.nodes.comfyui import stage_run
    from ltx_duo.tests.watching import watch_stages

    return watch_stages(monkeypatch, stage_run)


@pytest.fixture
def streaming(monkeypatch):
    """From here on every component streams all layers that it can, as under --novram."""

    def stream(models, **_):
        for patcher in models:
            patcher.detach()
            patcher.load(patcher.load_device, lowvram_model_memory=1)
            assert patcher.model.model_lowvram

    def start():
        import comfy.model_management as mm

        monkeypatch.setattr(mm, "load_models_gpu", stream)

    return start


@pytest.fixture
def lazy_layers(monkeypatch):
    """From here on layers are made without weight and bias, until they are loaded: as dynamic VRAM makes them."""

    def start():
        theirs = pytest.importorskip("comfy.memory_management", reason="this ComfyUI has no dynamic VRAM")
        from ltx_duo.nodes.comfyui import memory

        def build(*arguments, whole=memory.build, **more):
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(theirs, "aimdo_enabled", True)
                return whole(*arguments, **more)

        monkeypatch.setattr(memory, "build", build)

    return start


@pytest.fixture(scope="session")
def same():
    """Whether two LATENTs have equal bits in picture and sound."""

    def compare(a: dict, b: dict) -> bool:
        from ltx_duo.nodes.comfyui import latents

        return all(torch.equal(x, y) for x, y in zip(latents.take(a), latents.take(b), strict=True))

    return compare


@pytest.fixture(scope="session")
def measured():
    """`measured(what, reference, ours, theirs, tolerance)`: asserts max |ours - theirs| / max |theirs| <= tolerance.

    Where LTXDUO_PARITY_ROWS names a file, each error is added to it as a line of JSON, for the table of tests/parity.
    """
    rows = os.environ.get("LTXDUO_PARITY_ROWS")

    def compare(what: str, reference: str, ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
        assert ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)}, {reference} {tuple(theirs.shape)}"
        ours, theirs = ours.double().cpu(), theirs.double().cpu()
        assert torch.isfinite(theirs).all(), what
        error = ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)).item()
        if rows:
            with open(rows, "a") as file:
                file.write(json.dumps([what, reference, error, tolerance]) + "\n")
        assert error <= tolerance, f"{what} against {reference}: {error:.2e} > {tolerance:.0e}"

    return compare
