"""Transformers by the texts that they take."""

from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.tests.nodes.trees.preflight_scene import CONFIG


def transformer_for(video: int, audio: int) -> TransformerParams:
    """Sizes of an LTX-2.3 whose texts are so wide."""
    section = CONFIG["transformer"] | {"cross_attention_dim": video, "audio_cross_attention_dim": audio}
    return TransformerParams.from_config({"transformer": section})
