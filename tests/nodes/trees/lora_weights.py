"""The weights that a model with LoRAs computes with, and a float32 file to begin from."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ltx_duo.nodes.comfyui import handles
from ltx_duo.tests.nodes.trees.conftest import CHECKPOINT
from ltx_duo.tests.nodes.trees.lora_forms import AUDIO, VIDEO

PREFIX = "model.diffusion_model."


def write_float32(models: Path, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint with the small transformer and connectors, and its weights by official name."""
    source, path = models / "checkpoints" / CHECKPOINT, folder / "float32-dev.safetensors"
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    weights = {key: tensor.float() for key, tensor in load_file(source).items() if key.startswith(PREFIX)}
    save_file(weights, path, metadata)
    return path, {key.removeprefix(PREFIX): tensor for key, tensor in weights.items()}


def in_use(model, number: int = 2) -> dict[str, Tensor]:
    """The weights that transformer and connectors compute with, by official name; float8 times its scale."""
    base = model.built.get("connectors", lambda: handles.build_model(model.checkpoint, "auto", handles.CONNECTORS))
    connectors = model._with_loras("connectors", base, number).load()
    found = {}
    for prefix, module in (
        ("", model.stage(number).load().transformer),
        (VIDEO, connectors.video_connector),
        (AUDIO, connectors.audio_connector),
    ):
        found |= {prefix + name: weight for name, weight in _computed(module).items()}
    return found


def _computed(module: nn.Module) -> dict[str, Tensor]:
    found = {}
    for name, weight in module.state_dict().items():
        layer, _, last = name.rpartition(".")
        owner = module.get_submodule(layer)
        if weight.dtype.itemsize == 1:
            weight = weight.float()
        for function in getattr(owner, f"{last}_function", ()):
            weight = function(weight)
        unit = getattr(owner, "weight_scale", 1.0) if last == "weight" else 1.0
        found[name] = weight.detach().double() * unit
    return found


def error_of(found: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> float:
    """The largest difference, as a part of the largest number of that weight."""
    assert found.keys() == exact.keys()
    return max(
        ((found[name] - exact[name]).abs().max() / exact[name].abs().max().clamp_min(1e-30)).item() for name in exact
    )
