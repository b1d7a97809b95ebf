"""A custom node of the test server: ComfyUI's own Gemma-3 12B with the sizes of core_gemma.GEMMA, which it fixes in
code, and a node that writes a CONDITIONING's features to the output folder."""

from dataclasses import dataclass
from pathlib import Path

import folder_paths
from comfy.text_encoders import llama, lt
from safetensors.torch import save_file


@dataclass
class SmallGemma(llama.Gemma3_12B_Config):
    hidden_size: int = 32
    intermediate_size: int = 64
    num_attention_heads: int = 2
    num_key_value_heads: int = 1
    # Built with the language model, though no text needs it: 400 million parameters otherwise.
    vision_config = llama.GEMMA3_VISION_CONFIG | {
        "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "image_size": 56,
    }  # fmt: skip
    mm_tokens_per_image = 4


class SmallProjection(lt.DualLinearProjection):
    def __init__(self, *_official_sizes, **factory):
        super().__init__(SmallGemma.hidden_size * 49, 128, 64, **factory)


llama.Gemma3_12B_Config = SmallGemma
lt.DualLinearProjection = SmallProjection


class SaveFeatures:
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "save"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",), "name": ("STRING",)}}

    def save(self, conditioning, name):
        ((features, _),) = conditioning
        save_file({"features": features.contiguous()}, Path(folder_paths.get_output_directory(), Path(name).name))
        return {}


NODE_CLASS_MAPPINGS = {"TestSaveFeatures": SaveFeatures}
