"""ComfyUI's own MODEL as the model of the samplers: its LTX-2 runs in the engine, on ComfyUI's layers and patcher."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import PurePath

import comfy.model_patcher
import comfy.sd
import torch
from torch import nn

from ...ltx_core.errors import LTXError, VariantError
from ...ltx_core.generation import Generation, guessed_generation
from ...ltx_core.key_maps import Component
from ...ltx_core.lora import LoRA, ReferenceFactors, Strengths, factors_in
from ...ltx_core.lora.names import CONNECTORS
from ...ltx_core.safetensors_file import TensorInfo
from ...ltx_core.text.params import ConnectorParams
from ...ltx_core.transformer.params import TransformerParams
from ...ltx_core.variants import Kind, ModelVariant, kind_of_name, variant_of
from .. import from_core
from . import compat, core_options, dtypes
from .core_layers import BorrowedModel
from .handles import LoraUse, ModelHandle, SampledModel
from .lora_layers import layers_below
from .lora_patches import lay_patches
from .memory import PatchedModule, load_together
from .packed import EXPANDING
from .report import NodeReport

EXPECTED = (
    f"Connect an audio-video model of {from_core.NAMES}, such as ltx-2.3-22b-dev.safetensors, from LTX Model Loader or "
    "one of ComfyUI's loaders."
)
# Where ComfyUI's model has the layers whose official names begin like this.
ROOTS = {start: f"diffusion_model.{start}" for start in ("", *CONNECTORS)}
LORA_METADATA = "lora_metadata"  # how ComfyUI's LoRA loaders call it on the MODEL
CORE_LORA = "the LoRA of ComfyUI's own loader"
# By `image_model` of ComfyUI's config.
NAMES = {"ltxv": "LTX-Video before LTX-2, which makes no sound"}


def take(model: object, report: NodeReport | None = None) -> "ModelHandle | CoreModelHandle":
    """What a `model` input got: LTX Duo's own handle as it is, or ComfyUI's MODEL as one.

    LTXError or VariantError that says what it is where it is neither, or no model that is run.  What of a MODEL does
    nothing here is said in the `report`.
    """
    if isinstance(model, SampledModel):
        handle = model
    else:
        handle = CoreModelHandle(_ltx_patcher(model))
        handle.check()
    if report is not None and isinstance(handle, CoreModelHandle):
        report.note(handle.how_taken)
        report.warn(core_options.note_on_unused(handle.patcher, handle.borrowed.places))
        report.warn(core_options.note_on_dtype(compute_dtype(handle.patcher)))
    return handle


@dataclass(frozen=True, eq=False)
class CoreModelHandle(SampledModel):
    """ComfyUI's MODEL with what the samplers ask of a model.  LoRAs of LTX LoRA Loader lie over the MODEL's own."""

    patcher: comfy.model_patcher.ModelPatcher
    loras: tuple[LoraUse, ...] = ()
    patched: dict[str, comfy.model_patcher.ModelPatcher] = field(default_factory=dict)

    note_on_sound = (
        "All of the MODEL is made ready, since ComfyUI keeps its layers together; from LTX Model Loader a sixth"
    )

    def is_dynamic(self) -> bool:
        return getattr(self.patcher, "is_dynamic", lambda: False)()

    def get_models(self) -> list:
        own = [self.patcher, *self.patched.values()]
        return [*own, *(beside for patcher in own for beside in patcher.get_nested_additional_models())]

    @property
    def network(self) -> nn.Module:
        """ComfyUI's diffusion model."""
        return self.patcher.get_model_object("diffusion_model")

    @property
    def name(self) -> str:
        """For messages."""
        return self.file_name or "the connected MODEL"

    @cached_property
    def file_name(self) -> str | None:
        """The name of the file that it was loaded from, where ComfyUI remembers it."""
        _, arguments, *_ = getattr(self.patcher, "cached_patcher_init", None) or (None, ())
        first = arguments[0] if arguments else None
        return PurePath(first).name if isinstance(first, str) else None

    @cached_property
    def kind(self) -> Kind:
        return Kind.DEV if self.file_name is None else kind_of_name(self.file_name)

    @property
    def how_taken(self) -> str:
        if self.file_name is not None:
            return f"MODEL taken as {self.kind} by its file's name, {self.file_name}"
        sigmas = ", ".join(f"{sigma:g}" for sigma in variant_of(Kind.DISTILLED).fixed_sigmas)
        return (
            "MODEL taken as dev: it does not tell its file's name. A distilled one needs LTX Guidance with preset "
            f"'none' in stage one, and sigmas {sigmas} (from ManualSigmas)"
        )

    @property
    def variant(self) -> ModelVariant:
        return variant_of(self.kind, self.generation)

    @cached_property
    def config(self) -> Mapping:
        """The `transformer` section of the config that ComfyUI built the model by."""
        return self.patcher.model.model_config.unet_config

    @cached_property
    def transformer_params(self) -> TransformerParams:
        return TransformerParams.from_config({"transformer": self.config})

    @cached_property
    def borrowed(self) -> BorrowedModel:
        """The engine's networks, for the layers of this MODEL."""
        return self._networks()

    def _networks(self) -> BorrowedModel:
        config = {"transformer": self.config}
        connectors = {modality: ConnectorParams.from_config(config, modality) for modality in ("video", "audio")}
        return BorrowedModel(self.transformer_params, connectors, core_options.attention_of(self.patcher))

    def check(self) -> None:
        """VariantError for another generation, LTXError where the layers are not those that its config describes."""
        if not from_core.is_taken(self.generation):
            why = from_core.refusal(self.generation)
            raise VariantError(f"This MODEL is {self.generation}, which {why}. {EXPECTED}")
        if differences := self.borrowed.differences(self.network):
            raise LTXError(
                f"This MODEL does not have the layers of LTX-2 that its config describes: {'; '.join(differences)}. "
                f"Take the nodes out that change its layers, or load the file again. {EXPECTED}"
            )

    @cached_property
    def generation(self) -> Generation | None:
        """By the names of its layers."""
        if self.config.get("use_keyframes_abs_pos_embedding"):
            return Generation.V2_5
        infos = {name: TensorInfo("F32", tuple(tensor.shape)) for name, tensor in self.network.named_parameters()}
        return guessed_generation({Component.TRANSFORMER: {name: name for name in infos}}, infos)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.borrowed.shapes

    @property
    def attention_name(self) -> str | None:
        return core_options.name_of_attention(self.patcher)

    def _named_factors(self) -> Iterator[tuple[str, ReferenceFactors]]:
        """With the LoRA that ComfyUI's own loader laid over the MODEL last: of others it keeps no metadata."""
        yield from super()._named_factors()
        metadata = getattr(self.patcher, "get_attachment", lambda _: None)(LORA_METADATA)
        if metadata:
            yield CORE_LORA, factors_in(metadata, CORE_LORA)

    def may_read_references(self, number: int) -> bool:
        """What patches there are cannot be told."""
        return bool(self.patcher.patches) or super().may_read_references(number)

    def with_lora(self, use: LoraUse) -> "CoreModelHandle":
        return replace(self, loras=(*self.loras, use), patched={})

    def with_gpus(self, count: int) -> "CoreModelHandle":
        """By ComfyUI's own MultiGPU CFG Split, which reads the file again for each further GPU."""
        if compat.multigpu_module() is None:
            return self
        try:
            patcher = compat.multigpu_deepclones(self.patcher, count)
            return replace(self, patcher=patcher, patched={})
        except RuntimeError as error:
            raise LTXError(
                f"{self.name} cannot be read again for another GPU ({error}). Load it by LTX Model Loader or one of "
                "ComfyUI's own loaders, or take LTX Several GPUs out."
            ) from error

    def further(self, number: int, steps: int | None = None) -> dict[torch.device, Callable[[], "CoreModel"]]:
        """Those for which ComfyUI's MultiGPU CFG Split has put a patcher on the MODEL."""
        clones = compat.multigpu_clones(self._patcher(number))
        return {clone.load_device: partial(self._replica, clone) for clone in clones}

    def _replica(self, clone: comfy.model_patcher.ModelPatcher) -> "CoreModel":
        return CoreModel(clone, self._networks())

    def stage(self, number: int, steps: int | None = None) -> "CoreModel":
        """The networks on the layers of the MODEL with the LoRAs of stage 1 or 2 as its patches, for one run."""
        return CoreModel(self._patcher(number), self.borrowed)

    def _patcher(self, number: int) -> comfy.model_patcher.ModelPatcher:
        active = self.active_loras(number)
        for lora, _ in active:
            lora.file.check_not_written_over()
        key = repr([(str(lora.path), strength) for lora, strength in active])
        if active and key not in self.patched:
            self.patched[key] = _with_loras(self.patcher, active)
        return self.patched[key] if active else self.patcher

    def sound(self) -> "CoreModel":
        """All of it: ComfyUI keeps the layers of a MODEL together."""
        return self.stage(1)

    def connectors(self, component: "CoreModel", number: int, sound_alone: bool = False) -> "CoreModel":
        """ComfyUI keeps them beside the transformer."""
        return component


