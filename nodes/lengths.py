"""What both the node that tells a prompt's length and its rule for whole prompts say.  Imports no ComfyUI."""

from ..ltx_core.duration_head import DurationHeadParams
from ..ltx_core.transformer.params import TransformerParams

FROM_OUR_LOADER = (
    "model is a MODEL of ComfyUI's own loaders, which do not give LTX-2.5 to these nodes, and no other model has a "
    "duration head. Connect LTX Model Loader with LTX-2.5, or say how many frames in LTX Stage One Sampler."
)


def other_widths(head: DurationHeadParams, model: TransformerParams, name: str, model_name: str) -> str | None:
    """What is wrong where the head reads text of other widths than the model's connectors make."""
    takes, makes = (head.video_width, head.audio_width), tuple(model.text_widths.values())
    if takes == makes:
        return None
    return (
        f"The duration head in {name} reads text {takes[0]:,} and {takes[1]:,} wide, but {model_name} makes it "
        f"{makes[0]:,} and {makes[1]:,} wide. Choose the duration head of the model's own release."
    )
