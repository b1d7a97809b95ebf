"""A sound that is given: one for each film, from a VAE that can encode it, and as long as its frames say."""

from ...ltx_core.checkpoint import Component
from ..names import CORE_PICTURE_VAES, SOUND_CONDITION, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER, VAE_LOADER
from ..prompt_graph import Node, PromptGraph
from ..sounds import ONE_SOUND
from .report import Files, Report

NUMBER = (int, float)
ADD_AUDIO_VAE = "LTXVAudioVAELoader with the model's checkpoint, or LTX VAE Loader"


def given_sounds(graph: PromptGraph, sampler: Node) -> list[Node]:
    """The sound conditions in a sampler's chain, the last one first."""
    return [node for node in graph.chain(sampler, "conditions") if node.type == SOUND_CONDITION]


def check_sound(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    sounds = given_sounds(graph, sampler)
    if not sounds:
        return
    if len(sounds) > 1:
        report.error(sounds[0], f"The chain of conditions has {len(sounds)} sounds. {ONE_SOUND}", input="audio")
    _check_encoder(graph, sampler, files, report)
    if sampler.type == STAGE_ONE_SAMPLER:
        _check_frames(graph, sampler, report)


def _check_encoder(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    condition = given_sounds(graph, sampler)[0]
    before = (node for node in graph.chain(sampler, "latent") if node.type == STAGE_ONE_SAMPLER)
    known = {own.id for stage in before for own in given_sounds(graph, stage)}
    if sampler.type == STAGE_TWO_SAMPLER and condition.id in known:
        return  # it comes with the latent
    given = graph.source(condition, "audio_vae")
    loader = given or graph.source(sampler, "vae")
    if loader is not None and given is None and loader.type in CORE_PICTURE_VAES:
        report.error(sampler, "A sound is given, and ComfyUI's own VAE encodes the picture alone. Connect "
                     f"{ADD_AUDIO_VAE}, to audio_vae of LTX Sound Condition.", input="vae")  # fmt: skip
    if loader is None or loader.type != VAE_LOADER:
        return
    audio = files.audio_vae(loader)
    # A file without any audio VAE is refused by the loader itself.
    if audio is not None and Component.AUDIO_DECODER in audio.components:
        report.attempt(loader, audio.require, Component.AUDIO_ENCODER, input="audio_file")


def _check_frames(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """A sound condition counts its frames at the rate that the film is made for."""
    counter, fps = graph.source(sampler, "frames"), sampler.value("fps", NUMBER)
    if counter is None or counter.type != SOUND_CONDITION:
        return
    counted = counter.value("fps", NUMBER)
    if None not in (counted, fps) and counted != fps:
        report.warn(counter, f"The frames are counted at {counted:g} a second, but LTX Stage One Sampler makes "
                    f"{fps:g}: the film would not be as long as the sound. Set fps to {fps:g}.")  # fmt: skip
