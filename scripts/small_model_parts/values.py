"""Random weights with which signals neither explode nor vanish, and pictures and sound have a shape.

Each tensor has a random stream of its own, by seed and name, from NumPy's generator: the same bits on every machine,
whatever else is in the file.
"""

import math
import zlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from . import picture

Shape = tuple[int, ...]
Values = Callable[[str, Shape], Tensor]


class RandomValues:
    """Draws of one seed, float32."""

    def __init__(self, seed: int):
        self.seed = seed

    def normal(self, name: str, shape: Shape, scale: float = 1.0) -> Tensor:
        stream = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        return torch.from_numpy(stream.standard_normal(shape, dtype=np.float32)) * scale

    def matrix(self, name: str, shape: Shape, gain: float = 1.0) -> Tensor:
        """A Linear's or convolution's weight that makes outputs `gain` times as large as its inputs."""
        return self.normal(name, shape, gain * math.prod(shape[1:]) ** -0.5)

    def smooth_convolution(self, name: str, shape: Shape, gain: float = 1.0) -> Tensor:
        """A convolution that leans on the middle of its window, so that neighbours stay alike."""
        weight = self.matrix(name, shape, gain)
        window = torch.ones(())
        for size in shape[2:]:
            window = window[..., None] * torch.tensor([0.5, 1.0, 0.5] if size == 3 else [1.0] * size)
        return weight * window / window.square().mean().sqrt()

    def shared_rows(self, name: str, shape: Shape, copies: int, gain: float = 1.0, own: float = 0.3) -> Tensor:
        """A convolution whose groups of `copies` outputs, which become neighbouring pixels, are nearly the same."""
        groups = self.smooth_convolution(name, (shape[0] // copies, *shape[1:]), gain)
        alone = self.smooth_convolution(name + "/own", shape, gain)
        return groups.repeat_interleave(copies, dim=0) * math.sqrt(1 - own**2) + alone * own

    def rotation(self, name: str, rows: int, columns: int) -> Tensor:
        """`rows` of a random orthogonal matrix of size `columns`, a power of two: signed, shuffled Hadamard."""
        hadamard = torch.ones(1, 1)
        while len(hadamard) < columns:
            hadamard = torch.cat((torch.cat((hadamard, hadamard), 1), torch.cat((hadamard, -hadamard), 1)))
        order = self.normal(name + "/order", (columns,)).argsort()
        signs = self.normal(name + "/signs", (columns,)).sign()
        return (hadamard[order] * signs)[:rows] * columns**-0.5


def transformer_values(random: RandomValues) -> Values:
    """The stream starts as a rotation of the noisy tokens, which the output undoes: velocity is noise and content."""

    def values(name: str, shape: Shape) -> Tensor:
        modality = "audio" if name.startswith("audio_") else "video"
        if name in ("patchify_proj.weight", "audio_patchify_proj.weight"):
            return random.rotation(modality, *shape)
        if name in ("proj_out.weight", "audio_proj_out.weight"):
            noise = random.rotation(modality, *reversed(shape)).T
            if modality == "audio":
                return noise + random.matrix(name, shape, 0.5)
            # Cells of one colour go together, so that films have areas rather than a pattern.
            areas = random.matrix("areas", (picture.COLOURS + 1, shape[1]), 0.8)[picture.colour_of_latent()]
            return noise + areas + random.matrix(name, shape, 0.2)
        if name.endswith("table") or "scale_shift_table" in name:
            return random.normal(name, shape, 0.3)
        if name.endswith("norm.weight"):
            return 1 + random.normal(name, shape, 0.1)
        if name.endswith(".bias"):
            return random.normal(name, shape, 0.05)
        # Sharp attention, so that positions and words matter.
        sharp = name.endswith(("to_q.weight", "to_k.weight"))
        return random.matrix(name, shape, 1.5 if sharp else 1.0)

    return values


def text_values(random: RandomValues, prefix: str) -> Values:
    """Gemma, text projection and connectors."""

    def values(name: str, shape: Shape) -> Tensor:
        key = f"{prefix}.{name}"
        if name == "embed_tokens.weight":
            return random.normal(key, shape, shape[1] ** -0.5)
        if name == "learnable_registers":
            return random.normal(key, shape)
        if len(shape) == 1:
            # Gemma-3's norms count from one, all others from zero, as the numbers of Gemma-4's layers.
            one = 1.0 if prefix != "gemma" and name.endswith(("norm.weight", "layer_scalar")) else 0.0
            return one + random.normal(key, shape, 0.1)
        return random.matrix(key, shape, 1.5 if "q_proj" in name or "k_proj" in name else 1.0)

    return values


def video_values(random: RandomValues, side: str) -> Values:
    """Encoder or decoder: what keeps a picture (see `picture`), and around it a little of everything."""
    if side == "decoder":
        keeps, inputs = picture.decoder_weight, picture.DECODER_CONSTANT_INPUT
        constant, level = picture.DECODER_CONSTANT, picture.DECODER_LEVEL
    else:
        keeps, inputs = picture.encoder_weight, picture.ENCODER_CONSTANT_INPUT
        constant, level = picture.ENCODER_CONSTANT, picture.ENCODER_LEVEL

    def values(name: str, shape: Shape) -> Tensor:
        key = f"vae.{side}.{name}"
        if name.startswith("per_channel_statistics."):
            draws = random.normal("vae." + name, shape, 0.05)
            return draws if name.endswith("mean-of-means") else 0.4 + draws.abs()
        if name == "conv_in.conv.bias":
            bias = random.normal(key, shape, 0.02)
            bias[constant] = level
            return bias
        if len(shape) == 1:
            return random.normal(key, shape, 0.02)
        if ".res_blocks." in name:
            return random.smooth_convolution(key, shape, 0.03 if ".conv2." in name else 1.0)
        around = random.smooth_convolution(key, shape, 0.03)
        if name in inputs:
            # The constant is so large that it must go only where it belongs.
            around[:, inputs[name]] = 0
        return keeps(name, shape) + around

    return values


def plain_video_values(random: RandomValues, side: str) -> Values:
    """Encoder or decoder that keeps no picture: noise in, areas of colour out."""

    def values(name: str, shape: Shape) -> Tensor:
        key = f"vae.{side}.{name}"
        if name.startswith("per_channel_statistics."):
            return _statistics(random, "vae." + name, shape, 0.3)
        if len(shape) == 1:
            return random.normal(key, shape, 0.05)
        return random.smooth_convolution(key, shape, 0.5 if ".conv2." in name else 1.0)

    return values


def diffusion_values(random: RandomValues) -> Values:
    """LTX-2.5's other video decoder; its latent statistics are those of the video VAE."""
    statistics = video_values(random, "decoder")

    def values(name: str, shape: Shape) -> Tensor:
        key = f"vae.diffusion.{name}"
        if name.startswith("per_channel_statistics."):
            return statistics(name, shape)
        if name.endswith("scale_shift_table"):
            return random.normal(key, shape, 0.3)
        if len(shape) == 1:
            norm = "norm" in name.rpartition(".")[0].rpartition(".")[2]
            return random.normal(key, shape, 0.1) + (1.0 if norm else 0.0)
        return random.matrix(key, shape, 0.7)

    return values


def duration_values(random: RandomValues) -> Values:
    """A head whose films are a few seconds long."""

    def values(name: str, shape: Shape) -> Tensor:
        key = f"duration_head.{name}"
        if name == "mlp_out.bias":
            return torch.full(shape, 0.5)
        return random.normal(key, shape, 0.1) if len(shape) == 1 else random.matrix(key, shape)

    return values


def audio_values(random: RandomValues, side: str) -> Values:
    """The decoder's spectrogram lies around -4 (quiet) with enough up and down to be heard."""

    def values(name: str, shape: Shape) -> Tensor:
        key = f"audio_vae.{side}.{name}"
        if name.startswith("per_channel_statistics."):
            return _statistics(random, "audio_vae." + name, shape, 0.3)
        if len(shape) == 1:
            return random.normal(key, shape, 0.05) - (4.0 if (side, name) == ("decoder", "conv_out.conv.bias") else 0.0)
        gain = {"decoder": 2.0, "encoder": 1.7}[side] if name == "conv_out.conv.weight" else 1.0
        return random.smooth_convolution(key, shape, gain)

    return values


def vocoder_values(random: RandomValues, module: nn.Module, strides: dict[str, int]) -> Values:
    """All its networks; `strides` of the transposed convolutions by name.  Filters and bases are computed."""
    fixed = dict(module.named_buffers())
    final = {"conv_post.weight": 0.12, "vocoder.conv_post.weight": 0.12, "bwe_generator.conv_post.weight": 0.02}

    def values(name: str, shape: Shape) -> Tensor:
        key = "vocoder." + name
        if name in fixed:
            return fixed[name]
        if len(shape) == 1:
            return random.normal(key, shape, 0.1 if "act" in name else 0.02)
        if name in strides:
            # (in, out, kernel): an output sample adds up kernel / stride taps.
            return random.normal(key, shape, (shape[0] * shape[2] / strides[name]) ** -0.5)
        gain = 0.2 if "conv_pre" in name else 0.35 if "convs2" in name else final.get(name, 1.0)
        return random.matrix(key, shape, gain)

    return values


def upsampler_values(random: RandomValues, module: nn.Module) -> Values:
    """Smooth convolutions; the four new pixels of an old one are nearly alike.  A blur is computed."""
    fixed = dict(module.named_buffers())

    def values(name: str, shape: Shape) -> Tensor:
        key = "upsampler." + name
        if name in fixed:
            return fixed[name]
        if len(shape) == 1:
            # The weights of vectors are those of norms.
            return random.normal(key, shape, 0.1) + (1.0 if name.endswith(".weight") else 0.0)
        if name in ("upsampler.0.weight", "upsampler.conv.weight"):
            return random.shared_rows(key, shape, 4)
        return random.smooth_convolution(key, shape, 1.6 if name == "final_conv.weight" else 1.0)

    return values


def lora_pair(random: RandomValues, name: str, shape: Shape, rank: int) -> tuple[Tensor, Tensor]:
    """A (rank, in) and B (out, rank) of a LoRA that changes outputs by a fifth of what the layer makes of its input."""
    rank = min(rank, *shape)
    down = random.normal(f"lora_A.{name}", (rank, shape[1]), shape[1] ** -0.5)
    return down, random.normal(f"lora_B.{name}", (shape[0], rank), 0.2 * rank**-0.5)


def _statistics(random: RandomValues, name: str, shape: Shape, spread: float) -> Tensor:
    draws = random.normal(name, shape, spread)
    return draws if name.endswith("mean-of-means") else 0.8 + draws.abs()
