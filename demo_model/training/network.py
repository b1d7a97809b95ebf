"""What is trained together: the projections of text, both connectors, and the transformer; how they begin."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ltx_core.kernels.rotary import RotaryTable
from ...ltx_core.sampling.geometry import LatentGeometry
from ...ltx_core.text.connector import EmbeddingsConnector
from ...ltx_core.text.feature_extractor import FeatureExtractor
from ...ltx_core.text.params import ConnectorParams, FeatureExtractorParams
from ...ltx_core.transformer.inputs import GuidancePass, ModalityInput, ModalityRope
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.transformer.params import TransformerParams
from .sizes import USED_CHANNELS
from .text_features import Components

_TABLES = "scale_shift_table"


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's attention; neighbouring rows of q may share one row of k and v, and are then attended together."""
    shared = q.shape[0] // k.shape[0]
    if shared == 1:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    together = q.unflatten(0, (-1, shared)).transpose(1, 2).flatten(2, 3)
    out = F.scaled_dot_product_attention(together, k, v)
    return out.unflatten(2, (shared, -1)).transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True)
class Ropes:
    """Rotary tables of one kind of batch; their angles are spread out once, before anything is captured."""

    video: ModalityRope
    audio: ModalityRope
    video_text: RotaryTable
    audio_text: RotaryTable


class TextToAV(nn.Module):
    """From the components of captions and noisy tokens to velocities."""

    def __init__(self, config: dict, components: int, device: torch.device | str | None = None):
        super().__init__()
        self.transformer = AVTransformer(TransformerParams.from_config(config), attention=attention, device=device)
        video, audio = self.transformer.params.video.width, self.transformer.params.audio.width
        self.video_projection = nn.Linear(components, video, device=device)
        self.audio_projection = nn.Linear(components, audio, device=device)
        options = {"attention": attention, "device": device}
        self.video_connector = EmbeddingsConnector(ConnectorParams.from_config(config, "video"), **options)
        self.audio_connector = EmbeddingsConnector(ConnectorParams.from_config(config, "audio"), **options)

    def compile_blocks(self) -> None:
        """Has the blocks' small kernels joined by PyTorch's compiler, once for all blocks of one kind."""
        connectors = (self.video_connector, self.audio_connector)
        for blocks in (self.transformer.transformer_blocks, *(c.transformer_1d_blocks for c in connectors)):
            for block in blocks:
                block.compile(fullgraph=True, dynamic=False)

    def ropes(self, geometry: LatentGeometry, places: int, device: torch.device) -> Ropes:
        """For clips of that geometry and contexts of so many places."""
        video, audio = self.transformer.rope_tables(geometry.video_positions(device), geometry.audio_positions(device))
        texts = [connector.rope(places, device) for connector in (self.video_connector, self.audio_connector)]
        for table in (video.tokens, video.cross, audio.tokens, audio.cross, *texts):
            _ = table.rotation
        return Ropes(video, audio, *texts)

    def contexts(self, components: Tensor, lengths: Tensor, places: int, ropes: Ropes) -> tuple[Tensor, Tensor]:
        """Components (C, T, K), of which `lengths` (C,) are real -> contexts (C, places, width) of video and audio."""
        streams = (
            (self.video_projection, self.video_connector, ropes.video_text),
            (self.audio_projection, self.audio_connector, ropes.audio_text),
        )
        contexts = []
        for projection, connector, rope in streams:
            features = F.pad(projection(components), (0, 0, 0, places - components.shape[1]))
            registers = connector.learnable_registers
            registers = registers.repeat(-(-places // len(registers)), 1)[:places]
            real = torch.arange(places, device=lengths.device) < lengths[:, None]
            contexts.append(connector.mix(torch.where(real[..., None], features, registers), rope))
        return contexts[0], contexts[1]

    def forward(
        self, video: ModalityInput, audio: ModalityInput, contexts: tuple[Tensor, Tensor], **guidance
    ) -> tuple[Tensor, Tensor]:
        """Velocities of video and audio for one pass; `guidance` are GuidancePass's further fields."""
        return self.transformer(video, audio, [GuidancePass("cond", *contexts, **guidance)])[0]

    def official(self, components: Components, hidden: int) -> dict[str, dict[str, Tensor]]:
        """State dicts of the file's components: transformer, connectors, and the projection with `components` in it."""
        states = components.basis.shape[0] // hidden
        params = FeatureExtractorParams(
            hidden, states, self.video_projection.out_features, self.audio_projection.out_features
        )
        extractor = FeatureExtractor(params, device="meta")
        projection = {}
        for name, layer in (("video", self.video_projection), ("audio", self.audio_projection)):
            scale = extractor.input_scale(layer.out_features)
            weight, bias = components.linear(layer.weight, layer.bias, scale)
            projection |= {f"{name}_aggregate_embed.weight": weight, f"{name}_aggregate_embed.bias": bias}
        return {
            "transformer": self.transformer.state_dict(),
            "video_connector": self.video_connector.state_dict(),
            "audio_connector": self.audio_connector.state_dict(),
            "text_projection": projection,
        }


@torch.no_grad()
def initialise(network: TextToAV, generator: torch.Generator) -> None:
    """Every block begins as the identity and the output as zero (adaLN-zero).

    Registers begin tiny: after the connector's first norm each of the thousand places then tells of the text, instead
    of twenty places among a thousand that do not.
    """
    for name, p in network.named_parameters():
        if name.endswith("norm.weight"):
            p.fill_(1.0)
        elif name.endswith("learnable_registers"):
            p.normal_(0.0, 1e-3, generator=generator)
        elif _zero_at_first(name) or p.ndim == 1:
            p.zero_()
        else:
            p.normal_(0.0, _spread(name, p), generator=generator)
    entrance = network.transformer.patchify_proj.weight
    entrance[:, USED_CHANNELS:] = 0  # and stays so: what is trained on is zero there
    entrance.mul_((entrance.shape[1] / USED_CHANNELS) ** 0.5)


def _zero_at_first(name: str) -> bool:
    adaln = "adaln" in name and ".emb." not in name
    return adaln or _TABLES in name or "proj_out" in name or "to_gate_logits" in name


def _spread(name: str, weight: Tensor) -> float:
    # What a connector adds to its stream counts from the first step: it has no gate.
    gain = 0.5 if "connector" in name and name.endswith(("to_out.0.weight", "net.2.weight")) else 1.0
    return gain / math.sqrt(weight.shape[1])
