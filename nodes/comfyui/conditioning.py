"""ComfyUI's CONDITIONING in its own LTX-2 layout: unprocessed text features, video and audio side by side.

One entry per prompt: [tensor (1, T, Dv + Da), {"unprocessed_ltxav_embeds": True, ...}] with T real tokens.  LTX-2.0's
features are the same for both and stand there once, (1, T, D); what has been through its connectors is (1, S, D + D).
The connectors run later, with the transformer they belong to.  So native CLIP nodes drive our samplers and the reverse.
What else may lie in an entry's dict is judged in conditioning_keys.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ...ltx_core.errors import ConditioningError, GeometryError, VariantError
from ...ltx_core.generation import Generation
from ...ltx_core.sampling.geometry import check_fps
from ...ltx_core.transformer.params import TransformerParams
from .conditioning_keys import FRAME_RATE, GENERATION, UNPROCESSED, refuse, unused

# How wide the texts of the official models are: of LTX-2.0 before and after its connectors, of LTX-2.3 both.
OFFICIAL_WIDTHS = {3840: Generation.V2_0, 7680: Generation.V2_0, 6144: Generation.V2_3}


def make(video: Tensor, audio: Tensor, generation: Generation | None = None) -> list:
    """CONDITIONING from features of real tokens, video (1, T, Dv) and audio (1, T, Da), or one tensor for both, of a
    text projection of that generation."""
    features = video if audio is video else torch.cat((video, audio), dim=-1)
    features = features.detach().to(device="cpu", dtype=torch.float32)
    told = {} if generation is None else {GENERATION: generation.value}
    return [[features, {UNPROCESSED: True, "pooled_output": None, **told}]]


def take(
    conditioning: list, params: TransformerParams, generation: Generation | None = None
) -> tuple[Tensor, Tensor, bool]:
    """Video (1, T, Dv) and audio (1, T, Da) of a CONDITIONING for a model of that generation, and whether the
    connectors still have to run.

    VariantError for the text encoding of another generation; ConditioningError for what else does not fit, or asks for
    what these samplers do not do.
    """
    features, extra = _only_entry(conditioning)
    made_for = extra.get(GENERATION)
    if generation is not None and made_for not in (None, generation.value):
        raise VariantError(
            f"The text was encoded for LTX-{made_for}, but the model is {generation}, which reads other words as wide. "
            "Encode it with the text encoder and the projection of the model's own generation."
        )
    width, widths = features.shape[-1], tuple(params.text_widths.values())
    shared = params.shares_text and width == widths[0]
    if not shared and width != sum(widths):
        raise _of_another_width(width, params)
    refuse(extra)
    # What is there once has not been through the connectors, of which there are two.
    video, audio = (features, features) if shared else features.split(widths, dim=-1)
    return video, audio, shared or bool(extra.get(UNPROCESSED))


def _of_another_width(width: int, params: TransformerParams) -> ConditioningError | VariantError:
    video, audio = params.text_widths.values()
    takes = f"{video} (the same for video and audio)" if params.shares_text else f"{video} (video) + {audio} (audio)"
    own = OFFICIAL_WIDTHS.get(video if params.shares_text else video + audio)
    other = OFFICIAL_WIDTHS.get(width)
    if other is not None and other is not own:
        model = "This model" if own is None else f"The model is {own}, which"
        return VariantError(
            f"The conditioning is {width} wide: text encoded for {other}. {model} takes {takes}. Encode with the text "
            "projection of the model's own checkpoint."
        )
    return ConditioningError(
        f"The conditioning is {width} wide; this model takes {takes}. Use LTX Text Encode with the projection from the "
        "same checkpoint as the model."
    )


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


def notes_on(texts: Mapping[str, list | None], fps: float | None) -> Iterator[str]:
    """What the CONDITIONINGs, by the names of their inputs, ask for and a film at `fps`, or a sound alone, goes
    without."""
    for name, text in texts.items():
        if text is None:
            continue
        yield from (f"'{name}': {note}" for note in unused(_only_entry(text)[1]))
        rate = frame_rate(text)
        if rate is not None and fps is None:
            yield (
                f"'{name}' asks for {rate:g} frames a second (frame_rate of LTXVConditioning); a sound alone has no "
                "frames. Take LTXVConditioning out."
            )
        elif rate is not None and rate != fps:
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
