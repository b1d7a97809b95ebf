"""A film that is given: one for each run, and nothing beside it that it leaves no room for."""

from ..films import ONE_FILM
from ..names import (
    EXTEND,
    FILM_CONDITIONS,
    FILM_SOUND,
    IMAGE_CONDITION,
    REFERENCE_VIDEO,
    RETAKE,
    SOUND,
    SOUND_CONDITION,
    STAGE_ONE_SAMPLER,
)
from ..prompt_graph import Node, PromptGraph
from .report import Report


def given_films(graph: PromptGraph, sampler: Node) -> list[Node]:
    """The nodes in a sampler's chain that give a film, the last one first."""
    return [node for node in graph.chain(sampler, "conditions") if node.type in FILM_CONDITIONS]


def check_film(graph: PromptGraph, sampler: Node, report: Report) -> None:
    chain = list(graph.chain(sampler, "conditions"))
    films = [node for node in chain if node.type in FILM_CONDITIONS]
    if len(films) > 1:
        report.error(films[0], f"The chain of conditions gives {len(films)} films. {ONE_FILM}", input="video")
    if films and _keeps_picture(films[0]):
        _check_beside_a_picture(chain, report)
    if sampler.type == STAGE_ONE_SAMPLER:
        _check_start(sampler, films, report)


def _keeps_picture(film: Node) -> bool:
    return film.type == FILM_SOUND or (film.type == RETAKE and film.value("remake", str) == SOUND)


def _check_beside_a_picture(chain: list[Node], report: Report) -> None:
    for node in chain:
        if node.type == IMAGE_CONDITION:
            report.error(node, "The picture of the given film is kept, so that this image changes nothing. Take it out "
                         "of the chain, or have the picture made anew.", input="image")  # fmt: skip
        elif node.type == REFERENCE_VIDEO:
            report.error(node, "The picture of the given film is kept, so that this reference changes nothing. Take it "
                         "out of the chain, or have the picture made anew.", input="video")  # fmt: skip
        elif node.type == SOUND_CONDITION:
            report.error(node, "The picture of the given film is kept, and with a sound given too nothing is left to "
                         "make. Take one of both out of the chain.", input="audio")  # fmt: skip


def _check_start(sampler: Node, films: list[Node], report: Report) -> None:
    """What stage one begins from: noise, a latent or a film."""
    denoise = sampler.value("denoise", (int, float))
    if films and sampler.has("latent"):
        report.error(sampler, "The conditions give a film, and a start latent is connected: stage one begins from one "
                     "of both. Take the latent away; with denoise below 1 a film is begun from too.",
                     input="latent")  # fmt: skip
    if denoise is None or denoise >= 1:
        return
    if any(film.type == EXTEND for film in films):
        report.error(sampler, "What LTX Extend adds is made from noise alone: set denoise to 1.", input="denoise")
    elif not films and not sampler.has("latent") and not sampler.has("conditions"):
        report.warn(sampler, "denoise is below 1, but there is nothing to begin from: connect a latent, or give a film "
                    "in the conditions. Without either the picture stays rough.")  # fmt: skip
