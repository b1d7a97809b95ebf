"""Token ids to text features: Gemma and the projection that belongs to the checkpoint."""

from typing import Any

import torch
from torch import Tensor, nn

from ..progress import SILENT, Reporter
from ..transformer.attention import AttentionFunction, scaled_dot_product
from .feature_extractor import FeatureExtractor
from .feature_extractor_v20 import FeatureExtractorV20
from .gemma import GemmaModel
from .gemma4 import Gemma4Model
from .gemma4_params import Gemma4Params
from .gemma_params import GemmaParams
from .params import FeatureExtractorParams, FeatureExtractorV20Params
from .tokenizer import MAX_LENGTH

ExtractorParams = FeatureExtractorParams | FeatureExtractorV20Params


def build_feature_extractor(params: ExtractorParams, **options: Any) -> FeatureExtractor | FeatureExtractorV20:
    """The text projection that `params` describe, called alike; `options` are ops, dtype and device."""
    kind = FeatureExtractorV20 if isinstance(params, FeatureExtractorV20Params) else FeatureExtractor
    return kind(params, **options)


def build_gemma(params: GemmaParams | Gemma4Params, **options: Any) -> GemmaModel | Gemma4Model:
    """The language model that `params` describe, called alike; `options` as those of the models."""
    return (Gemma4Model if isinstance(params, Gemma4Params) else GemmaModel)(params, **options)


class TextEncoder(nn.Module):
    """`gemma` and `feature_extractor`, as submodules of these names; which ones they are follows from their params."""

    def __init__(
        self,
        gemma: GemmaParams | Gemma4Params,
        projection: ExtractorParams,
        *,
        attention: AttentionFunction = scaled_dot_product,
        ops=nn,
        dtype=None,
        device=None,
        compute_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        factory = {"ops": ops, "dtype": dtype, "device": device}
        self.gemma = build_gemma(gemma, attention=attention, compute_dtype=compute_dtype, **factory)
        self.feature_extractor = build_feature_extractor(projection, **factory)

    def features(self, ids: Tensor, reporter: Reporter = SILENT) -> tuple[Tensor, Tensor]:
        """ids (1, T) int64 from the tokenizer -> video (1, T, Dv) and audio (1, T, Da) features for the connectors."""
        # Where the vendor's padding to MAX_LENGTH on the left puts the prompt: equal to it down to its rounding.
        first_position = max(0, MAX_LENGTH - ids.shape[1])
        return self.feature_extractor(self.gemma(ids, reporter, first_position))
