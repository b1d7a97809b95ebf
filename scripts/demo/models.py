"""Model files for a workflow: the small trained model, the user's own files, or, for tests, random weights."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .server import GEMMA_270M, PACK, TOKENIZER

TRAINED = PACK / "demo_model" / "files"


@dataclass(frozen=True)
class ModelFile:
    """One file (or Hugging Face folder) that a workflow needs."""

    what: str
    folder: str
    """Its folder among ComfyUI's models."""
    patterns: tuple[str, ...]
    """Names to look for, the best first."""
    official: str


_GEMMA_3 = ModelFile(
    "text encoder",
    "text_encoders",
    ("gemma-3-*/config.json", "gemma*3*12b*.safetensors", "gemma*.safetensors"),
    "gemma_3_12B_it_fp4_mixed.safetensors (9.4 GB) from huggingface.co/Comfy-Org/ltx-2, or the folder "
    "gemma-3-12b-it-qat-q4_0-unquantized (25 GB) from huggingface.co/google",
)
MODEL_FILES = (
    ModelFile(
        "checkpoint",
        "checkpoints",
        ("ltx-2.3-*dev.safetensors", "ltx-2.3-*dev*.safetensors"),
        "ltx-2.3-22b-dev-fp8.safetensors (29 GB) from huggingface.co/Lightricks/LTX-2.3-fp8, or "
        "ltx-2.3-22b-dev.safetensors (46 GB) from huggingface.co/Lightricks/LTX-2.3",
    ),
    ModelFile(
        "distilled LoRA",
        "loras",
        ("ltx-2.3-*distilled-lora*-1.1.safetensors", "ltx-2.3-*distilled-lora*.safetensors"),
        "ltx-2.3-22b-distilled-lora-384-1.1.safetensors (7.6 GB) from huggingface.co/Lightricks/LTX-2.3",
    ),
    ModelFile(
        "upsampler",
        "latent_upscale_models",
        ("ltx-2.3-*spatial-upscaler-x2-1.1.safetensors", "ltx-2.3-*spatial-upscaler-x2*.safetensors"),
        "ltx-2.3-spatial-upscaler-x2-1.1.safetensors (1 GB) from huggingface.co/Lightricks/LTX-2.3",
    ),
    _GEMMA_3,
)
VIDEO_VAE, AUDIO_VAE = "video VAE", "audio VAE"


def _of_2_5(what: str, folder: str, pattern: str, official: str) -> ModelFile:
    text = f"{official} from huggingface.co/Lightricks/LTX-2.5"
    return ModelFile(what, folder, (f"{pattern}.safetensors",), text)


MODEL_FILES_2_5 = (
    _of_2_5(
        "checkpoint", "diffusion_models", "ltx-2.5-*dev-transformer*", "ltx-2.5-22b-dev-transformer-bf16.safetensors"
    ),
    _of_2_5("distilled LoRA", "loras", "ltx-2.5-*distilled-lora*", "ltx-2.5-22b-distilled-lora-450-bf16.safetensors"),
    _of_2_5(
        "upsampler",
        "latent_upscale_models",
        "ltx-2.5-*spatial-upscaler-x2*",
        "ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors",
    ),
    _of_2_5("text encoder", "text_encoders", "gemma4*ltx-2.5*", "gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"),
    _of_2_5(VIDEO_VAE, "vae", "ltx-2.5-*video-vae-conv*", "ltx-2.5-video-vae-conv-bf16.safetensors"),
    _of_2_5(AUDIO_VAE, "vae", "ltx-2.5-*audio-vae*", "ltx-2.5-audio-vae-bf16.safetensors"),
)


def _of_2_0(what: str, folder: str, patterns: tuple[str, ...], official: str) -> ModelFile:
    return ModelFile(what, folder, patterns, f"{official} from huggingface.co/Lightricks/LTX-2")


MODEL_FILES_2_0 = (
    _of_2_0(
        "checkpoint",
        "checkpoints",
        ("ltx-2-19b-dev*.safetensors", "ltx-2.0-*dev.safetensors"),
        "ltx-2-19b-dev.safetensors (43 GB)",
    ),
    _of_2_0(
        "distilled LoRA",
        "loras",
        ("ltx-2-19b-distilled-lora*.safetensors", "ltx-2.0-*distilled-lora.safetensors"),
        "ltx-2-19b-distilled-lora-384.safetensors (7.7 GB)",
    ),
    _of_2_0(
        "upsampler",
        "latent_upscale_models",
        ("ltx-2-spatial-upscaler-x2*.safetensors", "ltx-2.0-*spatial-upscaler-x2.safetensors"),
        "ltx-2-spatial-upscaler-x2-1.0.safetensors (1 GB)",
    ),
    _GEMMA_3,
)
ALL_GENERATIONS = MODEL_FILES, MODEL_FILES_2_5, MODEL_FILES_2_0


