"""The GPUs that a model's work may be divided between, as ComfyUI counts them."""

import comfy.model_management as mm
import torch

from . import compat


def further(count: int) -> list[torch.device]:
    """The devices beside ComfyUI's own that `count` devices in all take; fewer where there are fewer."""
    first = mm.get_torch_device()
    return [device for device in compat.all_devices() if device != first][: count - 1]


def told(count: int) -> str:
    """What a node says that asks for `count` GPUs, such as "2 GPUs share the work: cuda:0 NVIDIA H200, cuda:1 ..."."""
    devices = [mm.get_torch_device(), *further(count)]
    if len(devices) == 1:
        here = "no GPU" if mm.is_device_cpu(devices[0]) else "one GPU"
        return f"Nothing changes: {'max_gpus is 1' if count == 1 else f'ComfyUI has {here} here'}"
    names = ", ".join(f"{device} {_name(device)}" for device in devices)
    fewer = f"; {count} were asked for" if len(devices) < count else ""
    return f"{len(devices)} GPUs share the work: {names}{fewer}"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""
