"""A sound without a picture: what it can be given, and which nodes take it."""

from ..names import (
    DECODE,
    FILM_CONDITIONS,
    IMAGE_CONDITION,
    LATENT_UPSAMPLER,
    REFERENCE_VIDEO,
    REFERENCE_VOICE,
    SAVE_LATENT,
    SOUND_CONDITION,
    SOUND_SAMPLER,
    STAGE_ONE_SAMPLER,
    STAGE_TWO_SAMPLER,
)
from ..prompt_graph import Node, PromptGraph
from ..sound_alone import NEEDS_VAE, TAKES_VOICES, long_sound
from ..voices import ONE_VOICE
from .report import Report

# What gives something that a sound alone has no room for, with the input that it comes in by.
_REFUSED = {
    IMAGE_CONDITION: ("image", "an image"),
    SOUND_CONDITION: ("audio", "a sound"),
    **dict.fromkeys(FILM_CONDITIONS, ("video", "a film")),
    REFERENCE_VIDEO: ("video", "a reference video"),
}
_FOR_PICTURES = (STAGE_ONE_SAMPLER, LATENT_UPSAMPLER, STAGE_TWO_SAMPLER, DECODE, SAVE_LATENT)


def check_sound_alone(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """Conditions and length of a sound sampler."""
    chain = list(graph.chain(sampler, "conditions"))
    for node in chain:
        if node.type in _REFUSED:
            slot, what = _REFUSED[node.type]
            report.error(node, f"This gives {what}. {TAKES_VOICES}", input=slot)
    voices = [node for node in chain if node.type == REFERENCE_VOICE]
    if len(voices) > 1:
        report.error(voices[0], f"The chain of conditions has {len(voices)} reference voices. {ONE_VOICE}",
                     input="audio")  # fmt: skip
    if voices and not any(node.has("audio_vae") for node in chain):
        report.error(voices[0], f"This gives a voice. {NEEDS_VAE}", input="audio_vae")
    seconds = sampler.value("seconds", (int, float))
    if seconds is not None and (remark := long_sound(seconds)) is not None:
        report.warn(sampler, remark)


def check_no_picture(graph: PromptGraph, report: Report) -> None:
    """Nodes that need a picture are not given a sound alone."""
    for node in graph.of_type(*_FOR_PICTURES):
        source = graph.source(node, "latent")
        if source is not None and source.type == SOUND_SAMPLER:
            report.error(node, "The latent of LTX Sound Sampler holds sound alone, and this node needs a picture. "
                         "Connect it to LTX Sound Decode; ComfyUI's SaveLatent keeps it.", input="latent")  # fmt: skip
