"""The loaded parts of a model, and whether they fit together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .audio_vae.decoder import AudioDecoder
from .audio_vae.encoder import AudioEncoder
from .duration_head.model import DurationHead
from .errors import CheckpointError, LTXError
from .text.connector import EmbeddingsConnector
from .text.encoder import TextEncoder
from .text.params import FeatureExtractorV20Params
from .text.tokenizer import GemmaTokenizer
from .transformer.model import AVTransformer
from .upsampler.model import LatentUpsampler
from .variants import ModelVariant
from .video_vae.decoder import VideoDecoder
from .video_vae.diffusion_decoder import DiffusionVideoDecoder
from .video_vae.encoder import VideoEncoder


@dataclass(frozen=True)
class Components:
    """Everything that a run needs, loaded, on one device and of one model variant.

    Weights are in `dtype`, which is what is computed in; the vocoder's are in float32.  The audio encoder is there
    for sounds that are given.  LTX-2.5 has two video decoders, of which either may be None, and a duration head.
    `replicas`: copies of the transformer on other GPUs, which share the work of both stages; `decoder_replicas`: of the
    convolutional video decoder, which share a video's tiles.
    """

    variant: ModelVariant
    dtype: torch.dtype
    device: torch.device
    tokenizer: GemmaTokenizer
    text_encoder: TextEncoder
    video_connector: EmbeddingsConnector
    audio_connector: EmbeddingsConnector
    transformer: AVTransformer
    video_encoder: VideoEncoder
    upsampler: LatentUpsampler
    video_decoder: VideoDecoder | None
    audio_decoder: AudioDecoder
    vocoder: nn.Module
    audio_encoder: AudioEncoder | None = None
    diffusion_decoder: DiffusionVideoDecoder | None = None
    duration_head: DurationHead | None = None
    replicas: tuple[AVTransformer, ...] = ()
    decoder_replicas: tuple[VideoDecoder, ...] = ()

    def check(self) -> None:
        """LTXError unless all parts are where `device` says, in the dtype that they compute in, and fit together."""
        _check_placements(self)
        self._check_replicas()
        _check_text_widths(self, ("video", "audio"))
        if not self.upsampler.params.doubles:
            raise CheckpointError(
                f"The upsampler enlarges {self.upsampler.params.enlarges}; stage two expects twice the width and "
                f"height. Use the x2 spatial upsampler, {self.variant.files.upsampler}."
            )

    def _check_replicas(self) -> None:
        copies = [("transformer", self.transformer, own) for own in self.replicas]
        copies += [("video decoder", self.video_decoder, own) for own in self.decoder_replicas]
        for name, original, replica in copies:
            device = next(replica.parameters()).device
            _check_placement(f"replica of the {name}", replica, self.dtype, device)
            if original is None or replica.params != original.params:
                raise LTXError(
                    f"The replica on {device} is not of the same {name}. Load the components again, or make "
                    "replicas of this one."
                )


@dataclass(frozen=True)
class SoundComponents:
    """What a sound without a picture needs, loaded as `Components` are.

    The transformer may be all of it or, as `load_sound_components` reads it, without its video layers.
    """

    variant: ModelVariant
    dtype: torch.dtype
    device: torch.device
    tokenizer: GemmaTokenizer
    text_encoder: TextEncoder
    audio_connector: EmbeddingsConnector
    transformer: AVTransformer
    audio_decoder: AudioDecoder
    vocoder: nn.Module
    audio_encoder: AudioEncoder | None = None

    def check(self) -> None:
        """As `Components.check`."""
        _check_placements(self)
        _check_text_widths(self, ("audio",))


def _check_text_widths(components: Components | SoundComponents, modalities: Sequence[str]) -> None:
    projection = components.text_encoder.feature_extractor.params
    single = isinstance(projection, FeatureExtractorV20Params)
    for name in modalities:
        wanted = components.transformer.params.text_widths[name]
        gives = projection.hidden_size if single else getattr(projection, f"{name}_width")
        connector = getattr(components, f"{name}_connector").params.width
        if not gives == connector == wanted:
            raise CheckpointError(
                f"The text projection gives {gives:,} values a token for the {name}, its connector takes "
                f"{connector:,} and the transformer {wanted:,}; expected one width. Load all three from the same "
                "checkpoint."
            )


def _check_placements(components: Components | SoundComponents) -> None:
    for name, module in vars(components).items():
        if isinstance(module, nn.Module):
            dtype = torch.float32 if name == "vocoder" else components.dtype
            _check_placement(name.replace("_", " "), module, dtype, components.device)


def _check_placement(name: str, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    for weight, tensor in module.named_parameters():
        # A device without a number is any of its kind: "cuda" for "cuda:0".
        elsewhere = tensor.device.type != device.type or device.index not in (None, tensor.device.index)
        if elsewhere or tensor.dtype != dtype:
            raise LTXError(
                f"The {name}'s {weight} is {tensor.dtype} on {tensor.device}, expected {dtype} on {device}. Load all "
                "components with the same dtype and device, as load_components does."
            )
