"""A shipped workflow with official files, to spoil and to ask preflight about."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

from ltx_duo.ltx_core.checkpoint import Component
from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.safetensors_file import TensorInfo
from ltx_duo.nodes.preflight import check
from ltx_duo.nodes.preflight.core_loaders import CONNECTORS
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.prompt_graph import PromptGraph

PACK = Path(__file__).resolve().parents[3]
CONFIG = json.loads((PACK / "tests" / "data" / "ltx-2.3-config.json").read_text())

DURATION_HEAD = {
    "video_input_proj.weight": (256, 4096),
    "audio_input_proj.weight": (256, 2048),
    "attention_pooler.query_tokens": (1, 256),
    "mlp_hidden.weight": (256, 256),
}
GENERATIONS = {"-2-5": Generation.V2_5, "-2-0": Generation.V2_0}  # by the end of a workflow's name


class OfficialFiles:
    """Official files, as far as headers go; `text_width` and `generation` are those of the second file of a pair."""

    text_width = 4096
    generation = model_generation = Generation.V2_3
    old = ()  # ids of loaders whose files are of LTX-2.0
    lora_fits = True
    reference = made_for = None
    ic_loras = {  # metadata of IC-LoRAs, by the file that a loader names
        "ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors": {"reference_downscale_factor": "2"},
        "ltx-2.3-22b-ic-lora-day-to-night-0.9.safetensors": {},
        "ltx-2.3-22b-ic-lora-in-outpainting-0.9.safetensors": {},
    }
    more = {}  # tensors of every file, by name
    connected = True  # whether model files have their text connectors
    hears = True  # whether the audio VAE has an encoder
    saved = None  # the shape of every saved latent

    def checkpoint(self, loader):
        second = loader.type != "LTXDuoModelLoader"
        generation = Generation.V2_0 if loader.id in self.old else self.generation if second else self.model_generation
        shapes = {
            "video_aggregate_embed.bias": (self.text_width,),
            "audio_aggregate_embed.bias": (2048,),
            **DURATION_HEAD,
            **self.more,
        }
        return SimpleNamespace(
            path=Path(f"{loader.type}.safetensors"),
            generation=generation,
            generation_name=str(generation),
            config=CONFIG,
            own_config={},
            require=lambda *parts: None,
            metadata={},
            components={Component.TRANSFORMER, *(CONNECTORS if self.connected else ())},
            key_maps={},
            files=(),
            tensors=lambda part: {name: TensorInfo("BF16", shape) for name, shape in shapes.items()},
        )

    def opened(self, loader, slot, folders):
        return self.checkpoint(loader) if loader.value(slot, str) and folders else None

    def audio_vae(self, loader):
        parts = {Component.AUDIO_DECODER, *([Component.AUDIO_ENCODER] if self.hears else [])}

        def require(part):
            if part not in parts:
                raise CheckpointError(f"audio.safetensors has no {part.value}")

        return SimpleNamespace(components=parts, require=require)

    def lora(self, loader):
        def check(shapes, model):
            if not self.lora_fits:
                raise VariantError("a LoRA of another model")

        name = loader.value("lora", str) or ""
        file = SimpleNamespace(metadata=self.ic_loras.get(name, {}))
        reference = "of its name" if name in self.ic_loras else self.reference
        return SimpleNamespace(check=check, reference=reference, made_for=self.made_for, file=file, path=Path(name))

    def lora_shapes(self, model):
        return {}

    def paths(self, loader):
        return []

    def saved_latent(self, loader):
        return self.saved


class Scene:
    """A workflow to spoil, and what preflight says of it."""

    def __init__(self, name: str):
        self.prompt = json.loads((PACK / "workflows" / "api" / f"{name}.api.json").read_text())
        self.files = OfficialFiles()
        self.files.generation = self.files.model_generation = GENERATIONS.get(name[-4:], Generation.V2_3)

    def set(self, node_type: str, /, **inputs) -> "Scene":
        for entry in self.prompt.values():
            if entry["class_type"] == node_type:
                entry["inputs"].update(inputs)
        return self

    def add(self, node_type: str, /, **inputs) -> list:
        """A new node; returns the link to its first output."""
        name = f"new {len(self.prompt)}"
        self.prompt[name] = {"class_type": node_type, "inputs": inputs}
        return [name, 0]

    def link(self, node_type: str) -> list:
        """The link to the first output of the one node of that type."""
        (name,) = (name for name, entry in self.prompt.items() if entry["class_type"] == node_type)
        return [name, 0]

    def cut(self, node_type: str, slot: str) -> "Scene":
        for entry in self.prompt.values():
            if entry["class_type"] == node_type:
                del entry["inputs"][slot]
        return self

    def report(self, has_gpu: bool = True) -> Report:
        before = copy.deepcopy(self.prompt)
        report = check(PromptGraph(self.prompt), self.files, has_gpu)
        assert self.prompt == before, "preflight changed the prompt"
        return report

    def errors(self) -> dict[str, str]:
        """Messages by the class of the node that they are on."""
        return {self.prompt[node]["class_type"]: text for node, text in self.report().errors.items()}

    def warnings(self) -> dict[str, str]:
        report = self.report()
        assert not report.errors
        return {node.type: text for node, text in report.warnings}
