"""What is wrong with a whole prompt, from the graph and the headers of its files, before anything runs.

Nodes check their own inputs; here is what only several nodes together show.  Nothing is changed.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..ltx_core.checkpoint import Checkpoint, Component, common_variant
from ..ltx_core.errors import LTXError
from ..ltx_core.lora import LoRA
from ..ltx_core.sampling.conditioning import resolve_frame
from ..ltx_core.transformer.params import TransformerParams
from .prompt_graph import Node, PromptGraph

MODEL, LORA, VAE, TEXT, UPSAMPLER = (
    "LTXDuoModelLoader", "LTXDuoLoraLoader", "LTXDuoVAELoader", "LTXDuoTextEncoderLoader", "LTXDuoUpsamplerLoader",
)  # fmt: skip
STAGE_ONE, STAGE_TWO, UPSAMPLE = "LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoLatentUpsampler"
GUIDANCE, ENCODE, CONDITION = "LTXDuoGuidance", "LTXDuoTextEncode", "LTXDuoImageCondition"
LOAD_LATENT, CREATE_VIDEO = "LTXDuoLoadLatent", "CreateVideo"
STRONG = 0.5  # a distilled LoRA at this strength makes the model a distilled one
FAULTY_UPSAMPLER = re.compile(r"spatial-upscaler-x2-1\.0\b")
PROJECTIONS = {"video": "video_aggregate_embed.bias", "audio": "audio_aggregate_embed.bias"}


class Files(Protocol):
    """Opened files by the loader node that names them; None for what cannot be opened or is not known yet."""

    def checkpoint(self, loader: Node) -> Checkpoint | None: ...

    def lora(self, loader: Node) -> LoRA | None: ...


@dataclass
class Report:
    """Findings by node: what is surely wrong stops the prompt, what is likely wrong is told."""

    errors: dict[str, str] = field(default_factory=dict)
    warnings: list[tuple[Node, str]] = field(default_factory=list)

    def error(self, node: Node, message: str) -> None:
        self.errors.setdefault(node.id, message)

    def warn(self, node: Node, message: str) -> None:
        if (node, message) not in self.warnings:
            self.warnings.append((node, message))

    def attempt(self, node: Node, check: Callable, *arguments) -> None:
        """Runs a check of the engine; what it raises is an error of `node`."""
        try:
            check(*arguments)
        except LTXError as error:
            self.error(node, str(error))


def check(graph: PromptGraph, files: Files, has_gpu: bool) -> Report:
    """Looks at every stage of the prompt.  `has_gpu`: whether noise devices 'gpu' and 'cpu' differ here."""
    report = Report()
    for loader in graph.of_type(UPSAMPLER):
        if FAULTY_UPSAMPLER.search(loader.value("upsampler", str) or ""):
            report.warn(loader, "Version 1.0 of the x2 upsampler is known to be faulty (flicker, mosaic). Take 1.1: "
                        "ltx-2.3-spatial-upscaler-x2-1.1.safetensors.")  # fmt: skip
    for sampler in graph.of_type(STAGE_ONE, STAGE_TWO):
        _check_files(graph, sampler, files, report)
    for sampler in graph.of_type(STAGE_ONE):
        _check_frames(graph, sampler, sampler, report)
        _check_guidance(graph, sampler, files, report)
    for sampler in graph.of_type(STAGE_TWO):
        _check_stage_two(graph, sampler, has_gpu, report)
    for node in graph.of_type(CREATE_VIDEO):
        _check_fps(graph, node, report)
    return report


def _check_files(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """Files that are used together are of one generation, and of sizes that fit."""
    loaders = list(graph.chain(sampler, "model"))
    model_loader = next((node for node in loaders if node.type == MODEL), None)
    model = files.checkpoint(model_loader) if model_loader else None
    if (params := _params(model)) is None:
        return
    shapes = {name: info.shape for name, info in model.tensors(Component.TRANSFORMER).items()}
    for loader in loaders:
        if loader.type == LORA and (lora := files.lora(loader)) is not None:
            report.attempt(loader, lora.check, shapes, model.path.name)
    for loader in _loaders_beside(graph, sampler):
        if (other := files.checkpoint(loader)) is None:
            continue
        report.attempt(loader, _check_variants, model, other)
        if loader.type == TEXT:
            report.attempt(loader, _check_projection, params, model, other)


def _loaders_beside(graph: PromptGraph, sampler: Node) -> Iterator[Node]:
    """The loaders of what works together with a sampler's model."""
    for name in ("vae", "positive", "negative", "latent"):
        source = graph.source(sampler, name)
        if source is None:
            continue
        near = [source, *(graph.source(source, slot) for slot in ("text_encoder", "upsampler", "vae"))]
        yield from (node for node in near if node is not None and node.type in (VAE, TEXT, UPSAMPLER))


