"""Whether a component's tensors are those of the module that its config describes, by headers alone."""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from .checkpoint import SECTIONS, UPSAMPLER, Checkpoint, Component
from .config_section import AS_PUBLISHED
from .errors import CheckpointError, VariantError
from .loading import build_module, module_of_config
from .other_forms import other_form
from .quantization import plain_shapes
from .weights import differences


def check_form(part: Component, checkpoint: Checkpoint) -> None:
    """CheckpointError or VariantError if `part` has a form of another tool, or is of another generation by its names.

    What none of this is said of may still not fit.
    """
    names = checkpoint.key_maps[part]
    if found := other_form(names):
        what, to_do = found
        raise CheckpointError(f"The {part.value} in {checkpoint.path} is {what}, which LTX Duo does not read. {to_do}")
    if part is Component.TRANSFORMER and not any(name.startswith("audio_") for name in names.values()):
        raise VariantError(
            f"The transformer in {checkpoint.path} has no layers for sound: a model of video alone, such as "
            "LTX-Video before LTX-2. Choose an LTX-2.3 file, such as ltx-2.3-22b-dev.safetensors."
        )


def check_fit(part: Component, checkpoint: Checkpoint, module: nn.Module | None = None) -> None:
    """CheckpointError or VariantError if the file's tensors of `part` are not those of its module.

    `module`, which may be on the meta device, counts in place of the one that the file's config describes.
    """
    check_form(part, checkpoint)
    if module is not None:
        expected = _shapes(module)
    elif part in SECTIONS:
        expected = _shapes_by_config(part, json.dumps(checkpoint.config_for(part)))
    else:
        expected = _shapes_of(lambda: build_module(checkpoint, part, device="meta"))
    if problems := _differences(part, checkpoint, expected):
        raise CheckpointError(
            f"The {part.value} in {checkpoint.path} does not fit the model that its config describes: {problems}. Use "
            "the file as its publisher released it, or one that was converted together with its config."
        )


def unfit(part: Component, checkpoint: Checkpoint, config: Mapping[str, Any]) -> str:
    """How `part` differs from the module that another config describes (by sections); empty if it does not.

    A config that describes no module that can be built does not fit.
    """
    try:
        own = config[UPSAMPLER] if part is Component.UPSAMPLER else config
        expected = _shapes_by_config(part, json.dumps(dict(own)))
        return _differences(part, checkpoint, expected)
    except CheckpointError as error:
        return str(error)


@lru_cache(maxsize=32)
def _shapes_by_config(part: Component, config: str) -> dict[str, tuple[int, ...]]:
    """As JSON, because files have one config each and share it: the vocoder's module alone takes half a second."""
    return _shapes_of(lambda: module_of_config(part, json.loads(config), device="meta"))


def _shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """CheckpointError for a config whose sizes, each possible, make a tensor that is none."""
    try:
        return _shapes(build())
    except (RuntimeError, OverflowError, MemoryError) as error:
        found = next(iter(str(error).splitlines()), repr(error))
        raise CheckpointError(f"The config describes a model that cannot be built ({found}). {AS_PUBLISHED}") from None


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _differences(part: Component, checkpoint: Checkpoint, expected: Mapping[str, tuple[int, ...]]) -> str:
    return differences(expected, plain_shapes(checkpoint, part, expected))
