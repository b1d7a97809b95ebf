"""ComfyUI's CONDITIONING in its own LTX-2.3 layout: unprocessed text features, video and audio side by side.

One entry per prompt: [tensor (1, T, Dv + Da), {"unprocessed_ltxav_embeds": True, ...}] with T real tokens.  The
connectors run later, with the transformer they belong to.  So native CLIP nodes drive our samplers and the reverse.
"""

import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError, VariantError

UNPROCESSED = "unprocessed_ltxav_embeds"
LTX_2_0_WIDTH = 3840
NATIVE_ONLY = {
    "keyframe_idxs": "native guides (LTXVAddGuide): use LTX Image Condition",
    "guide_attention_entries": "native guides (LTXVAddGuide): use LTX Image Condition",
    "ref_audio": "a reference voice (LTXVReferenceAudio): it is not supported",
}


def make(video: Tensor, audio: Tensor) -> list:
    """CONDITIONING from features of real tokens, video (1, T, Dv) and audio (1, T, Da)."""
    features = torch.cat((video, audio), dim=-1).detach().to(device="cpu", dtype=torch.float32)
    return [[features, {UNPROCESSED: True, "pooled_output": None}]]


def take(conditioning: list, video_width: int, audio_width: int) -> tuple[Tensor, Tensor, bool]:
    """Video (1, T, Dv) and audio (1, T, Da) of a CONDITIONING, and whether the connectors still have to run.

    VariantError for the text encoding of LTX-2.0; ConditioningError for what else does not fit.
    """
    if len(conditioning) != 1 or conditioning[0][0].shape[0] != 1:
        raise ConditioningError(
            "The conditioning holds several prompts (combined, scheduled or batched); LTX Duo takes one prompt."
        )
    features, extra = conditioning[0]
    width = features.shape[-1]
    if width == LTX_2_0_WIDTH != video_width + audio_width:
        raise VariantError(
            f"The conditioning is {LTX_2_0_WIDTH} wide: text encoded for LTX-2.0. The model is LTX-2.3, whose text is "
            f"{video_width + audio_width} wide. Encode with the text projection of the LTX-2.3 checkpoint."
        )
    if width != video_width + audio_width:
        raise ConditioningError(
            f"The conditioning is {width} wide; this model takes {video_width} (video) + {audio_width} (audio). "
            "Use LTX Text Encode with the projection from the same checkpoint as the model."
        )
    for key, what in NATIVE_ONLY.items():
        if extra.get(key) is not None:
            raise ConditioningError(f"The conditioning carries {what}.")
    video, audio = features.split((video_width, audio_width), dim=-1)
    return video, audio, bool(extra.get(UNPROCESSED))
