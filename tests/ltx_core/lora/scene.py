"""A small model, and files with LoRAs for it."""

import torch
from torch import nn

from ltx_duo.ltx_core.lora import LoRA

# Official LoRAs have min(384, in, out): all four kinds of rank occur.
LAYERS = {"to_q": (512, 400, 384), "linear_1": (512, 256, 256), "patchify_proj": (512, 128, 128), "gate": (32, 512, 32)}


class Model(nn.Module):
    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.blocks = nn.ModuleDict({name: nn.Linear(i, o, dtype=dtype) for name, (o, i, _) in LAYERS.items()})


def expected_delta(lora: LoRA, layer: str, scale: float) -> torch.Tensor:
    down, up, _ = lora.factors()[f"blocks.{layer}"]
    return scale * (up.float() @ down.float())


def bits(module: nn.Module) -> dict[str, bytes]:
    return {
        name: tensor.detach().flatten().view(torch.uint8).numpy().tobytes()
        for name, tensor in module.named_parameters()
    }
