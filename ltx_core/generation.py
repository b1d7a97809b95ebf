"""Which generation of the model a file is of."""

import json
import re
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from .errors import VariantError
from .key_maps import Component, KeyMap
from .safetensors_file import TensorInfo
from .text.keys import is_gemma_4


class Generation(Enum):
    """A generation of LTX-2; the value is its version."""

    V2_0 = "2.0"
    V2_3 = "2.3"
    V2_5 = "2.5"
    LATER = "later than 2.5"

    def __str__(self) -> str:
        return f"LTX-{self.value}" if self is not Generation.LATER else "a generation later than LTX-2.5"


_MARKERS = {
    "ltx_2": Generation.V2_0, "ltx_2_0": Generation.V2_0, "ltx_2_3": Generation.V2_3, "ltx_2_5": Generation.V2_5,
}  # fmt: skip


# Names LTX-2.0 without a minor version, and not by the model's size as its other files do.
_UPSCALER_2_0 = re.compile(r"ltx[-_ ]2[-_ ](?:spatial|temporal)[-_ ]upscaler")
_NAMED = re.compile(r"ltx[-_ ]?(?:v|av|video)?[-_ ]?2(?:[._-](?P<minor>\d)(?![\db]))?(?:[-_ ](?P<size>\d+)b)?(?!\d)")


def version_tuple(version: str) -> tuple[int, ...]:
    """The leading whole numbers, "-" counting as ".": (2, 3, 0) for "2.3.0-rc1"; empty when there are none.

    The rule of the vendor's `detect_model_version`; an empty tuple sorts before every version.
    """
    numbers = []
    for part in version.replace("-", ".").split("."):
        if not (part.isascii() and part.isdecimal()) or len(part) > 9:
            break
        numbers.append(int(part))
    return tuple(numbers)


def generation_of_version(version: str) -> Generation | None:
    """The generation of a `model_version`; None for a text without numbers, VariantError for one before LTX-2."""
    numbers = version_tuple(version)
    if not numbers:
        return None
    if numbers < (2,):
        raise VariantError(
            f"its model_version is {version!r}, a model before LTX-2; expected LTX-2.5, LTX-2.3 or LTX-2.0. Use a "
            "checkpoint of one of them."
        )
    if numbers >= (2, 6):
        return Generation.LATER
    # 2.4 was the working title of pre-releases of 2.5.
    if numbers >= (2, 4):
        return Generation.V2_5
    return Generation.V2_3 if numbers >= (2, 3) else Generation.V2_0


def marked_generation(metadata: Mapping[str, str], config: Mapping[str, Any]) -> Generation | None:
    """What the file says of itself: `model_version` in its metadata, `ltx_variant` in its config or a section of it.

    None when it says nothing that is known; VariantError when it contradicts itself.
    """
    found: dict[str, Generation] = {}
    if "model_version" in metadata and (generation := generation_of_version(metadata["model_version"])):
        found[f"model_version {metadata['model_version']!r}"] = generation
    if generation := _generation_of_gemma_source(metadata):
        found["gemma_source_checkpoint"] = generation
    sections = {"config": config, **{f"config.{name}": value for name, value in config.items()}}
    for name, section in sections.items():
        marker = section.get("ltx_variant") if isinstance(section, Mapping) else None
        if isinstance(marker, str) and (generation := _MARKERS.get(marker.lower().replace(".", "_"))):
            found[f"{name}.ltx_variant {marker!r}"] = generation
    if len(set(found.values())) > 1:
        says = "; ".join(f"{where} means {generation}" for where, generation in found.items())
        raise VariantError(f"its metadata contradicts itself: {says}. Use the file as its publisher released it.")
    return next(iter(found.values()), None)


def stated_version(metadata: Mapping[str, str]) -> str | None:
    """What the file calls its version, as it stands there: `model_version`, or a text encoder's `ltx_version`."""
    version = metadata.get("model_version") or _version_of_gemma_source(metadata)
    return version if version and version_tuple(version) else None


def named_generation(text: str) -> Generation | None:
    """The generation in a name such as "ltx-2.3-22b-dev" or "ltx-2-19b-lora"; None for what tells none, as "ltx2"."""
    if _UPSCALER_2_0.search(text.lower()):
        return Generation.V2_0
    found = _NAMED.search(text.lower())
    if found is None:
        return None
    minor, size = found["minor"], found["size"]
    by_minor = {"0": Generation.V2_0, "3": Generation.V2_3, "5": Generation.V2_5}
    return by_minor.get(minor) if minor else {"19": Generation.V2_0, "22": Generation.V2_3}.get(size)


