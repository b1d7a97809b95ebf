"""ComfyUI's start-up flags."""

from comfy.cli_args import args

# Flags that can make numbers overflow, or attention fail, here or in other nodes whose results come to ours.
RISKY = (
    "--force-fp16",
    "--fp16-unet",
    "--fp16-vae",
    "--fp16-text-enc",
    "--fp16-intermediates",
    "--fp8_e4m3fn-unet",
    "--fp8_e5m2-unet",
    "--fp8_e8m0fnu-unet",
    "--fp8_e4m3fn-text-enc",
    "--fp8_e5m2-text-enc",
    "--supports-fp8-compute",
    "--use-split-cross-attention",
    "--use-quad-cross-attention",
    "--use-sage-attention",
    "--use-flash-attention",
    "--force-channels-last",
    "--force-non-blocking",
)


def given(*flags: str) -> str | None:
    """The first of these flags that ComfyUI was started with."""
    return next((flag for flag in flags if getattr(args, flag.lstrip("-").replace("-", "_"), False)), None)


def risky() -> list[str]:
    """The flags in force that can be why a result is not finite."""
    found = [flag for flag in RISKY if given(flag)]
    fast = sorted(feature.value for feature in args.fast)
    return found + ([f"--fast {' '.join(fast)}"] if fast else [])
