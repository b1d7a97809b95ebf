"""What dtype each part computes in: what the user asked of ComfyUI at its start, where the part survives it.

LTX-2.3 and Gemma are trained in bfloat16.  Numbers that are usual there overflow in float16, which ComfyUI's own LTX-2
does not use either.
"""

from dataclasses import dataclass

import comfy.model_management as mm
import torch

from .flags import given

COMPUTE_DTYPES = (torch.bfloat16, torch.float32)
FP16_FLAGS = {
    "model": ("--force-fp16", "--fp16-unet"),
    "VAE": ("--fp16-vae",),
    "upsampler": ("--fp16-vae",),
    "text encoder": ("--fp16-text-enc",),
}
FP8_TEXT_FLAGS = ("--fp8_e4m3fn-text-enc", "--fp8_e5m2-text-enc")
OTHER_FP8_FLAGS = ("--fp8_e5m2-unet", "--fp8_e8m0fnu-unet")


@dataclass(frozen=True)
class Choice:
    """The dtype to compute in, how weights are kept, and what is to be said where that is not what a flag asks for."""

    compute: torch.dtype
    weights: str = "auto"
    note: str | None = None


def for_model(weight_dtype: str) -> Choice:
    """For transformer and connectors; `weight_dtype` is the loader's choice."""
    device = mm.get_torch_device()
    wanted = mm.unet_dtype(device, supported_dtypes=list(COMPUTE_DTYPES))
    if wanted == torch.float64:
        return Choice(torch.float32, weight_dtype, _instead("--fp64-unet", "model", "is computed in float32"))
    if wanted.itemsize > 1:
        return _without_fp16(wanted, device, "model", weight_dtype)
    if weight_dtype != "auto":
        return Choice(usual(device), weight_dtype)
    flag = given(*OTHER_FP8_FLAGS)
    return Choice(usual(device), "fp8", flag and _instead(flag, "model", "keeps its weights in float8 e4m3"))


def for_text_encoder(device_choice: str) -> Choice:
    """For Gemma and the text projection; `device_choice` is the loader's."""
    device = torch.device("cpu") if device_choice == "cpu" else mm.text_encoder_device()
    if given("--fp32-text-enc"):
        return Choice(torch.float32)
    if given("--bf16-text-enc"):
        return Choice(torch.bfloat16)
    if flag := given(*FP8_TEXT_FLAGS):
        return Choice(usual(device), note=_instead(flag, "text encoder", "does not keep its weights in float8"))
    return _without_fp16(torch.float16 if given("--fp16-text-enc") else usual(device), device, "text encoder")


def for_vae(part: str = "VAE") -> Choice:
    """For the video VAE or the `part` "upsampler"; sound is computed in float32 whatever the flags say."""
    device = mm.vae_device()
    return _without_fp16(mm.vae_dtype(device, list(COMPUTE_DTYPES)), device, part)


def as_loaded(dtype: torch.dtype, device: torch.device, what: str = "VAE") -> Choice:
    """For what ComfyUI's own loader keeps in `dtype` and computes in it; never in float16."""
    if dtype in COMPUTE_DTYPES:
        return Choice(dtype)
    kept, instead = (str(each).removeprefix("torch.") for each in (dtype, usual(device)))
    note = f"ComfyUI loaded its {what} in {kept}; it is computed in {instead}, as float16 overflows."
    return Choice(usual(device), note=note)


def usual(device: torch.device) -> torch.dtype:
    """Without any flag."""
    return torch.bfloat16 if mm.should_use_bf16(device) else torch.float32


def _without_fp16(wanted: torch.dtype, device: torch.device, part: str, weights: str = "auto") -> Choice:
    if wanted in COMPUTE_DTYPES:
        return Choice(wanted, weights)
    dtype = usual(device)
    words = f"is computed in {str(dtype).removeprefix('torch.')}, as float16 overflows"
    return Choice(dtype, weights, _instead(given(*FP16_FLAGS[part]), part, words))


def _instead(flag: str, part: str, what: str) -> str:
    return f"ComfyUI was started with {flag}, but the LTX-2.3 {part} {what}."
