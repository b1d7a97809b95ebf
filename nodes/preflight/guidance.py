"""CFG has a negative prompt, and a distilled model no CFG."""

import math

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.errors import LTXError
from ...ltx_core.sampling.guidance import LTX_2_3_HQ, OFF, Guidance
from ...ltx_core.variants import Kind, variant_of
from ..names import CUSTOM, FROM_MODEL, GUIDANCE, HIGH_QUALITY, MODEL_LOADER, RECIPE, SOUND_SAMPLER, TEXT_ENCODE
from ..prompt_graph import Node, PromptGraph
from .core_loaders import generation_of, model_file, model_loader
from .distilled import STRONG, file_name, is_distilled_lora, model_kind
from .files import transformer_params
from .report import Files, Report
from .sounds import given_sounds


def check_guidance(graph: PromptGraph, sampler: Node, files: Files, report: Report) -> None:
    """CFG has a negative prompt, and a distilled model no CFG."""
    loaders = list(graph.chain(sampler, "model"))
    loader = model_loader(loaders)
    if loader is None:
        return
    kind = model_kind(loader)
    guidance = graph.source(sampler, "guidance")
    model = model_file(loaders, files)
    cfg = _cfg_scales(guidance, OFF if kind is None else variant_of(kind, generation_of(model)).guidance)
    if given_sounds(graph, sampler):
        cfg = (cfg[0], 1.0)  # what is given is not guided
    if sampler.type == SOUND_SAMPLER:
        cfg = (1.0, cfg[1])
    if guidance is not None and guidance.value("preset") == CUSTOM:
        _check_blocks(guidance, model, report)
    if not any(not math.isclose(scale, 1.0) for scale in cfg):
        return
    if not sampler.has("negative"):
        report.error(sampler, f"Guidance with CFG {cfg[0]:g} (picture) and {cfg[1]:g} (sound) needs a negative prompt. "
                     "Connect 'negative' of LTX Text Encode, or LTX Guidance with preset 'none'.",
                     input="positive")  # fmt: skip
    owner = guidance or sampler
    if kind is Kind.DISTILLED:
        otherwise = " If it is one, set kind of LTX Model Loader to 'dev'." if loader.type == MODEL_LOADER else ""
        report.warn(owner, f"{file_name(loader) or 'This'} is a distilled model: with CFG it becomes grainy and slow. "
                    "Set LTX Guidance to 'from the model' or 'none', or choose the dev checkpoint."
                    f"{otherwise}")  # fmt: skip
    for lora in loaders:
        strength = lora.value("strength_stage_one", (int, float))
        if is_distilled_lora(lora) and strength is not None and strength >= STRONG:
            report.warn(lora, "The distilled LoRA is on in stage one together with CFG, which makes it grainy. Set "
                        "strength_stage_one to 0, or LTX Guidance to 'none'.")  # fmt: skip
    text = graph.source(sampler, "negative")
    if text is not None and text.type == TEXT_ENCODE and not (text.value("negative_prompt", str) or "x").strip():
        report.warn(text, "The negative prompt is empty while CFG is on: CFG then only pushes away from nothing. Write "
                    "what to avoid, e.g. 'blurry, static, distorted sound'.")  # fmt: skip


def check_reused(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """Guidance is reused by sampler euler alone.  What a model's recipe takes, the node itself sees."""
    guidance = graph.source(sampler, "guidance")
    if guidance is None or guidance.type != GUIDANCE or guidance.value("preset") != CUSTOM:
        return
    chosen = sampler.value("sampler", str)
    if guidance.value("reuse_guidance", bool) and chosen not in (None, RECIPE, "euler"):
        report.error(sampler, f"LTX Guidance has reuse_guidance on, which sampler {chosen} does not do. Choose sampler "
                     "euler, or turn reuse_guidance off.",
                     input="sampler")  # fmt: skip


def _cfg_scales(guidance: Node | None, recipe: Guidance) -> tuple[float, float]:
    """CFG of picture and sound in stage one, `recipe` where the model decides; 1 for what is not known."""
    defaults = (recipe.video.cfg, recipe.audio.cfg)
    if guidance is None:
        return defaults
    preset = guidance.value("preset", str) if guidance.type == GUIDANCE else None
    if preset == FROM_MODEL:
        return defaults
    if preset == HIGH_QUALITY:
        return LTX_2_3_HQ.video.cfg, LTX_2_3_HQ.audio.cfg
    if preset != CUSTOM:
        return 1.0, 1.0
    scales = (guidance.value(name, (int, float)) for name in ("video_cfg", "audio_cfg"))
    return tuple(1.0 if scale is None else scale for scale in scales)


def _check_blocks(guidance: Node, model: Checkpoint | None, report: Report) -> None:
    from ..guidance import parse_blocks

    text, params = guidance.value("stg_blocks", str), transformer_params(model)
    if params is None or text is None:
        return
    layers = params.num_layers
    try:
        missing = [block for block in parse_blocks(text) or () if block >= layers]
    except LTXError:
        return  # the node says so itself
    if missing:
        report.error(guidance, f"stg_blocks names {', '.join(map(str, missing))}, but the model has blocks 0 to "
                     f"{layers - 1}. Write 'auto' to take the one that suits the model.",
                     input="stg_blocks")  # fmt: skip