class ModelsMissing(RuntimeError):
    """Files that the workflow needs are not there; the message lists all of them."""


def write_small_model(folder: Path) -> Path:
    """Writes a small LTX-2.3 with random weights into `folder`, in the layout of ComfyUI's models folder, and beside it
    the other generations."""
    script = PACK / "scripts" / "small_model.py"
    command = [sys.executable, str(script), str(folder), "--tokenizer", str(TOKENIZER), "--also-2.0", "--also-2.5"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def trained() -> dict[str, Path]:
    """The small trained model, by ModelFile.what: what is in demo_model, and Gemma as set-up has fetched it."""
    for path, origin in ((TRAINED, "is part of the repository"), (GEMMA_270M, "is made by setup.sh")):
        if not path.is_dir():
            raise ModelsMissing(f"{path}, which {origin}, is not there")
    return find(TRAINED, {"text encoder": GEMMA_270M})


def find(folder: Path, known: dict[str, Path] | None = None, sets: tuple = (MODEL_FILES,)) -> dict[str, Path]:
    """Finds every model file of the first of `sets` that is whole, anywhere below `folder`, by ModelFile.what, but for
    `known` ones.

    ModelsMissing names those not found, of the set of which most are there.
    """
    if not folder.is_dir():
        raise ModelsMissing(f"{folder} is no folder: give the one that holds the model files, such as ComfyUI/models")
    fewest = None
    for files in sets:
        found = dict(known or {})
        for file in files:
            if file.what in found:
                continue
            matches = [path for pattern in file.patterns for path in sorted(folder.rglob(pattern))]
            if matches:
                best = matches[0]
                found[file.what] = best.parent if best.name == "config.json" else best
        missing = [file for file in files if file.what not in found]
        if not missing:
            return found
        if fewest is None or len(files) - len(missing) > len(fewest[0]) - len(fewest[1]):
            fewest = files, missing
    lines = "\n".join(f"  {file.what}: {file.official}" for file in fewest[1])
    raise ModelsMissing(f"{folder} lacks (subfolders were searched too):\n{lines}")


def link(found: dict[str, Path], models: Path, names: dict[str, str] | None = None) -> None:
    """Links found files into the folders of ComfyUI's `models` folder, where its loaders look.

    `names` gives other names than the files' own, by ModelFile.what.
    """
    for file in MODEL_FILES_2_5 if VIDEO_VAE in found else MODEL_FILES:
        if file.what not in found:
            continue
        source = found[file.what]
        folder, name = models / file.folder, (names or {}).get(file.what, source.name)
        if source.is_dir():  # ComfyUI warns about linked folders: a real one with linked files
            pairs = [(path, folder / name / path.name) for path in sorted(source.iterdir())]
        else:
            pairs = [(source, folder / name)]
        for path, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(path.resolve())


def choose(prompt: dict, found: dict[str, Path]) -> None:
    """Sets the loaders that a workflow in API format has to the found files: any LoRA to the distilled one."""
    name = {what: path.name for what, path in found.items()}
    loaders = {
        "LTXDuoModelLoader": {"checkpoint": name["checkpoint"]},
        "LTXDuoVAELoader": {"checkpoint": name["checkpoint"]},
        "LTXDuoLoraLoader": {"lora": name["distilled LoRA"]},
        "LTXDuoUpsamplerLoader": {"upsampler": name["upsampler"]},
        "LTXDuoTextEncoderLoader": {"text_encoder": name["text encoder"], "projection": name["checkpoint"]},
        "LTXVAudioVAELoader": {"ckpt_name": name["checkpoint"]},
    }
    if VIDEO_VAE in found:
        loaders["LTXDuoVAELoader"] = {"checkpoint": name[VIDEO_VAE], "audio_file": name[AUDIO_VAE]}
        loaders["LTXDuoTextEncoderLoader"]["projection"] = name["text encoder"]
    for entry in prompt.values():
        entry["inputs"].update(loaders.get(entry["class_type"], {}))
