"""A small model, and whole runs of the vendor's pipelines and of ours with it."""

import gc
import importlib
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.scripts.small_model_parts.sizes import ltx_2_0
from ltx_duo.scripts.small_model_parts.write import write_model_files, write_small_model
from ltx_duo.tests.parity.whole_run import our_pipeline, vendor_pipeline
from ltx_duo.tests.parity.whole_run.scene import Footage, Guide, Picture, Recording, Scene, SmallModel, Trace

TOKENIZER = Path(__file__).resolve().parents[3] / ".local" / "tokenizer"
PROMPT = (
    "  A red fox trots along the edge of a frozen lake at dawn, its breath visible in the cold air. The camera follows "
    "at its height, the snow crunches under its paws, and a crow calls far away. It stops, turns its head towards us "
    'and says: "You are early, aren\'t you?" 35 mm film, soft light, naïve colours.\n'
)
NEGATIVE_PROMPT = (
    "blurry, out of focus, overexposed, flickering, distorted proportions, extra limbs, jittery movement, subtitles, "
    "echo, muffled or missing sound, off-sync speech"
)
VENDOR_RUNS = {
    "two-stage": vendor_pipeline.run_two_stage,
    "distilled": vendor_pipeline.run_distilled,
    "HQ": vendor_pipeline.run_hq,
    "keyframes": vendor_pipeline.run_keyframes,
    "one stage": vendor_pipeline.run_one_stage,
    "sound-given": vendor_pipeline.run_sound_given,
    "retake": vendor_pipeline.run_retake,
    "distilled retake": partial(vendor_pipeline.run_retake, distilled=True),
    "IC-LoRA": vendor_pipeline.run_ic_lora,
}


@pytest.fixture(scope="session")
def run_seed() -> int:
    """Decides the weights, the pictures and the noise of the whole session."""
    return torch.seed() % 2**31


@pytest.fixture(autouse=True)
def _show_seed(request, run_seed):
    request.node.user_properties.append(("seed", run_seed))


@pytest.fixture(scope="session")
def small_model(run_seed, tmp_path_factory) -> SmallModel:
    """The demo's small model with fresh weights, in float32."""
    folder = tmp_path_factory.mktemp("small")
    checkpoint, upsampler, lora, gemma, _ = write_small_model(folder, TOKENIZER, run_seed)
    in_float32(lora)
    return SmallModel(in_float32(checkpoint), upsampler, lora, gemma, reading(lora, folder))


@pytest.fixture(scope="session")
def model_2_0(small_model, run_seed, tmp_path_factory) -> SmallModel:
    """A small LTX-2.0 with fresh weights, in float32, beside the same text encoder."""
    folder = tmp_path_factory.mktemp("small-2.0")
    checkpoint, upsampler, lora = write_model_files(folder, ltx_2_0(), run_seed)
    in_float32(lora)
    return SmallModel(in_float32(checkpoint), upsampler, lora, small_model.gemma, reading(lora, folder))


def reading(lora: Path, folder: Path) -> Path:
    """The LoRA, as one that reads references of half the size."""
    save_file(load_file(lora), folder / "small-ic-lora.safetensors", {"reference_downscale_factor": "2"})
    return folder / "small-ic-lora.safetensors"


