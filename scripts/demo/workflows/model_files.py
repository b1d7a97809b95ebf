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
    def bytes(self) -> int:
        """About so many."""
        number, unit = self.size.split()
        return round(float(number) * {"GB": 1e9, "MB": 1e6}[unit])

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

LIGHTRICKS_2_5, LIGHTRICKS_2_0 = "Lightricks/LTX-2.5", "Lightricks/LTX-2"


def _of_2_5(name: str, folder: str, size: str) -> ModelFile:
    """LTX-2.5's repository has ComfyUI's folders."""
    return ModelFile(f"{name}.safetensors", folder, size, LIGHTRICKS_2_5, f"{folder}/")


DEV_2_5 = _of_2_5("ltx-2.5-22b-dev-transformer-comfy-int8-convrot", "diffusion_models", "21.5 GB")
DISTILLED_2_5 = _of_2_5("ltx-2.5-22b-distilled-transformer-comfy-int8-convrot", "diffusion_models", "21.5 GB")
TEXT_ENCODER_2_5 = _of_2_5("gemma4-12b-with-proj-ltx-2.5-comfy-int8-convrot", "text_encoders", "15.4 GB")
VIDEO_VAE_2_5 = _of_2_5("ltx-2.5-video-vae-conv-bf16", "vae", "1.5 GB")
AUDIO_VAE_2_5 = _of_2_5("ltx-2.5-audio-vae-bf16", "vae", "0.4 GB")
LORA_2_5 = _of_2_5("ltx-2.5-22b-distilled-lora-450-bf16", "loras", "8.9 GB")
UPSAMPLER_2_5 = _of_2_5("ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0", "latent_upscale_models", "1.0 GB")
DURATION_HEAD = _of_2_5("ltx-2.5-duration-head-bf16", "model_patches", "3.8 MB")

DEV_2_0 = ModelFile("ltx-2-19b-dev-fp8.safetensors", "checkpoints", "27.1 GB", LIGHTRICKS_2_0)
LORA_2_0 = ModelFile("ltx-2-19b-distilled-lora-384.safetensors", "loras", "7.7 GB", LIGHTRICKS_2_0)
UPSAMPLER_2_0 = ModelFile(
    "ltx-2-spatial-upscaler-x2-1.0.safetensors", "latent_upscale_models", "1.0 GB", LIGHTRICKS_2_0
)


@dataclass(frozen=True)
class Beside:
    """The files that are chosen beside a checkpoint; None: that part lies in the checkpoint."""

    lora: ModelFile = LORA
    upsampler: ModelFile = UPSAMPLER
    text_encoder: ModelFile = GEMMA
    projection: ModelFile | None = None
    video_vae: ModelFile | None = None
    audio_vae: ModelFile | None = None


OF_2_5 = Beside(LORA_2_5, UPSAMPLER_2_5, TEXT_ENCODER_2_5, TEXT_ENCODER_2_5, VIDEO_VAE_2_5, AUDIO_VAE_2_5)
OF_2_0 = Beside(LORA_2_0, UPSAMPLER_2_0)

FILES_2_5 = (
    DEV_2_5, DISTILLED_2_5, TEXT_ENCODER_2_5, VIDEO_VAE_2_5, AUDIO_VAE_2_5, LORA_2_5, UPSAMPLER_2_5, DURATION_HEAD,
)  # fmt: skip
FILES_2_0 = DEV_2_0, LORA_2_0, UPSAMPLER_2_0
FILES = (DEV, DISTILLED, LORA, UPSAMPLER, GEMMA, CONTROL, NIGHT, INPAINT, VOICE, *FILES_2_5, *FILES_2_0)

# What notes name besides: the publisher's own files, in bf16.
DEV_BF16 = ModelFile("ltx-2.3-22b-dev.safetensors", "checkpoints", "46.1 GB")
DISTILLED_BF16 = ModelFile("ltx-2.3-22b-distilled-1.1.safetensors", "checkpoints", "46.1 GB")
DEV_BF16_2_5 = _of_2_5("ltx-2.5-22b-dev-transformer-bf16", "diffusion_models", "42.0 GB")
DISTILLED_BF16_2_5 = _of_2_5("ltx-2.5-22b-distilled-transformer-bf16", "diffusion_models", "42.0 GB")
TEXT_ENCODER_BF16_2_5 = _of_2_5("gemma4-12b-with-proj-ltx-2.5-bf16", "text_encoders", "26.3 GB")
DIFFUSION_VAE_2_5 = _of_2_5("ltx-2.5-video-vae-bf16", "vae", "1.5 GB")
DEV_BF16_2_0 = ModelFile("ltx-2-19b-dev.safetensors", "checkpoints", "43.3 GB", LIGHTRICKS_2_0)
GEMMA_FOLDER = "gemma-3-12b-it-qat-q4_0-unquantized"
GEMMA_FOLDER_PAGE = f"{HUB}/google/{GEMMA_FOLDER}"


def offers(values: list) -> list[dict[str, str]]:
    """The offers for the files among a node's widget values."""
    return [file.offer for file in FILES if file.name in values]
