"""Text projection of LTX-2.3: all hidden states of a token, normalised one by one, to a vector for each modality."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .params import FeatureExtractorParams

_EPS = 1e-6


class FeatureExtractor(nn.Module):
    """Per-token RMS normalisation of every hidden state, then one linear map per modality.

    The vendor's `FeatureExtractorV2`.  The flattened input has the layer as its fastest index: channel 0 of all states,
    then channel 1, and so on.
    """

    def __init__(self, params: FeatureExtractorParams, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        flat = params.hidden_size * params.states
        self.video_aggregate_embed = ops.Linear(flat, params.video_width, dtype=dtype, device=device)
        self.audio_aggregate_embed = ops.Linear(flat, params.audio_width, dtype=dtype, device=device)

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """`states` hidden states (B, T, hidden) of real tokens -> video (B, T, Dv) and audio (B, T, Da) features."""
        # One flattened copy at a time: at 1024 tokens it is 385 MB in bfloat16.
        video = self.video_aggregate_embed(flatten_states(states, self.input_scale(self.params.video_width)))
        audio = self.audio_aggregate_embed(flatten_states(states, self.input_scale(self.params.audio_width)))
        return video, audio

    def input_scale(self, out_width: int) -> float:
        """What the normalised states are multiplied by for an output of that width."""
        return (out_width / self.params.hidden_size) ** 0.5


def flatten_states(states: Sequence[Tensor], scale: float = 1.0) -> Tensor:
    """Hidden states (B, T, hidden), normalised in float32 and scaled: (B, T, hidden * states) in their dtype."""
    first = states[0]
    flat = first.new_empty(*first.shape, len(states))
    for layer, state in enumerate(states):
        full = state.float()
        flat[..., layer] = full * (torch.rsqrt(full.square().mean(-1, keepdim=True) + _EPS) * scale)
    return flat.flatten(2)
