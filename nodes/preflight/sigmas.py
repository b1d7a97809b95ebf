"""Noise schedules, where they are known before anything runs."""

import re

from ...ltx_core.sampling.schedule import checked_sigmas
from ..names import SOUND_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from ..sigmas import remarks, sound_remarks, unused_schedule
from .latents import CONCAT, EMPTY_VIDEO, latent_chain
from .report import Report

# Core's nodes.
MANUAL, LTX = "ManualSigmas", "LTXVScheduler"
_NUMBERS = re.compile(r"[-+]?(?:\d*\.*\d+)")  # as core finds them in a text
FROM_SIGMA_MAX = ("KarrasScheduler", "ExponentialScheduler", "PolyexponentialScheduler", "LaplaceScheduler")


def check_sigmas(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """The sampler's schedule is one for flow models, and does what its user expects."""
    own = sampler.has("sigmas")
    if own and (wrong := _no_number(graph.source(sampler, "sigmas"))) is not None:
        report.error(sampler, f"ManualSigmas holds {wrong!r}, which is no number. Write numbers like 0.9, with commas "
                     "between them.", input="sigmas")  # fmt: skip
        return
    stage = 2 if sampler.type == STAGE_TWO_SAMPLER else 1
    if stage == 1 and (unused := unused_schedule(sampler.value("schedule", str), own)) is not None:
        report.warn(sampler, unused)
    if own and (sigmas := _known(graph.source(sampler, "sigmas"))) is not None:
        report.attempt(sampler, checked_sigmas, sigmas, input="sigmas")
    elif own or stage == 2:
        return  # not known, or the vendor's own
    else:
        sigmas = [1.0, 0.0]
    if len(sigmas) > 1:
        ends = sigmas[0], sigmas[-1]
        alone = sampler.type == SOUND_SAMPLER
        for remark in sound_remarks(*ends) if alone else remarks(*ends, stage, own, _picture(graph, sampler)):
            report.warn(sampler, remark)


def _no_number(scheduler: Node | None) -> str | None:
    """The first of ManualSigmas' numbers that is none, such as 1..0."""
    text = scheduler.value("sigmas", str) if scheduler is not None and scheduler.type == MANUAL else None
    return next((number for number in _NUMBERS.findall(text or "") if number.count(".") > 1), None)


def _known(scheduler: Node | None) -> list[float] | None:
    """The sigmas of a node of core's, or the first and the last of them; None where they are not known yet."""
    if scheduler is None:
        return None
    if scheduler.type == MANUAL and (text := scheduler.value("sigmas", str)) is not None:
        return [float(number) for number in _NUMBERS.findall(text)]
    if scheduler.type in FROM_SIGMA_MAX and (first := scheduler.value("sigma_max", (int, float))):
        return [float(first), 0.0]
    return [1.0, 0.0] if scheduler.type == LTX else None


def _picture(graph: PromptGraph, sampler: Node) -> bool | None:
    """Whether the latent to start from holds a picture; None without a latent."""
    sources = [node.type for node in latent_chain(graph, sampler)]
    return sources not in ([EMPTY_VIDEO], [CONCAT, EMPTY_VIDEO]) if sampler.has("latent") else None
