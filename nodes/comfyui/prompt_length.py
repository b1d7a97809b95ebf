"""A prompt's length by the duration head: the model's text connectors, then the head."""

from dataclasses import replace

import torch

from ...ltx_core.duration_head import frames_and_remark
from ...ltx_core.errors import CheckpointError
from ...ltx_core.loading import duration_head_params
from ...ltx_core.usable import Use
from ..lengths import FROM_OUR_LOADER, other_widths
from ..names import DURATION_FOLDERS
from . import dtypes, files, open_files
from .components import Part, build_vae_part
from .generations import check_together
from .handles import ModelHandle
from .memory import check_finite
from .progress import READING, NodeProgress
from .report import NodeReport


def run(model: object, positive: list, name: str, fps: float, limits: tuple[float, float], report: NodeReport) -> int:
    """The frame count (8n+1) that the prompt asks for, within `limits` in seconds.

    LTXError unless the model is of our own loader, and the head and the text are for it.
    """
    if not isinstance(model, ModelHandle):
        raise CheckpointError(FROM_OUR_LOADER)
    head = files.open_checkpoint(name, DURATION_FOLDERS)
    open_files.check(head, Use.DURATION)
    check_together(model=model.generation, duration_head=head.generation)
    if (wrong := other_widths(duration_head_params(head), model.transformer_params, name, model.name)) is not None:
        raise CheckpointError(wrong)
    plain = replace(model, loras=())
    features = plain.features(positive), None
    progress = NodeProgress({READING: 1, "reading the prompt": 2})
    progress.phase(READING)
    component = build_vae_part(Part.DURATION_HEAD, head, dtypes.for_model(model.weight_dtype).compute)
    reporter = progress.phase("reading the prompt")
    reporter.check_cancel()
    with torch.no_grad():
        contexts = plain.contexts(features, component, 0, 1)
        seconds = component.load()(contexts.video, contexts.audio)
    check_finite(seconds, "length of the film", component)
    frames, remark = frames_and_remark(seconds.item(), fps, *limits)
    reporter.step(1, 1)
    report.say(f"The prompt asks for {seconds.item():.2f} s: {frames} frames at {fps:g} fps, {frames / fps:.2f} s")
    report.warn(remark)
    return frames