def _check_variants(model: Checkpoint, other: Checkpoint) -> None:
    if model.variant is not None and other.variant is not None:
        common_variant(model, other)


def _params(model: Checkpoint | None) -> TransformerParams | None:
    """The transformer's sizes; None if the file holds none, which its loader says itself."""
    try:
        whole = model is not None and Component.TRANSFORMER in model.components
        return TransformerParams.from_config(model.config) if whole else None
    except LTXError:
        return None


def _check_projection(params: TransformerParams, model: Checkpoint, projection: Checkpoint) -> None:
    """LTXError unless the text that the projection makes is as wide as the model takes it."""
    tensors = projection.tensors(Component.TEXT_PROJECTION)
    for modality, name in PROJECTIONS.items():
        expected = getattr(params, modality).context_dim
        if name in tensors and tensors[name].shape != (expected,):
            raise LTXError(
                f"The text projection in {projection.path.name} makes {modality} text {tensors[name].shape[0]} wide, "
                f"but {model.path.name} takes {expected}. Choose the model's own checkpoint as projection."
            )


def _check_frames(graph: PromptGraph, sampler: Node, sized: Node, report: Report) -> None:
    """Image conditions lie inside the video, whose number of frames the node `sized` asks for."""
    frames = sized.value("frames", int)
    for condition in graph.chain(sampler, "conditions"):
        frame = condition.value("frame", int)
        if condition.type == CONDITION and frames is not None and frames > 0 and frame is not None:
            report.attempt(condition, resolve_frame, frame, frames)


