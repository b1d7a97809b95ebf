"""The pieces as the published files have them, so that training goes on from there.

The text projection of a file reads the language model's states themselves.  Here both of its maps together are the
components, and the network's projections begin as what takes its own of them.
"""

import torch
from torch import Tensor

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.key_maps import Component
from ...ltx_core.loading import load_component
from ...ltx_core.text.feature_extractor import FeatureExtractor
from ...ltx_core.text.params import FeatureExtractorParams
from ...scripts.demo.models import TRAINED
from . import audio_vae, final_size, upsampler, video_vae, vocoder
from .checkpoints import save_tensors, weights_path
from .run import Run
from .sizes import TEXT_CHANNELS
from .spread import gathered_autoencoder, gathered_upsampler
from .write import FILES

SMALLER = 4  # than the maps make them are the components, which are about unit normal then
SIDES = {
    video_vae.PIECE: {"encoder": Component.VIDEO_ENCODER, "decoder": Component.VIDEO_DECODER},
    audio_vae.PIECE: {"encoder": Component.AUDIO_ENCODER, "decoder": Component.AUDIO_DECODER},
    vocoder.PIECE: {"": Component.VOCODER},
    final_size.PIECE: {
        "transformer": Component.TRANSFORMER,
        "video_connector": Component.VIDEO_CONNECTOR,
        "audio_connector": Component.AUDIO_CONNECTOR,
    },
}


def train(run: Run) -> None:
    """Leaves the weights of the video VAE, audio VAE, vocoder, upsampler and of the final size's transformer."""
    files = {
        name: Checkpoint.open(TRAINED / path) for name, path in FILES.items() if name in ("checkpoint", "upsampler")
    }
    for piece, sides in SIDES.items():
        tensors = {
            f"{side}.{name}" if side else name: tensor
            for side, component in sides.items()
            for name, tensor in _weights(files["checkpoint"], component).items()
        }
        if piece == video_vae.PIECE:
            tensors = gathered_autoencoder(tensors)
        if piece == final_size.PIECE:
            tensors |= projections(files["checkpoint"].state_dict(Component.TEXT_PROJECTION))
        save_tensors(weights_path(run.out, piece), tensors)
    enlarging = gathered_upsampler(_weights(files["upsampler"], Component.UPSAMPLER))
    save_tensors(weights_path(run.out, upsampler.PIECE), enlarging)


def _weights(file: Checkpoint, component: Component) -> dict[str, Tensor]:
    return load_component(file, component, dtype=torch.float32).state_dict()


def projections(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """mean and basis of the components, weights and biases of the network's projections, of the file's own."""
    weights = {name: tensors[f"{name}_aggregate_embed.weight"].float() for name in ("video", "audio")}
    basis = torch.cat(list(weights.values())).T / SMALLER
    params = FeatureExtractorParams(TEXT_CHANNELS, len(basis) // TEXT_CHANNELS, *map(len, weights.values()))
    scale = FeatureExtractor(params, device="meta").input_scale
    found, first = {"mean": torch.zeros(len(basis)), "basis": basis}, 0
    for name, own in weights.items():
        weight = torch.zeros(len(own), basis.shape[1])
        weight[:, first : first + len(own)] = torch.eye(len(own)) * scale(len(own)) * SMALLER
        found[f"{name}_projection.weight"] = weight
        found[f"{name}_projection.bias"] = tensors[f"{name}_aggregate_embed.bias"].float()
        first += len(own)
    return found
