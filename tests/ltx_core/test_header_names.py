"""What the header promises is what is read: the same names and shapes for each component."""

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.key_maps import STATISTICS_ALIASES, STATISTICS_NAMES


@pytest.mark.parametrize("names", [STATISTICS_NAMES, STATISTICS_ALIASES, STATISTICS_NAMES + STATISTICS_ALIASES])
@pytest.mark.parametrize(
    "component, prefix, kernel",
    [(Component.VIDEO_DECODER, "vae.", (2, 2, 1, 1, 1)), (Component.AUDIO_DECODER, "audio_vae.", (2, 2, 1, 1))],
)
def test_statistics_under_either_name(tmp_path, component, prefix, kernel, names):
    tensors = {f"{prefix}decoder.conv_in.conv.weight": torch.ones(kernel)}
    tensors |= {prefix + name: torch.ones(2) for name in names}
    save_file(tensors, tmp_path / "vae.safetensors")
    checkpoint = Checkpoint.open(tmp_path / "vae.safetensors")
    read = checkpoint.state_dict(component)
    promised = checkpoint.tensors(component)
    assert {name: info.shape for name, info in promised.items()} == {name: t.shape for name, t in read.items()}