def _generation_of_gemma_source(metadata: Mapping[str, str]) -> Generation | None:
    version = _version_of_gemma_source(metadata)
    return None if version is None else generation_of_version(version)


def _version_of_gemma_source(metadata: Mapping[str, str]) -> str | None:
    version = gemma_source(metadata).get("ltx_version")
    return version if isinstance(version, str) else None


def gemma_source(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """`gemma_source_checkpoint`: files since 2.5 name the model (`ltx_version`) and the Gemma (`gemma_version`) that
    they belong to; empty where a file does not."""
    try:
        source = json.loads(metadata.get("gemma_source_checkpoint") or "{}")
    except (ValueError, RecursionError):
        return {}
    return source if isinstance(source, dict) else {}


def guessed_generation(maps: Mapping[Component, KeyMap], tensors: Mapping[str, TensorInfo]) -> Generation | None:
    """The generation by the names and shapes of tensors; None where all generations have the same, as upsamplers do."""
    shapes = {component: {name: tensors[key].shape for key, name in keys.items()} for component, keys in maps.items()}
    for component, guess in (
        (Component.TRANSFORMER, _guess_transformer),
        (Component.GEMMA, _guess_text_encoder),
        (Component.DIFFUSION_DECODER, lambda _: Generation.V2_5),
        (Component.DURATION_HEAD, lambda _: Generation.V2_5),
        (Component.TEXT_PROJECTION, _guess_projection),
        (Component.VIDEO_CONNECTOR, _guess_connector),
        (Component.AUDIO_CONNECTOR, _guess_connector),
        (Component.VOCODER, _guess_vocoder),
        (Component.VIDEO_DECODER, _guess_video_decoder),
    ):
        if component in shapes and (generation := guess(shapes[component])):
            return generation
    return None


def generation_by_look(
    name: str, maps: Mapping[Component, KeyMap], tensors: Mapping[str, TensorInfo]
) -> Generation | None:
    """As `guessed_generation`, and by the file's name where LTX-2.5 has the same parts as LTX-2.3."""
    looks = guessed_generation(maps, tensors)
    if shared_with_2_5(looks, maps) and named_generation(name) is Generation.V2_5:
        return Generation.V2_5
    return looks


def shared_with_2_5(looks: Generation | None, parts: Collection[Component]) -> bool:
    """Whether parts that look like LTX-2.3's may be LTX-2.5's just as well: all but the transformer."""
    return looks is Generation.V2_3 and Component.TRANSFORMER not in parts


Shapes = Mapping[str, tuple[int, ...]]


def _guess_transformer(shapes: Shapes) -> Generation | None:
    if "audio_adaln_single.linear.weight" not in shapes:
        return None
    biases = (f"transformer_blocks.0.ff.net.{layer}.bias" for layer in ("0.proj", "2"))
    if "keyframes_abs_pos_embedding" in shapes or not any(bias in shapes for bias in biases):
        return Generation.V2_5
    if "prompt_adaln_single.linear.weight" in shapes or "transformer_blocks.0.attn1.to_gate_logits.weight" in shapes:
        return Generation.V2_3
    return Generation.V2_0


def _guess_text_encoder(shapes: Shapes) -> Generation | None:
    # LTX-2.3 and LTX-2.0 share Gemma-3.
    return Generation.V2_5 if is_gemma_4(shapes) else None


def _guess_projection(shapes: Shapes) -> Generation | None:
    if "aggregate_embed.weight" in shapes:
        return Generation.V2_0
    # LTX-2.5 has the same one, but in files that say so.
    return Generation.V2_3 if "video_aggregate_embed.bias" in shapes else None


def _guess_connector(shapes: Shapes) -> Generation | None:
    gated = "transformer_1d_blocks.0.attn1.to_gate_logits.weight" in shapes
    return Generation.V2_3 if gated else Generation.V2_0


def _guess_vocoder(shapes: Shapes) -> Generation | None:
    return Generation.V2_3 if any(name.startswith("bwe_generator.") for name in shapes) else Generation.V2_0


def _guess_video_decoder(shapes: Shapes) -> Generation | None:
    # 2.0 runs four groups of residual blocks, 2.3 five with a resampling in between each.
    groups = {name.split(".")[1] for name in shapes if name.startswith("up_blocks.") and ".res_blocks." in name}
    return {4: Generation.V2_0, 5: Generation.V2_3}.get(len(groups))
