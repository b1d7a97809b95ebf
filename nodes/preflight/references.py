"""References that are given: the LoRA that reads them, the sizes that it needs, and a voice where a sound is made."""

from ...ltx_core.errors import LTXError
from ...ltx_core.lora import LoRA, common_reference_factors, reference_factors
from ...ltx_core.sampling.conditions.reference_film import reference_size
from ...ltx_core.sampling.geometry import SPATIAL_FACTOR, LatentGeometry
from ..names import (
    CORE_PICTURE_VAES,
    FACTORS,
    FULL,
    HALF,
    KEEP_SOUND,
    LORA_LOADER,
    MODEL_LOADER,
    PICTURE,
    REFERENCE_VIDEO,
    REFERENCE_VOICE,
    REGION,
    RETAKE,
    SAME,
    SOUND_CONDITION,
    STAGE_ONE_SAMPLER,
)
from ..prompt_graph import Node, PromptGraph
from ..voices import ONE_VOICE
from .latents import size_of
from .report import Files, Report
from .sounds import ADD_AUDIO_VAE

NUMBER = (int, float)
STRENGTHS = "strength_stage_one", "strength_stage_two"


def given_references(graph: PromptGraph, sampler: Node) -> list[Node]:
    """The references in a sampler's chain that it reads, the last one first."""
    found = [node for node in graph.chain(sampler, "conditions") if node.type == REFERENCE_VIDEO]
    if sampler.type == STAGE_ONE_SAMPLER:
        return found
    return [node for node in found if node.value("stage_two", str) == SAME]


def may_read(graph: PromptGraph, sampler: Node) -> bool:
    """Whether it reads a reference, or may do so by nodes that are not known."""
    first = [sampler, *graph.chain(sampler, "conditions")][-1]
    return first.has("conditions") or bool(given_references(graph, sampler))


def check_references(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    if references := given_references(graph, sampler):
        chain = list(graph.chain(sampler, "model"))
        loaders = [node for node in chain if node.type == LORA_LOADER]
        loras = {node.id: files.lora(node) for node in loaders}
        if chain and chain[-1].type == MODEL_LOADER and len(chain) == len(loaders) + 1 and None not in loras.values():
            _check_strength(sampler, references[0], loaders, loras, report)
        _check_factors(sampler, references, loaders, loras, report)
    if sampler.type == STAGE_ONE_SAMPLER:
        _check_voice(graph, sampler, report)


def _check_strength(
    sampler: Node, reference: Node, loaders: list[Node], loras: dict[str, LoRA], report: Report
) -> None:
    """Some IC-LoRA acts in the stage."""
    one = sampler.type == STAGE_ONE_SAMPLER
    slot, stage = STRENGTHS[not one], "one" if one else "two"
    if all(node.value(slot, NUMBER) == 0 for node in loaders if loras[node.id].reference is not None):
        report.warn(reference, f"No IC-LoRA reads this reference in stage {stage}. Put LTX LoRA Loader with an IC-LoRA "
                    f"before that stage's sampler, with a strength in stage {stage}.")  # fmt: skip


def _check_factors(
    sampler: Node, references: list[Node], loaders: list[Node], loras: dict[str, LoRA | None], report: Report
) -> None:
    """All IC-LoRAs agree on the reference's size, or the node says it, and it divides the film's."""
    said = {node.id: node.value("downscale_factor", str) for node in references}
    factors = {int(factor) for factor in said.values() if factor in FACTORS}
    if any(factor not in FACTORS for factor in said.values()):
        acting: list[LoRA] = []
        for node in reversed(loaders):
            lora = loras[node.id]
            if lora is None or all(node.value(slot, NUMBER) == 0 for slot in STRENGTHS):
                continue
            try:
                reference_factors(lora)
                factors.add(common_reference_factors([*acting, lora]).size)
            except LTXError as error:
                report.error(node, str(error), input="lora")
                return
            acting.append(lora)
    if sampler.type != STAGE_ONE_SAMPLER:
        return  # what divides stage one divides stage two
    smaller = {HALF: 2, FULL: 1}.get(size_of(sampler))
    for side in ("width", "height"):
        final = sampler.value(side, int)
        if smaller and final and final % (2 * SPATIAL_FACTOR) == 0:
            own = LatentGeometry(final // smaller, final // smaller, 1, 24.0)
            for factor in sorted(factors):
                report.attempt(sampler, reference_size, own, factor, input=side)


def _check_voice(graph: PromptGraph, sampler: Node, report: Report) -> None:
    chain = list(graph.chain(sampler, "conditions"))
    voices = [node for node in chain if node.type == REFERENCE_VOICE]
    if not voices:
        return
    if len(voices) > 1:
        report.error(voices[0], f"The chain of conditions has {len(voices)} reference voices. {ONE_VOICE}",
                     input="audio")  # fmt: skip
    if any(map(_keeps_sound, chain)):
        report.error(voices[0], "The film keeps the sound that it is given, in which a voice changes nothing. Take the "
                     "voice out of the chain, or have the sound made.", input="audio")  # fmt: skip
    loader = graph.source(sampler, "vae")
    if loader is not None and loader.type in CORE_PICTURE_VAES and not any(node.has("audio_vae") for node in chain):
        report.error(voices[0], "A voice is given, and ComfyUI's own VAE encodes the picture alone. Connect "
                     f"{ADD_AUDIO_VAE}.", input="audio_vae")  # fmt: skip


def _keeps_sound(node: Node) -> bool:
    return (
        node.type == SOUND_CONDITION
        or (node.type == RETAKE and node.value("remake", str) == PICTURE)
        or (node.type == REGION and node.value("sound", str) == KEEP_SOUND)
    )
