"""Whether memory and disk are large enough for a prompt, by the sizes of its files and of its video."""

from collections.abc import Callable
from dataclasses import dataclass

from ..names import MODEL_LOADER, SOUND_SAMPLER, STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .report import Report

GB = 1e9
# A frame as ComfyUI passes it on: three float32 values a pixel.
BYTES_PER_PIXEL = 12
# More than H.264 at ComfyUI's quality takes for moving noise.
FILM_BYTES_PER_PIXEL = 0.5


@dataclass(frozen=True)
class Machine:
    """Bytes of memory of the computer and of its GPU, and free on the disk with ComfyUI's output folder."""

    ram: int
    free_ram: int
    vram: int
    free_disk: int


def check_room(graph: PromptGraph, size_of: Callable[[Node], int | None], machine: Machine, report: Report) -> None:
    """Warns of what will not fit; `size_of` gives the bytes of a loader's file."""
    for loader in graph.of_type(MODEL_LOADER):
        size = None if _is_for_sound_alone(graph, loader) else size_of(loader)
        if size is not None and size > machine.ram + machine.vram:
            report.warn(loader, f"The checkpoint is {size / GB:.1f} GB, this computer has {machine.ram / GB:.1f} GB of "
                        f"RAM and {machine.vram / GB:.1f} GB of VRAM: weights will be read from the disk again at each "
                        "step. Take the fp8 checkpoint.")  # fmt: skip
    for sampler in graph.of_type(STAGE_ONE_SAMPLER):
        sizes = [sampler.value(name, int) for name in ("width", "height", "frames")]
        if None in sizes:
            continue
        pixels = sizes[0] * sizes[1] * sizes[2]
        if pixels * BYTES_PER_PIXEL > machine.free_ram:
            report.warn(sampler, f"The decoded frames take {pixels * BYTES_PER_PIXEL / GB:.1f} GB of RAM, "
                        f"{machine.free_ram / GB:.1f} GB are free. Make the video smaller or shorter.")  # fmt: skip
        if pixels * FILM_BYTES_PER_PIXEL > machine.free_disk:
            report.warn(sampler, f"The disk of ComfyUI's output folder has {machine.free_disk / GB:.2f} GB left, the "
                        f"video may take {pixels * FILM_BYTES_PER_PIXEL / GB:.2f} GB. Make room on it.")  # fmt: skip


def _is_for_sound_alone(graph: PromptGraph, loader: Node) -> bool:
    """Whether only samplers of sound take the model, of which they read a sixth."""
    samplers = graph.of_type(STAGE_ONE_SAMPLER, STAGE_TWO_SAMPLER, SOUND_SAMPLER)
    users = {sampler.type for sampler in samplers if loader in graph.chain(sampler, "model")}
    return users == {SOUND_SAMPLER}