def _check_guidance(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """CFG has a negative prompt, and a distilled model no CFG."""
    loaders = list(graph.chain(sampler, "model"))
    model_loader = next((node for node in loaders if node.type == MODEL), None)
    if model_loader is None:
        return
    name = model_loader.value("checkpoint", str) or ""
    distilled = "distilled" in name.lower()
    guidance = graph.source(sampler, "guidance")
    cfg = _cfg_scales(guidance, distilled)
    if guidance is not None and guidance.value("preset") == "custom":
        _check_blocks(guidance, files.checkpoint(model_loader), report)
    if not any(not math.isclose(scale, 1.0) for scale in cfg):
        return
    if not sampler.has("negative"):
        report.error(sampler, f"Guidance with CFG {cfg[0]:g} (picture) and {cfg[1]:g} (sound) needs a negative prompt. "
                     "Connect 'negative' of LTX Text Encode, or LTX Guidance with preset 'none'.")  # fmt: skip
    owner = guidance or sampler
    if distilled:
        report.warn(owner, f"{name} is a distilled model: with CFG it becomes grainy and slow. Set LTX Guidance to "
                    "'from the model' or 'none', or choose the dev checkpoint.")  # fmt: skip
    for lora in loaders:
        strength = lora.value("strength_stage_one", (int, float))
        if _is_distilled_lora(lora) and strength is not None and strength >= STRONG:
            report.warn(lora, "The distilled LoRA is on in stage one together with CFG, which makes it grainy. Set "
                        "strength_stage_one to 0, or LTX Guidance to 'none'.")  # fmt: skip
    text = graph.source(sampler, "negative")
    if text is not None and text.type == ENCODE and not (text.value("negative_prompt", str) or "x").strip():
        report.warn(text, "The negative prompt is empty while CFG is on: CFG then only pushes away from nothing. Write "
                    "what to avoid, e.g. 'blurry, static, distorted sound'.")  # fmt: skip


def _cfg_scales(guidance: Node | None, distilled: bool) -> tuple[float, float]:
    """CFG of picture and sound in stage one; 1 for what is not known."""
    defaults = (1.0, 1.0) if distilled else (3.0, 7.0)
    if guidance is None:
        return defaults
    preset = guidance.value("preset", str) if guidance.type == GUIDANCE else None
    if preset == "from the model":
        return defaults
    if preset != "custom":
        return 1.0, 1.0
    scales = (guidance.value(name, (int, float)) for name in ("video_cfg", "audio_cfg"))
    return tuple(1.0 if scale is None else scale for scale in scales)


def _check_blocks(guidance: Node, model: Checkpoint | None, report: Report) -> None:
    from .guidance import parse_blocks

    text, params = guidance.value("stg_blocks", str), _params(model)
    if params is None or text is None:
        return
    layers = params.num_layers
    try:
        missing = [block for block in parse_blocks(text) or () if block >= layers]
    except LTXError:
        return  # the node says so itself
    if missing:
        report.error(guidance, f"stg_blocks names {', '.join(map(str, missing))}, but the model has blocks 0 to "
                     f"{layers - 1}. Write 'auto' to take the one that suits the model.")  # fmt: skip


def _check_stage_two(graph: PromptGraph, sampler: Node, has_gpu: bool, report: Report) -> None:
    loaders = list(graph.chain(sampler, "model"))
    _check_distilled_weights(graph, sampler, loaders, report)
    before = list(graph.chain(sampler, "latent"))
    first = next((node for node in before if node.type == STAGE_ONE), None)
    upsamplers = [node for node in before if node.type == UPSAMPLE]
    if before and before[0].type in (STAGE_ONE, LOAD_LATENT):
        report.warn(sampler, "The latent comes at half size: between stage one and this node belongs LTX Latent "
                    "Upsampler, else the video has half of the size that was asked for.")  # fmt: skip
    if len(upsamplers) > 1:
        report.warn(sampler, "The latent is upsampled twice: the video becomes twice as large as was asked for. "
                    "Use one LTX Latent Upsampler.")  # fmt: skip
    if first is None:
        return
    _check_frames(graph, sampler, first, report)
    if first.has("conditions") != sampler.has("conditions"):
        report.warn(sampler, "Only one of the two samplers has image conditions: the image is lost in the other stage. "
                    "Connect the same conditions to both.")  # fmt: skip
    devices = first.value("noise_device", str), sampler.value("noise_device", str)
    continues = sampler.value("noise", str) == "continue stage one"
    if has_gpu and continues and None not in devices and devices[0] != devices[1]:
        report.error(sampler, f"Stage one draws its noise on '{devices[0]}', this stage would continue on "
                     f"'{devices[1]}'. Set the same noise_device in both, or noise to 'new seed'.")  # fmt: skip


def _check_distilled_weights(graph: PromptGraph, sampler: Node, loaders: list[Node], report: Report) -> None:
    """The few steps of stage two are made for distilled weights, once."""
    model = next((node for node in loaders if node.type == MODEL), None)
    name = model.value("checkpoint", str) if model else None
    if name is None:
        return
    strengths = {
        lora.id: lora.value("strength_stage_two", (int, float)) for lora in loaders if _is_distilled_lora(lora)
    }
    active = [node for node in loaders if strengths.get(node.id)]
    if "distilled" in name.lower():
        for lora in active:
            report.warn(lora, f"{name} is distilled already: the distilled LoRA on top makes the picture harsh. Take "
                        "the LoRA out, or choose the dev checkpoint.")  # fmt: skip
    elif not active and None not in strengths.values() and not sampler.has("sigmas"):
        report.warn(sampler, "Stage two's three steps need distilled weights, and no distilled LoRA is on here. "
                    "Put LTX LoRA Loader with ltx-2.3-22b-distilled-lora-384-1.1 (0 and 1) before it.")  # fmt: skip


def _is_distilled_lora(node: Node) -> bool:
    return node.type == LORA and "distilled" in (node.value("lora", str) or "").lower()


def _check_fps(graph: PromptGraph, node: Node, report: Report) -> None:
    """Core's Create Video asks for the frame rate again."""
    fps = node.value("fps", (int, float))
    asked: Mapping[str, float] = {
        sampler.id: rate
        for sampler in graph.ancestors(node)
        if sampler.type == STAGE_ONE and (rate := sampler.value("fps", (int, float))) is not None
    }
    if fps is not None and len(asked) == 1 and (rate := next(iter(asked.values()))) != fps:
        report.warn(node, f"The video is made for {rate:g} frames a second, but this node plays it at {fps:g}: picture "
                    f"and sound drift apart. Set fps to {rate:g}.")  # fmt: skip
