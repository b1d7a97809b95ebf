"""From a state dict to a module: audio statistics, NaN check, strict load."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .key_maps import STATISTICS_ALIASES, STATISTICS_NAMES, Component
from .safetensors_file import SafetensorsFile
from .unfinished import signs

# A large tensor is sampled in runs, so that of a file that is mapped into memory only a few pages are read.
_WHOLLY_CHECKED = 65_536
_RUNS = 8
_RUN_LENGTH = 2_048


def load_module(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    source: str | Path,
    component: Component,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """Gives `module` exactly these weights and returns it.

    Names and shapes must match.  Tensors are taken over as they are, without a copy and in the file's own mix of
    dtypes; with a `dtype`, floating-point ones are converted to it.  CheckpointError names `source` and says what is
    missing, unexpected, of another shape, or not finite.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    problems = differences(expected, {name: tensor.shape for name, tensor in state_dict.items()})
    if problems:
        raise CheckpointError(
            f"The {component.value} in {source} does not fit the model that its config describes: {problems}. "
            "Use the file as its publisher released it; if it is, download it again."
        )
    check_finite(state_dict, source)
    if dtype is not None:
        state_dict = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state_dict.items()}
    module.load_state_dict(state_dict, strict=True, assign=True)
    return module


def differences(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """How the shapes of `found` differ from those of `expected`, by name; empty if they do not."""
    other = [
        f"{name} is {_shape(found[name])} instead of {_shape(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    kinds = (
        (f"missing of {len(expected):,} tensors", [name for name in expected if name not in found]),
        ("unexpected", [name for name in found if name not in expected]),
        ("of another shape", other),
    )
    return "; ".join(f"{len(names):,} {kind} ({_first(names)})" for kind, names in kinds if names)


def _shape(shape: Iterable[int]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"


def _first(names: list[str], most: int = 4) -> str:
    """The first few names; the rest is counted by the part of the module that they are in."""
    text = ", ".join(names[:most])
    if len(names) > most:
        parts = Counter(name.split(".")[0].split(" ")[0] for name in names)
        text += ", ...; by part: " + ", ".join(f"{part} {count:,}" for part, count in parts.most_common(most))
    return text


def check_finite(state_dict: Mapping[str, Tensor], source: str | Path) -> None:
    """CheckpointError if a tensor holds NaN or infinity; of large tensors 16384 elements are looked at."""
    for name, tensor in state_dict.items():
        if tensor.is_meta or not tensor.is_floating_point():
            continue
        # float32 first: float8 has no isfinite of its own.
        if not all(torch.isfinite(sample.float()).all() for sample in _samples(tensor)):
            raise CheckpointError(
                f"Weight {name} in {source} holds NaN or infinity; expected finite numbers. The file is damaged, or "
                "was converted to a type that its numbers do not fit into: download it again."
            )


def check_written(state_dict: Mapping[str, Tensor], file: SafetensorsFile) -> None:
    """CheckpointError if a large matrix is zero where it is looked at, and the file looks unfinished otherwise too.

    Zeros alone are no fault: there are LoRAs that leave layers as they are, and tables that are not used.  They are one
    with the mark of a download beside the file, with parts of it that were never written, or where the file's last two
    matrices are zeros as well.
    """
    zeros = [name for name, tensor in state_dict.items() if name.endswith(".weight") and _is_zero(tensor)]
    if not zeros:
        return
    sign = signs(file.path)
    if sign is None:
        # Two, because the last layer of a LoRA may have been left as it was: its A is no zeros then.
        large = [name for name, info in file.tensors.items() if name.endswith(".weight") and _is_large(info.shape)]
        last = {name: file.numbers(name) for name in large[-2:]}
        if len(last) < 2 or not all(map(_is_zero, last.values())):
            return
        sign = f"so do the file's last matrices, {' and '.join(last)}"
    raise CheckpointError(
        f"Weight {zeros[0]} in {file.path} holds nothing but zeros, and {sign}; expected a trained weight. The "
        "download is not finished, or the file is damaged: download it again."
    )


def _is_zero(tensor: Tensor) -> bool:
    if tensor.is_meta or not _is_large(tensor.shape):
        return False
    return not any(sample.float().any() for sample in _samples(tensor))


def _is_large(shape: Sequence[int]) -> bool:
    return len(shape) > 1 and prod(shape) > _WHOLLY_CHECKED


def _samples(tensor: Tensor) -> list[Tensor]:
    """Runs of a large tensor, the whole of a small one."""
    flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor.contiguous().reshape(-1)
    if flat.numel() <= _WHOLLY_CHECKED:
        return [flat]
    last = flat.numel() - _RUN_LENGTH
    return [flat[last * i // (_RUNS - 1) :][:_RUN_LENGTH] for i in range(_RUNS)]


def backfill_audio_statistics(state_dict: Mapping[str, Tensor], source: str | Path = "the file") -> dict[str, Tensor]:
    """The audio VAE's state dict with its latent statistics under both names that files have for them.

    `per_channel_statistics.mean-of-means` is also called `latents_mean`, `per_channel_statistics.std-of-means`
    `latents_std`.  Each that is missing is taken from its other name, none is overwritten.  CheckpointError if one is
    missing under both names, is not finite, or a deviation is not above zero: sound decoded without them is noise.
    """
    filled = dict(state_dict)
    for name, alias in zip(STATISTICS_NAMES, STATISTICS_ALIASES, strict=True):
        if name not in filled and alias not in filled:
            raise CheckpointError(
                f"The audio VAE in {source} has no latent statistics: expected a tensor {name} or {alias}. Without "
                "them the sound would be noise. Use the official checkpoint, or an audio VAE file that kept them."
            )
        filled.setdefault(name, filled.get(alias))
        filled.setdefault(alias, filled[name])
        for values in (filled[name], filled[alias]):
            check_latent_statistics(name, values, source)
    return filled


def check_latent_statistics(name: str, values: Tensor, source: str | Path) -> None:
    """CheckpointError if a VAE's statistics of that name are not finite, or are deviations and not above zero."""
    if values.is_meta:
        return
    values = values.float()
    deviations = name.endswith(("std-of-means", STATISTICS_ALIASES[1]))
    if not torch.isfinite(values).all() or (deviations and not (values > 0).all()):
        below = f"{int((values <= 0).sum()):,} of {values.numel():,} numbers that are not above zero"
        found = below if deviations and torch.isfinite(values).all() else "NaN or infinity"
        raise CheckpointError(
            f"The VAE's latent statistics {name} in {source} hold {found}; expected finite numbers"
            f"{', above zero' if deviations else ''}. Without them nothing can be decoded: download the file again."
        )
