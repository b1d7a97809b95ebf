"""Files with LoRAs for the small model of `scene`."""

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.tests.ltx_core.lora.scene import LAYERS


@pytest.fixture
def write(tmp_path, rng):
    def write(
        tensors=None, name="lora", style="AB", alpha=None, layers=LAYERS, prefix="diffusion_model.blocks.", **metadata
    ):
        if tensors is None:
            down, up = {"AB": ("lora_A", "lora_B"), "downup": ("lora_down", "lora_up")}[style]
            tensors = {}
            for layer, (out, width, rank) in LAYERS.items():
                tensors[f"{prefix}{layer}.{down}.weight"] = torch.randn(rank, width, generator=rng).bfloat16()
                tensors[f"{prefix}{layer}.{up}.weight"] = torch.randn(out, rank, generator=rng).bfloat16()
                if alpha is not None:
                    tensors[f"{prefix}{layer}.alpha"] = torch.tensor(alpha)
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, metadata or None)
        return path

    return write
