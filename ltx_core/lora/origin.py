"""What a LoRA was made for, as far as its metadata, its name and its layers tell."""

import re
from collections.abc import Mapping

from ..generation import Generation, generation_of_version, named_generation, version_tuple
from ..safetensors_file import SafetensorsFile
from .layers import LoraLayer

# Metadata of IC-LoRAs: how much smaller, and how much slower, the reference video is.
_REFERENCE = ("reference_downscale_factor", "reference_spatial_scale_factor", "reference_temporal_scale_factor")
_IC_NAME = re.compile(r"(?<![a-z])ic[-_ ]?lora", re.IGNORECASE)
# Where trainers name the model that a LoRA was made for.
_MADE_FOR = ("model_version", "ss_base_model_version", "modelspec.architecture", "base_model", "ss_sd_model_name")
# Modulations that a block takes from each adaln: 2.3 adds three for its gated text attention.
_MODULATIONS = {6: Generation.V2_0, 9: Generation.V2_3}


def reference_evidence(file: SafetensorsFile) -> str | None:
    """Why the file is taken for an IC-LoRA: the trainer's metadata, whatever it says there, or the name."""
    for key, value in file.metadata.items():
        if key.endswith(_REFERENCE):
            return f"its metadata has {key} {value[:40]!r}"
    return "of its name" if _IC_NAME.search(file.path.name) else None


def named_for(file: SafetensorsFile) -> tuple[Generation, str] | None:
    """The generation that metadata or name tell; layers of the blocks have the same sizes in several."""
    for key in _MADE_FOR:
        text = file.metadata.get(key, "")
        generation = (
            generation_of_version(text) if key == "model_version" and _is_ltx_2(text) else named_generation(text)
        )
        if generation is not None:
            return generation, f"its metadata has {key} {text[:40]!r}"
    generation = named_generation(file.path.name)
    return None if generation is None else (generation, "its name says so")


def shaped_for(layers: Mapping[str, LoraLayer]) -> tuple[Generation, str] | None:
    """The generation that its layers tell, where they are among those that differ."""
    for side in ("", "audio_"):
        layer = layers.get(f"{side}adaln_single.linear")
        if layer is not None and layer.shape is not None and len(layer.shape) == 2:
            count, rest = divmod(*layer.shape)
            if rest == 0 and count in _MODULATIONS:
                return _MODULATIONS[count], f"{side}adaln_single.linear makes {count} modulations"
        if any(name.startswith(f"{side}caption_projection.") for name in layers):
            return Generation.V2_0, f"it has {side}caption_projection"
    gated = next((name for name in layers if name.endswith(".to_gate_logits")), None)
    return None if gated is None else (Generation.V2_3, f"it has {gated}")


def _is_ltx_2(version: str) -> bool:
    # A LoRA's own version is 1.0 more often than not.
    return version_tuple(version) >= (2, 0)
