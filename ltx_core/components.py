"""The loaded parts of a model, and whether they fit together."""

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

    def check(self) -> None:
        """LTXError unless all parts are where `device` says, in the dtype that they compute in, and fit together."""
        for name, module in vars(self).items():
            if isinstance(module, nn.Module):
                dtype = torch.float32 if name == "vocoder" else self.dtype
                _check_placement(name.replace("_", " "), module, dtype, self.device)
        self._check_text_widths()
        if not self.upsampler.params.doubles:
            raise CheckpointError(
                f"The upsampler enlarges {self.upsampler.params.enlarges}; stage two expects twice the width and "
                f"height. Use the x2 spatial upsampler, {self.variant.files.upsampler}."
            )

    def _check_text_widths(self) -> None:
        projection = self.text_encoder.feature_extractor.params
        single = isinstance(projection, FeatureExtractorV20Params)
        for name, wanted in self.transformer.params.text_widths.items():
            gives = projection.hidden_size if single else getattr(projection, f"{name}_width")
            connector = getattr(self, f"{name}_connector").params.width
            if not gives == connector == wanted:
                raise CheckpointError(
                    f"The text projection gives {gives:,} values a token for the {name}, its connector takes "
                    f"{connector:,} and the transformer {wanted:,}; expected one width. Load all three from the same "
                    "checkpoint."
                )


def _check_placement(name: str, module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    for weight, tensor in module.named_parameters():
        # A device without a number is any of its kind: "cuda" for "cuda:0".
        elsewhere = tensor.device.type != device.type or device.index not in (None, tensor.device.index)
        if elsewhere or tensor.dtype != dtype:
            raise LTXError(
                f"The {name}'s {weight} is {tensor.dtype} on {tensor.device}, expected {dtype} on {device}. Load all "
                "components with the same dtype and device, as load_components does."
            )
