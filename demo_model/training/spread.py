"""Gives the video latents' channels sizes of their own, as LTX-2.3's have them.

Training leaves all at a deviation of one, where nobody would notice a pipeline that forgets the statistics.  The sizes
are powers of two: no result changes by a bit.
"""

import torch
from torch import Tensor

from ...scripts.small_model_parts.layout import Tensors

CHANNELS = 128
SIZES = 2.0 ** ((torch.arange(CHANNELS) * 7) % 4 - 1)  # 1/2 to 4


def spread_autoencoder(tensors: Tensors) -> Tensors:
    """The video VAE's, by the names of `VideoAutoencoder`: latents and statistics are `SIZES` larger."""
    spread = dict(tensors)
    for side in ("encoder", "decoder"):
        for name in ("mean-of-means", "std-of-means"):
            spread[f"{side}.per_channel_statistics.{name}"] = tensors[f"{side}.per_channel_statistics.{name}"] * SIZES
    for name in ("weight", "bias"):
        spread[f"encoder.conv_out.conv.{name}"] = _enlarged_rows(tensors[f"encoder.conv_out.conv.{name}"])
    spread["decoder.conv_in.conv.weight"] = _reduced_columns(tensors["decoder.conv_in.conv.weight"])
    return spread


def spread_upsampler(tensors: Tensors) -> Tensors:
    """The upsampler's, which works on latents as the encoder gives them, before they are normalised."""
    return {
        **tensors,
        "initial_conv.weight": _reduced_columns(tensors["initial_conv.weight"]),
        "final_conv.weight": _enlarged_rows(tensors["final_conv.weight"]),
        "final_conv.bias": _enlarged_rows(tensors["final_conv.bias"]),
    }


def gathered_autoencoder(tensors: Tensors) -> Tensors:
    """What `spread_autoencoder` was given."""
    gathered = dict(tensors)
    for side in ("encoder", "decoder"):
        for name in ("mean-of-means", "std-of-means"):
            gathered[f"{side}.per_channel_statistics.{name}"] = tensors[f"{side}.per_channel_statistics.{name}"] / SIZES
    for name in ("weight", "bias"):
        gathered[f"encoder.conv_out.conv.{name}"] = _enlarged_rows(tensors[f"encoder.conv_out.conv.{name}"], 1 / SIZES)
    gathered["decoder.conv_in.conv.weight"] = _reduced_columns(tensors["decoder.conv_in.conv.weight"], 1 / SIZES)
    return gathered


def gathered_upsampler(tensors: Tensors) -> Tensors:
    """What `spread_upsampler` was given."""
    return {
        **tensors,
        "initial_conv.weight": _reduced_columns(tensors["initial_conv.weight"], 1 / SIZES),
        "final_conv.weight": _enlarged_rows(tensors["final_conv.weight"], 1 / SIZES),
        "final_conv.bias": _enlarged_rows(tensors["final_conv.bias"], 1 / SIZES),
    }


def _enlarged_rows(tensor: Tensor, by: Tensor = SIZES) -> Tensor:
    """(128 or more, ...): what comes after the latent's channels stays."""
    sizes = torch.ones(len(tensor))
    sizes[:CHANNELS] = by
    return tensor * sizes.view(-1, *[1] * (tensor.ndim - 1))


def _reduced_columns(weight: Tensor, by: Tensor = SIZES) -> Tensor:
    """(N, 128, ...)."""
    return weight / by.view(-1, *[1] * (weight.ndim - 2))
