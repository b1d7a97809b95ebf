"""Latents on their way to a node: where they come from, and what is known of their size before anything runs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ...ltx_core.sampling.geometry import SPATIAL_FACTOR, TEMPORAL_FACTOR
from ..names import FULL, HALF, LATENT_UPSAMPLER, LOAD_LATENT, SAVE_LATENT, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .report import Files, Report

# Core's nodes.
CONCAT, SEPARATE, REPEAT, PICK = "LTXVConcatAVLatent", "LTXVSeparateAVLatent", "RepeatLatentBatch", "LatentFromBatch"
EMPTY_VIDEO, EMPTY_AUDIO, FROM_IMAGE = "EmptyLTXVLatentVideo", "LTXVEmptyLatentAudio", "LTXVImgToVideo"

# The input that a picture comes through, where it is not called "latent"; sound is the other one of CONCAT.
PICTURE_INPUTS = {CONCAT: "video_latent", SEPARATE: "av_latent", REPEAT: "samples", PICK: "samples"}
SOUND_INPUTS = {**PICTURE_INPUTS, CONCAT: "audio_latent"}

PASSING = (SAVE_LATENT, CONCAT, SEPARATE, REPEAT, PICK)  # nodes that leave a picture's size as it is


@dataclass(frozen=True)
class Picture:
    """What is known of a latent: how many it holds, its frames, its size in pixels; None for what is not."""

    batch: int | None = None
    frames: int | None = None
    height: int | None = None
    width: int | None = None

    @property
    def text(self) -> str | None:
        """Its size in words, where all of it is known."""
        if None in (self.frames, self.height, self.width):
            return None
        return f"{self.width}x{self.height} pixels and {self.frames} frames"


def latent_chain(graph: PromptGraph, node: Node, inputs: dict[str, str] = PICTURE_INPUTS) -> Iterator[Node]:
    """The nodes that the picture (or by SOUND_INPUTS the sound) of `node`'s latent comes through, the nearest first."""
    seen = {node.id}
    while (node := graph.source(node, inputs.get(node.type, "latent"))) is not None and node.id not in seen:
        seen.add(node.id)
        yield node


def picture_of(graph: PromptGraph, node: Node, files: Files, inputs: dict[str, str] = PICTURE_INPUTS) -> Picture:
    """What is known of the latent that `node` takes."""
    picture = Picture()
    for source in reversed(list(latent_chain(graph, node, inputs))):
        if source.type == LOAD_LATENT:
            picture = _saved(files.saved_latent(source))
        else:
            picture = _MAKERS.get(source.type, lambda *_: Picture())(source, picture)
    return picture


def check_batch(graph: PromptGraph, node: Node, files: Files, report: Report) -> None:
    """One film at a time."""
    for inputs in (PICTURE_INPUTS, SOUND_INPUTS):
        batch = picture_of(graph, node, files, inputs).batch
        if batch is not None and batch > 1:
            report.error(node, f"The latent is a batch of {batch}; LTX Duo makes one video at a time. Set batch_size "
                         "to 1 where it is made, or pick one with LatentFromBatch. For several videos, queue the "
                         "prompt several times with other seeds.", input="latent")  # fmt: skip


def check_start(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """A latent that stage one starts from is of the size that it works at."""
    found, asked = picture_of(graph, sampler, files), _stage_one(sampler, Picture())
    if None not in (found.text, asked.text) and found.text != asked.text:
        half = "" if size_of(sampler) == FULL else "half of "
        report.error(sampler, f"The latent is {found.text}, but stage one works at {half}the final width and height: "
                     f"{asked.text}. Connect a latent of that size, or change width, height and frames.",
                     input="latent")  # fmt: skip


def size_of(sampler: Node) -> str | None:
    """The size that stage one works at, half or full; None where that is not known yet."""
    return sampler.value("size", str) if sampler.has("size") else HALF


def _stage_one(node: Node, _: Picture) -> Picture:
    size = {HALF: 2, FULL: 1}.get(size_of(node))
    height, width = (None if size is None else _scaled(node.value(name, int), 1, size) for name in ("height", "width"))
    return Picture(1, node.value("frames", int), height, width)


def _upsampled(_: Node, given: Picture) -> Picture:
    return replace(given, height=_scaled(given.height, 2), width=_scaled(given.width, 2))


def _empty_video(node: Node, _: Picture) -> Picture:
    """Core rounds sizes down to whole latents."""
    frames = node.value("length", int)
    height, width = (_scaled(node.value(name, int), SPATIAL_FACTOR, SPATIAL_FACTOR) for name in ("height", "width"))
    frames = None if frames is None else _scaled(frames - 1, TEMPORAL_FACTOR, TEMPORAL_FACTOR) + 1
    return Picture(node.value("batch_size", int), frames, height, width)


def _scaled(size: int | None, factor: int, divisor: int = 1) -> int | None:
    """A size divided, rounded down, and multiplied."""
    return None if size is None else size // divisor * factor


def _repeated(node: Node, given: Picture) -> Picture:
    """Of an unknown batch there is at least one."""
    amount = node.value("amount", int)
    return replace(given, batch=None if amount is None else amount * (given.batch or 1))


def _picked(node: Node, given: Picture) -> Picture:
    return replace(given, batch=1 if 1 in (given.batch, node.value("length", int)) else None)


def _saved(shape: tuple[int, ...] | None) -> Picture:
    """A saved video latent's shape (B, 128, F', H', W') in frames and pixels."""
    if shape is None or len(shape) != 5:
        return Picture()
    batch, _, frames, height, width = shape
    return Picture(batch, (frames - 1) * TEMPORAL_FACTOR + 1, height * SPATIAL_FACTOR, width * SPATIAL_FACTOR)


_MAKERS: dict[str, Callable[[Node, Picture], Picture]] = {
    STAGE_ONE_SAMPLER: _stage_one,
    STAGE_TWO_SAMPLER: lambda _, given: replace(given, batch=1),
    LATENT_UPSAMPLER: _upsampled,
    EMPTY_VIDEO: _empty_video,
    FROM_IMAGE: _empty_video,
    EMPTY_AUDIO: lambda node, _: Picture(batch=node.value("batch_size", int)),
    REPEAT: _repeated,
    PICK: _picked,
    CONCAT: lambda _, given: given,
    SEPARATE: lambda _, given: given,
    SAVE_LATENT: lambda _, given: given,
}
