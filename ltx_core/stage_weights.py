"""The weights of one stage: which LoRAs lie over them, on every GPU that has them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from .components import Components
from .execution.precompile import finish_transformer
from .execution.several_gpus import DividedModel, on_several_gpus
from .lora import LoRA, fused
from .lora.names import CONNECTORS
from .progress import Reporter
from .request import StagedLoRA
from .transformer.model import AVTransformer
from .variants import ModelVariant

log = logging.getLogger("ltx_duo")

StageLoRAs = list[tuple[LoRA, float]]


@contextmanager
def transformer_with(c: Components, loras: StageLoRAs, reporter: Reporter) -> Iterator[AVTransformer | DividedModel]:
    """The transformer of one stage with its LoRAs, on all GPUs that have it."""
    with ExitStack() as laid:
        for model in (c.transformer, *c.replicas):
            finish_transformer(model, c.dtype, next(model.parameters()).device)
            laid.enter_context(fused(model, loras))
        yield laid.enter_context(on_several_gpus(c.transformer, c.replicas, reporter))


def loras_of_stages(components: Components, loras: Sequence[StagedLoRA]) -> tuple[StageLoRAs, StageLoRAs]:
    """What of the LoRAs fits the model, with the strengths of each stage; VariantError if nothing does."""
    modules = components.transformer, components.video_connector, components.audio_connector
    shapes = {
        below + name: weight.shape
        for below, module in zip(("", *CONNECTORS), modules, strict=True)
        for name, weight in module.named_parameters()
    }
    one, two = [], []
    for own in loras:
        lora = own.lora.fitted(shapes)
        one.append((lora, own.stage_one))
        two.append((lora, own.stage_two))
        tell_of(lora, components.variant)
    return one, two


def tell_of(lora: LoRA, variant: ModelVariant) -> None:
    """Logs what of a LoRA does nothing, and that it is for another generation than the model."""
    for unused in lora.unused:
        log.warning("LTX Duo: %s: %s do nothing.", lora.path, unused)
    if lora.made_for is not None and lora.made_for[0] is not variant.generation:
        log.warning(
            "LTX Duo: %s is for %s (%s), but the model is %s. Choose a LoRA for it.",
            lora.path, *lora.made_for, variant.generation,
        )  # fmt: skip