def in_float32(path: Path) -> Path:
    """Rewrites the file.  The vendor multiplies a LoRA's factors in the dtype that they are stored in, and leaves what
    no LoRA changes in the dtype of the checkpoint."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({name: tensor.float() for name, tensor in load_file(path).items()}, path, metadata)
    return path


@pytest.fixture(scope="session")
def scenes(run_seed, tmp_path_factory) -> dict[str, Scene]:
    """Text-to-video; an image that frame 0 keeps; a softer image with another one appended at a later frame, also with
    keyframes that are generated; the same to a sound that begins before the film and ends after it; films of which a
    window is made anew, in picture, sound or both, that begins where a latent frame ends; references of other sizes and
    lengths than the film, looked at fully, less, or less in places, beside images."""
    generator = torch.Generator().manual_seed(run_seed)
    folder = tmp_path_factory.mktemp("pictures")

    def picture(frame: int, strength: float, height: int, width: int) -> Picture:
        path = folder / f"{frame}-{strength}.png"
        pixels = (torch.rand(height, width, 3, generator=generator) * 255).to(torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
        return Picture(path, frame, strength)

    def recording(rate: int, seconds: float, start: float) -> Recording:
        path = folder / f"{rate}.wav"
        samples = torch.randn(round(seconds * rate), 2, generator=generator).cumsum(0).diff(dim=0) * 3000
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, rate, 0, "NONE", None))
            file.writeframes(samples.clamp(-32768, 32767).to(torch.int16).numpy().tobytes())
        return Recording(path, start)

    def footage(**what: bool) -> Footage:
        frames = (torch.rand(25, 64, 128, 3, generator=generator) * 255).to(torch.uint8)
        sound = torch.randn(2, round(25 / 24 * 22050), generator=generator) * 0.1
        return Footage(frames, sound, 22050, (0.375, 0.6), **what)

    def filmed(**what: bool) -> Scene:
        return Scene(*prompts, seed=run_seed, frames=25, film=footage(**what))

    def guide(frames: int, height: int, width: int, strength: float = 1.0) -> Guide:
        pixels = torch.rand(frames, height, width, 3, generator=generator) * 255
        return Guide(pixels.to(torch.uint8), strength)

    # Stage one works at 128 x 64, the reference at 64 x 32.
    size = {"width": 256, "height": 128, "frames": 17, "seed": run_seed}
    mask = torch.rand(17, 64, 128, generator=generator)

    prompts = PROMPT, NEGATIVE_PROMPT
    keyframes = picture(0, 0.7, 90, 100), picture(12, 0.6, 70, 200)
    return {
        "text": Scene(*prompts, seed=run_seed),
        "image": Scene(*prompts, seed=run_seed, images=(picture(0, 1.0, 80, 150),)),
        "image and keyframe": Scene(*prompts, seed=run_seed, frames=17, images=keyframes),
        "image and generated keyframes": Scene(*prompts, seed=run_seed, frames=17, images=keyframes, generated=(5, 16)),
        "sound": Scene(*prompts, seed=run_seed, sound=recording(16000, 0.7, 0.0)),
        "sound, image and keyframe": Scene(
            *prompts, seed=run_seed, frames=17, images=keyframes, sound=recording(22050, 1.4, 0.35)
        ),
        "reference": Scene(*prompts, **size, guides=(guide(17, 50, 70),)),
        "two references": Scene(*prompts, **size, guides=(guide(9, 64, 128), guide(29, 40, 90))),
        "two references, weaker attention": Scene(
            *prompts, **size, guides=(guide(17, 50, 70), guide(29, 40, 90)), attention_strength=0.6
        ),
        "soft reference, attention mask, image and keyframe": Scene(
            *prompts,
            **size,
            images=keyframes,
            guides=(guide(17, 64, 128, 0.8),),
            attention_strength=0.9,
            attention_mask=mask,
        ),
        "film": filmed(),
        "film, new picture": filmed(new_sound=False),
        "film, new sound": filmed(new_picture=False),
    }


@pytest.fixture(scope="session")
def vendor_trace(small_model, scenes) -> Iterator[Callable[[str, str, bool], Trace]]:
    """`vendor_trace(pipeline, scene, newest)`: what the vendor makes, run once; `newest` with v1.2's changes."""
    yield from _vendor_runs(small_model, scenes)


@pytest.fixture(scope="session")
def vendor_trace_2_0(model_2_0, scenes) -> Iterator[Callable[[str, str, bool], Trace]]:
    """As `vendor_trace`, with LTX-2.0."""
    yield from _vendor_runs(model_2_0, scenes)


def _vendor_runs(model: SmallModel, scenes: dict[str, Scene]) -> Iterator[Callable[[str, str, bool], Trace]]:
    traces: dict[tuple[str, str, bool], Trace] = {}

    def run(pipeline: str, scene: str, newest: bool) -> Trace:
        key = (pipeline, scene, newest)
        if key not in traces:
            traces[key] = VENDOR_RUNS[pipeline](model, scenes[scene], newest=newest)
        return traces[key]

    # The vendor collects garbage between its phases, which is slow with all that is imported here.
    importlib.import_module("ltx_pipelines.ti2vid_two_stages_hq")
    gc.collect()
    gc.freeze()
    yield run
    gc.unfreeze()


@pytest.fixture(scope="session")
def components(small_model):
    """Our modules with the small model's weights; runs leave them as they were."""
    return our_pipeline.load(small_model)


@pytest.fixture(scope="session")
def components_2_0(model_2_0):
    """As `components`, of LTX-2.0."""
    return our_pipeline.load(model_2_0)
