"""diffusers' names of LTX-2's layers: its own conversion of an official LoRA, read back."""

import re

import torch

from ltx_duo.ltx_core import lora_keys
from ltx_duo.ltx_core.lora.names import module_name


def test_every_official_layer_comes_back_from_diffusers_names(official_tensors):
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_ltx2_lora_to_diffusers

    layers = {re.sub(r"\.(weight|bias)$", "", name) for name in official_tensors("transformer")}
    keys = {f"diffusion_model.{name}.lora_A.weight": torch.tensor(n) for n, name in enumerate(sorted(layers))}
    theirs = _convert_non_diffusers_ltx2_lora_to_diffusers(dict(keys))
    number_of = {int(tensor): key for key, tensor in theirs.items()}
    assert len(number_of) == len(layers) > 1700
    changed = 0
    for key, number in keys.items():
        layer, part = lora_keys.split(number_of[int(number)])
        assert part == lora_keys.DOWN
        assert f"diffusion_model.{module_name(layer)}.lora_A.weight" == key
        changed += layer != f"transformer.{module_name(layer)}"
    assert changed > 100, "the two do not differ"