class CoreModel(PatchedModule):
    """A borrowed model on the patcher of a MODEL, for one run of a stage."""

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher, borrowed: BorrowedModel):
        super().__init__(patcher, compute_dtype(patcher))
        self._borrowed = borrowed
        self._bind()

    def _bind(self) -> None:
        self._borrowed.bind(self.patcher.get_model_object("diffusion_model"))

    @property
    def module(self) -> nn.Module:
        return self._borrowed

    @property
    def in_fp8(self) -> bool:
        """Never in the engine's own way: ComfyUI's layers multiply as they do."""
        return False

    @property
    def expanding_bytes(self) -> float:
        """Packed weights are expanded one layer at a time."""
        sizes = [
            layer.in_features * layer.out_features
            for layer in self._borrowed.modules()
            if hasattr(layer, "in_features") and _is_packed(getattr(layer, "weight", None))
        ]
        return EXPANDING * max(sizes, default=0)

    def load(self, activation_bytes: float = 0) -> nn.Module:
        load_together([self], activation_bytes)
        compat.pin_no_patch_twice(self.patcher)
        self._bind()
        return self._borrowed


def _is_packed(weight: torch.Tensor | None) -> bool:
    return weight is not None and (type(weight.data) is not torch.Tensor or weight.dtype.itemsize == 1)


