"""ComfyUI's CONDITIONING in its own LTX-2.3 layout: unprocessed text features, video and audio side by side.

One entry per prompt: [tensor (1, T, Dv + Da), {"unprocessed_ltxav_embeds": True, ...}] with T real tokens.  The
connectors run later, with the transformer they belong to.  So native CLIP nodes drive our samplers and the reverse.
What else may lie in an entry's dict is judged in conditioning_keys.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError, GeometryError, VariantError
from ...ltx_core.sampling.geometry import check_fps
from .conditioning_keys import FRAME_RATE, UNPROCESSED, refuse, unused

LTX_2_0_WIDTH = 3840


def make(video: Tensor, audio: Tensor) -> list:
    """CONDITIONING from features of real tokens, video (1, T, Dv) and audio (1, T, Da)."""
    features = torch.cat((video, audio), dim=-1).detach().to(device="cpu", dtype=torch.float32)
    return [[features, {UNPROCESSED: True, "pooled_output": None}]]


def take(conditioning: list, video_width: int, audio_width: int) -> tuple[Tensor, Tensor, bool]:
    """Video (1, T, Dv) and audio (1, T, Da) of a CONDITIONING, and whether the connectors still have to run.

    VariantError for the text encoding of LTX-2.0; ConditioningError for what else does not fit, or asks for what these
    samplers do not do.
    """
    features, extra = _only_entry(conditioning)
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
    refuse(extra)
    video, audio = features.split((video_width, audio_width), dim=-1)
    return video, audio, bool(extra.get(UNPROCESSED))


def frame_rate(conditioning: list) -> float | None:
    """The `frame_rate` that LTXVConditioning set, or None; ConditioningError when it is no rate."""
    rate = _only_entry(conditioning)[1].get(FRAME_RATE)
    try:
        return None if rate is None else float(check_fps(rate))
    except (GeometryError, TypeError):
        raise ConditioningError(
            f"The conditioning says {rate} frames a second (frame_rate of LTXVConditioning); expected a number such as "
            "24. Set it there, or take the node out."
        ) from None


def notes_on(texts: Mapping[str, list | None], fps: float) -> Iterator[str]:
    """What the CONDITIONINGs, by the names of their inputs, ask for and a film at `fps` goes without."""
    for name, text in texts.items():
        if text is None:
            continue
        yield from (f"'{name}': {note}" for note in unused(_only_entry(text)[1]))
        rate = frame_rate(text)
        if rate is not None and rate != fps:
            yield (
                f"'{name}' asks for {rate:g} frames a second (frame_rate of LTXVConditioning), the film is made at "
                f"{fps:g}, which its latent or this node's fps says. Set both alike, or take LTXVConditioning out."
            )


def _only_entry(conditioning: list) -> tuple[Tensor, dict]:
    """Features (1, T, D) and what lies beside them; ConditioningError unless the CONDITIONING is one prompt."""
    count = len(conditioning) and sum(features.shape[0] for features, _ in conditioning)
    if count != 1:
        raise ConditioningError(
            f"The conditioning holds several prompts, {count} of them (combined, scheduled or batched); LTX Duo takes "
            "one. Write them into one prompt, or join them with ConditioningConcat or ConditioningAverage."
            if count
            else "The conditioning holds no prompt; expected one. Use LTX Text Encode."
        )
    features, extra = conditioning[0]
    if features.ndim != 3 or not features.is_floating_point():
        raise ConditioningError(
            f"The conditioning is {features.dtype} of shape {tuple(features.shape)}; expected text features "
            "(1, tokens, width). Use LTX Text Encode with the model's own projection."
        )
    return features, extra
