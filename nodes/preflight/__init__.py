"""What is wrong with a whole prompt, from the graph and the headers of its files, before anything runs.

Nodes check their own inputs; here is what only several nodes together show.  Nothing is changed.
"""

from ..names import (
    DECODE,
    FILM_CONDITIONS,
    LATENT_UPSAMPLER,
    PROMPT_LENGTH,
    REFERENCE_VOICE,
    SOUND_CONDITION,
    SOUND_DECODE,
    SOUND_SAMPLER,
    STAGE_ONE_SAMPLER,
    STAGE_TWO_SAMPLER,
)
from ..prompt_graph import PromptGraph
from .core_loaders import check_core_loader
from .core_vaes import check_vaes
from .distilled import check_schedule
from .downloads import check_downloads
from .durations import check_length, check_length_rate
from .enlarged import check_enlarged
from .files import check_files
from .films import check_film
from .frames import check_frames
from .guidance import check_guidance, check_reused
from .latents import check_batch, check_start
from .loras import check_loras
from .rates import FILM_MAKERS, check_conditioning_rate, check_film_rate
from .references import check_references
from .report import Files, Report
from .sigmas import check_sigmas
from .sound_alone import check_no_picture, check_sound_alone
from .sounds import check_sound
from .stage_two import check_stage_two
from .upsamplers import check_upsamplers


def check(graph: PromptGraph, files: Files, has_gpu: bool) -> Report:
    """Looks at every stage of the prompt.  `has_gpu`: whether noise devices 'gpu' and 'cpu' differ here."""
    report = Report()
    check_upsamplers(graph, files, report)
    check_downloads(graph, files, report)
    check_loras(graph, files, report)
    for sampler in graph.of_type(STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER):
        check_core_loader(graph, sampler, files, report)
        check_files(graph, sampler, files, report)
        check_sigmas(graph, sampler, report)
        check_conditioning_rate(graph, sampler, report)
        check_sound(graph, sampler, files, report)
        check_film(graph, sampler, report)
        check_references(graph, sampler, files, report)
    for sampler in graph.of_type(STAGE_ONE_SAMPLER):
        check_frames(graph, sampler, sampler.value("frames", int), report)
        check_guidance(graph, sampler, files, report)
        check_reused(graph, sampler, report)
        check_schedule(graph, sampler, report)
        check_start(graph, sampler, files, report)
        check_length_rate(graph, sampler, report)
    for sampler in graph.of_type(STAGE_TWO_SAMPLER):
        check_stage_two(graph, sampler, files, has_gpu, report)
    for sampler in graph.of_type(SOUND_SAMPLER):
        for check_one in (check_core_loader, check_files, check_guidance):
            check_one(graph, sampler, files, report)
        for check_one in (check_sigmas, check_reused, check_schedule, check_sound_alone):
            check_one(graph, sampler, report)
    check_no_picture(graph, report)
    for node in graph.of_type(PROMPT_LENGTH):
        check_files(graph, node, files, report)
        check_length(graph, node, files, report)
    for upsampler in graph.of_type(LATENT_UPSAMPLER):
        check_enlarged(graph, upsampler, report)
    sampling = STAGE_ONE_SAMPLER, LATENT_UPSAMPLER, STAGE_TWO_SAMPLER
    for node in graph.of_type(SOUND_CONDITION, REFERENCE_VOICE, *FILM_CONDITIONS, *sampling, DECODE, SOUND_DECODE):
        check_vaes(graph, node, files, report)
    for node in graph.of_type(STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER, DECODE, SOUND_DECODE):
        check_batch(graph, node, files, report)
    for node in graph.of_type(*FILM_MAKERS):
        check_film_rate(graph, node, report)
    return report