def _ltx_patcher(model: object) -> comfy.model_patcher.ModelPatcher:
    """LTXError unless it is a MODEL with ComfyUI's LTX-2 audio-video network; says what it is instead."""
    if not isinstance(model, comfy.model_patcher.ModelPatcher):
        raise LTXError(f"This is no model but {_kind_of(model)}. {EXPECTED}")
    config = getattr(model.model, "model_config", None)
    image_model = (getattr(config, "unet_config", None) or {}).get("image_model")
    if image_model != "ltxav" or not hasattr(model.model, "diffusion_model"):
        name = NAMES.get(image_model) or type(model.model if config is None else config).__name__
        raise VariantError(f"This MODEL is {name}. {EXPECTED}")
    return model


def _kind_of(value: object) -> str:
    for kind, words in ((comfy.sd.CLIP, "a CLIP"), (comfy.sd.VAE, "a VAE")):
        if isinstance(value, kind):
            return words
    return f"a value of type {type(value).__name__}"


def compute_dtype(patcher) -> torch.dtype:
    """What ComfyUI's own sampler gives the layers: LTX-2 is never computed in float8."""
    dtype = patcher.get_model_object(core_options.COMPUTE_DTYPE) or patcher.model.get_dtype()
    return dtype if dtype.itemsize > 1 else dtypes.usual(patcher.load_device)


def _with_loras(
    patcher: comfy.model_patcher.ModelPatcher, loras: Sequence[tuple[LoRA, Strengths]]
) -> comfy.model_patcher.ModelPatcher:
    """A clone of the MODEL with these LoRAs laid over it by ComfyUI."""
    clone = patcher.clone()
    for lora, strengths in loras:
        lay_patches(clone, lora, layers_below(clone.model, ROOTS, lora, strengths), clone.load_device)
    return clone
