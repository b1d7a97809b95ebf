"""The length that a prompt asks for: the duration head is for the model, and the frame rate is the sampler's."""

from ...ltx_core.errors import LTXError
from ...ltx_core.loading import duration_head_params
from ..lengths import FROM_OUR_LOADER, other_widths
from ..names import CORE_MODEL_LOADERS, PROMPT_LENGTH, STAGE_ONE_SAMPLER
from ..prompt_graph import Node, PromptGraph
from .core_loaders import model_file, model_loader
from .files import transformer_params
from .rates import NUMBER
from .report import Files, Report


def check_length(graph: PromptGraph, node: Node, files: Files, report: Report) -> None:
    """Model and duration head of LTX Prompt Length are of one generation, and of widths that fit."""
    loaders = list(graph.chain(node, "model"))
    loader = model_loader(loaders)
    if loader is not None and loader.type in CORE_MODEL_LOADERS:
        report.error(node, FROM_OUR_LOADER, input="model")
        return
    model, head = model_file(loaders, files), files.checkpoint(node)
    if (params := transformer_params(model)) is None or head is None:
        return
    if None not in (model.generation, head.generation) and model.generation is not head.generation:
        report.error(node, f"{model.path.name} is of {model.generation_name}, which has no duration head: "
                     f"{head.path.name} is of {head.generation_name}. Choose a model of {head.generation_name} in LTX "
                     "Model Loader, or say how many frames in LTX Stage One Sampler.", input="model")  # fmt: skip
        return
    try:
        wrong = other_widths(duration_head_params(head), params, head.path.name, model.path.name)
    except LTXError:
        return  # the node says so itself
    if wrong is not None:
        report.error(node, wrong, input="duration_head")


def check_length_rate(graph: PromptGraph, sampler: Node, report: Report) -> None:
    """A length in frames that was told at one frame rate is not played at another."""
    source = graph.source(sampler, "frames")
    if source is None or source.type != PROMPT_LENGTH or sampler.type != STAGE_ONE_SAMPLER:
        return
    told, made = source.value("fps", NUMBER), sampler.value("fps", NUMBER)
    if None not in (told, made) and told != made:
        report.warn(source, f"The length is told in frames of {told:g} a second, but the film is made at {made:g}: it "
                    "is longer or shorter than the prompt asks for. Connect the output frame rate to fps of LTX Stage "
                    "One Sampler.")  # fmt: skip
