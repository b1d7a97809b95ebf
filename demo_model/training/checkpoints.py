"""Files of the training: a piece's weights, and beside them what going on needs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a .safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, unfinished, dict(metadata or {}))
    unfinished.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors on the CPU, and metadata."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def weights_path(out: Path, piece: str) -> Path:
    return out / f"{piece}.safetensors"


def load_weights(out: Path, piece: str, module: nn.Module) -> nn.Module:
    """Gives `module` the weights of a trained piece; FileNotFoundError says which piece has to come first."""
    path = weights_path(out, piece)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train the piece {piece} first")
    module.load_state_dict(load_tensors(path)[0])
    return module


def save_progress(
    out: Path, piece: str, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: int, history: dict
) -> None:
    """The module's weights to `<piece>.safetensors`; moments, step and loss curve to `<piece>.state.safetensors`."""
    save_tensors(weights_path(out, piece), module.state_dict())
    moments = {
        f"{kind}.{name}": tensor
        for optimizer in optimizers
        for name, parameter in module.named_parameters()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
        if kind != "step"
    }
    save_tensors(_state_path(out, piece), moments, {"step": str(step), "history": json.dumps(history)})


def load_progress(
    out: Path, piece: str, module: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, dict[str, list[float]]]:
    """Goes on from the files in `out`, if there are any: the step that comes next, and the loss curve so far."""
    if not _state_path(out, piece).is_file():
        return 0, {}
    load_weights(out, piece, module)
    moments, metadata = load_tensors(_state_path(out, piece))
    step = int(metadata["step"])
    own = {parameter: o for o in optimizers for group in o.param_groups for parameter in group["params"]}
    parameters = dict(module.named_parameters())
    for key, tensor in moments.items():
        kind, _, name = key.partition(".")
        parameter = parameters[name]
        state = own[parameter].state[parameter]
        state[kind] = torch.zeros_like(parameter).copy_(tensor)
        if isinstance(own[parameter], torch.optim.AdamW):
            state["step"] = torch.tensor(float(step), device=parameter.device if parameter.is_cuda else None)
    return step, json.loads(metadata["history"])


def _state_path(out: Path, piece: str) -> Path:
    return out / f"{piece}.state.safetensors"
