"""The published files that the shipped workflows name, and where ComfyUI can get them."""

from dataclasses import dataclass

HUB = "https://huggingface.co"
LIGHTRICKS = "Lightricks/LTX-2.3"


@dataclass(frozen=True)
class ModelFile:
    """A file of a repository on Hugging Face; `folder` is its place in ComfyUI's models."""

    name: str
    folder: str
    size: str
    repository: str = LIGHTRICKS
    inside: str = ""
    """Its folder in the repository, with a slash at the end."""

    @property
    def page(self) -> str:
        return f"{HUB}/{self.repository}/blob/main/{self.inside}{self.name}"

    @property
    def offer(self) -> dict[str, str]:
        """What a node's `properties.models` says, from which the front end offers to download a missing file."""
        url = f"{HUB}/{self.repository}/resolve/main/{self.inside}{self.name}"
        return {"name": self.name, "url": url, "directory": self.folder}


LIGHTRICKS_FP8 = f"{LIGHTRICKS}-fp8"

# What the workflows are set to.
DEV = ModelFile("ltx-2.3-22b-dev-fp8.safetensors", "checkpoints", "29.1 GB", LIGHTRICKS_FP8)
DISTILLED = ModelFile("ltx-2.3-22b-distilled-fp8.safetensors", "checkpoints", "29.5 GB", LIGHTRICKS_FP8)
LORA = ModelFile("ltx-2.3-22b-distilled-lora-384-1.1.safetensors", "loras", "7.6 GB")
UPSAMPLER = ModelFile("ltx-2.3-spatial-upscaler-x2-1.1.safetensors", "latent_upscale_models", "1.0 GB")
GEMMA = ModelFile(
    "gemma_3_12B_it_fp4_mixed.safetensors", "text_encoders", "9.4 GB", "Comfy-Org/ltx-2", "split_files/text_encoders/"
)
CONTROL = ModelFile(
    "ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors", "loras", "0.7 GB", f"{LIGHTRICKS}-22b-IC-LoRA-Union-Control"
)
NIGHT = ModelFile(
    "ltx-2.3-22b-ic-lora-day-to-night-0.9.safetensors", "loras", "0.3 GB", f"{LIGHTRICKS}-22b-IC-LoRA-Day-To-Night"
)
INPAINT = ModelFile(
    "ltx-2.3-22b-ic-lora-in-outpainting-0.9.safetensors", "loras", "1.3 GB", f"{LIGHTRICKS}-22b-IC-LoRA-In-Outpainting"
)
VOICE = ModelFile(
    "ltx-2.3-id-lora-talkvid-3k.safetensors", "loras", "1.2 GB", "Comfy-Org/ltx-2.3", "split_files/loras/"
)
FILES = (DEV, DISTILLED, LORA, UPSAMPLER, GEMMA, CONTROL, NIGHT, INPAINT, VOICE)

# What notes name besides: the publisher's own files, in bf16.
DEV_BF16 = ModelFile("ltx-2.3-22b-dev.safetensors", "checkpoints", "46.1 GB")
DISTILLED_BF16 = ModelFile("ltx-2.3-22b-distilled-1.1.safetensors", "checkpoints", "46.1 GB")
GEMMA_FOLDER = "gemma-3-12b-it-qat-q4_0-unquantized"
GEMMA_FOLDER_PAGE = f"{HUB}/google/{GEMMA_FOLDER}"


def offers(values: list) -> list[dict[str, str]]:
    """The offers for the files among a node's widget values."""
    return [file.offer for file in FILES if file.name in values]
