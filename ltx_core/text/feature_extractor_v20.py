"""Text projection of LTX-2.0: every hidden state is normalised over the whole text; one map serves both modalities."""

from collections.abc import Sequence

from torch import Tensor, nn

from .params import FeatureExtractorV20Params

_EPS = 1e-6


class FeatureExtractorV20(nn.Module):
    """8 * (state - mean) / (max - min) over all tokens and channels of a text, then one linear map without bias.

    The vendor's `FeatureExtractorV1`; flattened with the layer as the fastest index.
    """

    def __init__(self, params: FeatureExtractorV20Params, *, ops=nn, dtype=None, device=None):
        super().__init__()
        self.params = params
        flat = params.hidden_size * params.states
        self.aggregate_embed = ops.Linear(flat, params.hidden_size, bias=False, dtype=dtype, device=device)

    def forward(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, hidden) of real tokens only -> the same features (B, T, hidden) for video and audio."""
        first = states[0]
        flat = first.new_empty(*first.shape, len(states))
        for layer, state in enumerate(states):
            full = state.float()
            mean = full.mean(dim=(1, 2), keepdim=True)
            span = full.amax(dim=(1, 2), keepdim=True) - full.amin(dim=(1, 2), keepdim=True)
            flat[..., layer] = 8 * (full - mean) / (span + _EPS)
        features = self.aggregate_embed(flat.flatten(2))
        return features, features
