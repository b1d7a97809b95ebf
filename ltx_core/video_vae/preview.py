"""A very small decoder of single latent frames, for pictures while a film is sampled.

A map from each latent to one colour shows little of a model whose latents say more than colours.  This one looks at the
latents around, and makes a picture of several pixels for each: a mixture of the channels, convolutions that are each
followed by doubling the size, and a last one to red, green and blue.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from ..safetensors_file import SafetensorsFile

LATENTS_OF = "latents_of"  # in the file's metadata: the `model_version` whose latents it decodes
_LATENT_CHANNELS, _COLOURS = 128, 3
_MOST_LAYERS, _MOST_CHANNELS = 8, 512
_WHAT_TO_DO = "Delete it, or take one that was trained for this model; films do not depend on it."


class PreviewDecoder(nn.Module):
    """Normalised latents (B, 128, H, W) of single frames -> pictures (B, 3, s H, s W) in [-1, 1], roughly.

    `widths`: channels between the convolutions; `s` is 2 to the power of their number less one.
    """

    def __init__(self, widths: Sequence[int], *, ops=nn, dtype=None, device=None):
        super().__init__()
        place = {"dtype": dtype, "device": device}
        channels = (*widths, _COLOURS)
        self.mix = ops.Conv2d(_LATENT_CHANNELS, widths[0], 1, **place)
        self.convs = nn.ModuleList(
            ops.Conv2d(inside, outside, 3, padding=1, **place)
            for inside, outside in zip(channels, channels[1:], strict=False)
        )

    def forward(self, latent: Tensor) -> Tensor:
        *doubling, last = self.convs
        x = self.mix(latent)
        for conv in doubling:
            x = F.interpolate(conv(F.silu(x)), scale_factor=2.0, mode="nearest")
        return last(F.silu(x))


def widths_of(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...] | None:
    """The widths of the decoder whose tensors have these names and shapes; None where they are not one's."""
    count = len(shapes) // 2
    if not 2 <= count <= _MOST_LAYERS:
        return None
    layers = ("mix", *(f"convs.{number}" for number in range(count - 2)))
    widths = tuple((*shapes.get(f"{layer}.bias", ()), 0)[0] for layer in layers)
    if not all(0 < width <= _MOST_CHANNELS for width in widths):
        return None
    expected = PreviewDecoder(widths, device="meta").state_dict()
    return widths if {name: tuple(t.shape) for name, t in expected.items()} == dict(shapes) else None


def load_preview_decoder(file: SafetensorsFile) -> PreviewDecoder:
    """The decoder in `file`, float32 on the CPU; CheckpointError where it holds none, or values that are not finite."""
    widths = widths_of({name: info.shape for name, info in file.tensors.items()})
    if widths is None:
        raise CheckpointError(f"{file.path} holds no decoder for previews: its tensors are others. {_WHAT_TO_DO}")
    tensors = {name: tensor.float() for name, tensor in file.read(file.tensors).items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise CheckpointError(f"{file.path} holds values that are not finite. {_WHAT_TO_DO}")
    decoder = PreviewDecoder(widths)
    decoder.load_state_dict(tensors)
    return decoder.requires_grad_(False)
