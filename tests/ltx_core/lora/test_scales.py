"""A LoRA's scale where its metadata has it, in the words of each trainer."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.lora import LoRA

TO_Q, TO_K = "transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.to_k"
PEFT = ("transformer.{}.lora_A.weight", "transformer.{}.lora_B.weight")
KOHYA = ("lora_unet_{}.lora_down.weight", "lora_unet_{}.lora_up.weight")


@pytest.fixture
def scales(tmp_path):
    """`scales(keys, metadata)`: the scales of two layers of rank 4 and 2 in such a file, and where they were read."""

    def read(keys: tuple[str, str], metadata: dict[str, str], **more: torch.Tensor) -> tuple[list[float], str | None]:
        tensors = dict(more)
        for name, rank in ((TO_Q, 4), (TO_K, 2)):
            name = name.replace(".", "_") if keys is KOHYA else name
            tensors |= {keys[0].format(name): torch.ones(rank, 8), keys[1].format(name): torch.ones(8, rank)}
        save_file(tensors, tmp_path / "lora.safetensors", metadata)
        lora = LoRA.open(tmp_path / "lora.safetensors")
        factors = lora.factors()
        assert {name: scale for name, (_, _, scale) in factors.items()} == lora.scales()
        return [lora.scales()[TO_Q], lora.scales()[TO_K]], lora.scale_key

    return read


def adapter(**config) -> dict[str, str]:
    return {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})}


@pytest.mark.parametrize(
    ("keys", "metadata", "expected"),
    [
        (PEFT, {}, [1, 1]),
        (PEFT, adapter(lora_alpha=8, r=4), [2, 2]),
        (PEFT, adapter(lora_alpha=8, r=4, rank_pattern={"attn1.to_k": 2}), [2, 4]),
        (PEFT, adapter(lora_alpha=8, r=4, rank_pattern={"to_k": 2}, alpha_pattern={TO_Q: 16}), [4, 4]),
        (PEFT, adapter(lora_alpha=8, r=4, rank_pattern={"^transformer_blocks\\.0\\.attn1\\.to_k$": 2}), [2, 4]),
        (PEFT, adapter(lora_alpha=8, r=4, rank_pattern={"attn[0-9].to_[kv]": 2}), [2, 4]),
        (PEFT, adapter(lora_alpha=8, r=4, use_rslora=True), [4, 4]),
        (PEFT, {"lora_adapter_metadata": json.dumps({"lora_alpha": 2, "r": 4})}, [0.5, 0.5]),
        # The rank beside it, not that of small layers.
        (PEFT, {"lora_alpha": "450", "lora_rank": "450"}, [1, 1]),
        (PEFT, {"lora_alpha": "8"}, [2, 4]),
        (KOHYA, {"ss_network_alpha": "1", "ss_network_dim": "4"}, [0.25, 0.25]),
        (KOHYA, {"ss_network_alpha": "1.0"}, [0.25, 0.5]),
    ],
)
def test_what_metadata_says(scales, keys, metadata, expected):
    found, where = scales(keys, metadata)
    assert found == expected and where == (next(iter(metadata)) if metadata else None)


@pytest.mark.parametrize("keys", [PEFT, ("diffusion_model.{}.lora_down.weight", "diffusion_model.{}.lora_up.weight")])
def test_converters_of_kohyas_files_have_multiplied_the_scale_in(scales, keys):
    """They leave the metadata as it was."""
    assert scales(keys, {"ss_network_alpha": "1", "ss_network_dim": "4"}) == ([1, 1], None)


def test_an_alpha_of_its_own_comes_first(scales):
    alphas = {f"lora_unet_{TO_Q.replace('.', '_')}.alpha": torch.tensor(3.0)}
    assert scales(KOHYA, {"ss_network_alpha": "1", "ss_network_dim": "4"}, **alphas)[0] == [0.75, 0.25]


@pytest.mark.parametrize("text", ["", "None", "nan", "inf", "0", "-1", "[]", "x" * 99])
@pytest.mark.parametrize("key", ["lora_alpha", "ss_network_alpha", "lora_adapter_metadata"])
def test_what_is_no_number_says_nothing(scales, key, text):
    assert scales(KOHYA, {key: text}) == ([1, 1], None)


@pytest.mark.parametrize("value", [None, "8", True, [], {}, "nan", 1e999])
def test_any_json_is_read(scales, value):
    found, _ = scales(PEFT, adapter(lora_alpha=value, r=value, rank_pattern=value, alpha_pattern=value))
    assert all(number > 0 for number in found)
