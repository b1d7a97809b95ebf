"""The engine's networks on the layers of ComfyUI's own LTX-2, whose modules have the official names.

No weight is converted or copied: linear layers are ComfyUI's objects, so that whatever lies in them works as it does
under ComfyUI's sampler: patches, quantised and GGUF weights, streaming, dynamic VRAM.  Nothing is written to them.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ...ltx_core.kernels.heads import norm_rotate
from ...ltx_core.kernels.rotary import RotaryTable
from ...ltx_core.text.connector import EmbeddingsConnector
from ...ltx_core.text.params import ConnectorParams
from ...ltx_core.transformer.attention import AttentionFunction, HeadsNorm
from ...ltx_core.transformer.model import AVTransformer
from ...ltx_core.transformer.params import TransformerParams
from .layers import cast

# Where ComfyUI's diffusion model has the engine's networks.
PLACES = {
    "transformer": "",
    "video_connector": "video_embeddings_connector.",
    "audio_connector": "audio_embeddings_connector.",
}
SOME = 3


class _Place(nn.Module):
    """Where a linear layer of ComfyUI's model goes."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype=None, device=None):
        super().__init__()
        self.shapes = {"weight": (out_features, in_features)} | ({"bias": (out_features,)} if bias else {})


class _Places:
    """`ops` for the engine's constructors."""

    Linear = _Place


class BorrowedNorm(nn.Module):
    """`HeadsNorm` with the weight of ComfyUI's norm, streamed and patched by ComfyUI."""

    def __init__(self, own: HeadsNorm):
        super().__init__()
        self.heads, self.eps = own.heads, own.eps
        self.weight_shape = tuple(own.weight.shape)
        self.layer: nn.Module | None = None

    def forward(self, x: Tensor, rope: RotaryTable | None) -> Tensor:
        layer = self.layer
        if not (layer.comfy_cast_weights or layer.weight_function):
            return norm_rotate(x, layer.weight, self.heads, rope, self.eps)
        with cast(layer, x, x.dtype) as (weight, _):
            return norm_rotate(x, weight, self.heads, rope, self.eps)


class BorrowedModel(nn.Module):
    """Transformer and text connectors, without any weight until `bind` lends them those of a diffusion model."""

    def __init__(
        self, params: TransformerParams, connectors: Mapping[str, ConnectorParams], attention: AttentionFunction
    ):
        super().__init__()
        how = {"ops": _Places, "device": "meta"}
        self.transformer = AVTransformer(params, attention=attention, **how)
        self.video_connector = EmbeddingsConnector(connectors["video"], **how)
        self.audio_connector = EmbeddingsConnector(connectors["audio"], **how)
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, HeadsNorm):
                    setattr(module, name, BorrowedNorm(child))
        # By the name that ComfyUI's model has for them: layers with the module that holds them, and modules that have
        # parameters of their own.
        self._layers: dict[str, tuple[nn.Module, str]] = {}
        self._norms: dict[str, BorrowedNorm] = {}
        self._tables: dict[str, nn.Module] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for network, prefix in PLACES.items():
            for name, module in getattr(self, network).named_modules():
                self._find_place(f"{prefix}{name}".removesuffix("."), module)
        self.eval()

    def _find_place(self, path: str, module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, _Place):
                self._layers[_joined(path, name)] = module, name
                self.shapes |= {_joined(path, f"{name}.{part}"): shape for part, shape in child.shapes.items()}
        if isinstance(module, BorrowedNorm):
            self._norms[path] = module
            self.shapes[f"{path}.weight"] = module.weight_shape
        own = dict(module.named_parameters(recurse=False))
        if own:
            self._tables[path] = module
            self.shapes |= {_joined(path, name): tuple(parameter.shape) for name, parameter in own.items()}

    def bind(self, network: nn.Module) -> None:
        """Takes the layers that the diffusion model has now; ComfyUI may have exchanged some since the last time."""
        for path, (parent, name) in self._layers.items():
            parent.add_module(name, submodule(network, path))
        for path, norm in self._norms.items():
            norm.layer = submodule(network, path)
        for path, module in self._tables.items():
            # The table itself, not what is in it: ComfyUI replaces parameters when it moves and patches them.
            module.__dict__["_parameters"] = submodule(network, path).__dict__["_parameters"]

    @property
    def places(self) -> frozenset[str]:
        """The modules of the diffusion model that are used as objects."""
        return frozenset((*self._layers, *self._norms))

    def differences(self, network: nn.Module) -> list[str]:
        """What the diffusion model lacks or has in another size, in words; empty if it can be bound."""
        missing, other = [], []
        for name, shape in self.shapes.items():
            found = shape_of(network, name)
            if found is None:
                missing.append(name)
            elif found != shape:
                other.append(f"{name} ({_by(found)} instead of {_by(shape)})")
        return [
            f"{len(names):,} {words}, such as {', '.join(names[:SOME])}"
            for words, names in (("missing", missing), ("of another size", other))
            if names
        ]


def submodule(network: nn.Module, path: str) -> nn.Module:
    """The module at a path; AttributeError where there is none.  Compiled modules count as what they were made from."""
    for name in path.split(".") if path else ():
        network = getattr(network, name)
        network = getattr(network, "_orig_mod", network)
    return network


def shape_of(network: nn.Module, name: str) -> tuple[int, ...] | None:
    """The shape of a parameter; None where there is none.  Packed weights have that of what they stand for."""
    path, _, last = name.rpartition(".")
    try:
        module = submodule(network, path)
    except AttributeError:
        return None
    if last == "weight" and hasattr(module, "in_features"):
        return module.out_features, module.in_features
    parameter = getattr(module, last, None)
    return None if parameter is None else tuple(parameter.shape)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
