"""One random LoRA, written in the forms of trainers: over every layer of transformer and connectors.

Names are spelled here by hand, not with the engine's tables.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

VIDEO, AUDIO = "video_embeddings_connector.", "audio_embeddings_connector."
RANK = 4

Tensors = dict[str, Tensor]
Form = Callable[["Drawn"], tuple[Tensors, dict[str, str]]]


@dataclass(frozen=True)
class Drawn:
    """Factors A (rank, in) and B (out, rank), and an alpha, by the official name of a layer."""

    factors: Mapping[str, tuple[Tensor, Tensor]]
    alpha: float

    @classmethod
    def draw(cls, shapes: Mapping[str, tuple[int, int]], generator: torch.Generator) -> "Drawn":
        factors = {}
        for name, (out, width) in shapes.items():
            down = torch.randn(RANK, width, generator=generator) * width**-0.5
            factors[name] = down, torch.randn(out, RANK, generator=generator) * 0.2
        return cls(factors, 1.0 + 6.0 * torch.rand((), generator=generator).item())

    def delta(self, name: str) -> Tensor:
        down, up = self.factors[name]
        return (self.alpha / RANK) * (up.double() @ down.double())

    def pairs(self, name: Callable[[str], str], down: str, up: str, scaled: bool = True) -> Tensors:
        """A and B under these names; `scaled`: B times alpha / rank."""
        scale = self.alpha / RANK if scaled else 1.0
        tensors = {}
        for layer, (a, b) in self.factors.items():
            tensors[name(layer) + down], tensors[name(layer) + up] = a.clone(), b * scale
        return tensors

    def alphas(self, name: Callable[[str], str]) -> Tensors:
        return {f"{name(layer)}.alpha": torch.tensor(self.alpha) for layer in self.factors}


def dotted(prefix: str) -> Callable[[str], str]:
    return lambda layer: prefix + layer


def flat(prefix: str) -> Callable[[str], str]:
    return lambda layer: prefix + layer.replace(".", "_")


def diffusers(layer: str) -> str:
    for ours, theirs in ((VIDEO, "video_connector."), (AUDIO, "audio_connector.")):
        if layer.startswith(ours):
            return "connectors." + layer.replace(ours, theirs).replace("transformer_1d_blocks", "transformer_blocks")
    first, dot, rest = layer.partition(".")
    first = {
        "patchify_proj": "proj_in",
        "audio_patchify_proj": "audio_proj_in",
        "adaln_single": "time_embed",
        "audio_adaln_single": "audio_time_embed",
        "prompt_adaln_single": "prompt_adaln",
        "audio_prompt_adaln_single": "audio_prompt_adaln",
        "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
        "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
        "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
        "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    }.get(first, first)
    return f"transformer.{first}{dot}{rest}"


AB = (".lora_A.weight", ".lora_B.weight")
DOWN_UP = (".lora_down.weight", ".lora_up.weight")


def scaled(name: Callable[[str], str], down: str, up: str) -> Form:
    return lambda drawn: (drawn.pairs(name, down, up), {})


def with_alphas(name: Callable[[str], str], down: str = DOWN_UP[0], up: str = DOWN_UP[1]) -> Form:
    return lambda drawn: (drawn.pairs(name, down, up, scaled=False) | drawn.alphas(name), {})


def with_metadata(name: Callable[[str], str], parts: tuple[str, str], **words: Callable[[Drawn], str]) -> Form:
    return lambda drawn: (drawn.pairs(name, *parts, scaled=False), {key: word(drawn) for key, word in words.items()})


def peft(drawn: Drawn) -> str:
    config = {"lora_alpha": drawn.alpha, "r": RANK, "target_modules": ["to_q"]}
    parts = ("transformer", "connectors")
    return json.dumps({f"{part}.{key}": value for part in parts for key, value in config.items()})


def peft_patterns(drawn: Drawn) -> str:
    """What the layers have stands in the patterns only."""
    layers = {"transformer": [], "connectors": []}
    for layer in drawn.factors:
        part, _, name = diffusers(layer).partition(".")
        layers[part].append(name)
    config = {}
    for part, names in layers.items():
        config |= {f"{part}.r": 64, f"{part}.lora_alpha": 3.0}
        config[f"{part}.rank_pattern"] = dict.fromkeys(names, RANK)
        config[f"{part}.alpha_pattern"] = dict.fromkeys(names, drawn.alpha)
    return json.dumps(config)


def peft_stabilised(drawn: Drawn) -> str:
    return json.dumps({"r": RANK, "lora_alpha": drawn.alpha / math.sqrt(RANK), "use_rslora": True})


def convolutions(drawn: Drawn) -> tuple[Tensors, dict[str, str]]:
    tensors = drawn.pairs(flat("lora_unet_"), *DOWN_UP, scaled=False)
    return {name: tensor[..., None, None] for name, tensor in tensors.items()} | drawn.alphas(flat("lora_unet_")), {}


def differences(drawn: Drawn) -> tuple[Tensors, dict[str, str]]:
    return {f"diffusion_model.{name}.diff": drawn.delta(name).float() for name in drawn.factors}, {}


def beside_foreign_keys(drawn: Drawn) -> tuple[Tensors, dict[str, str]]:
    foreign = {}
    for layer in ("text_embedding_projection.aggregate_embed", "lora_te1_layers_0_mlp_fc1", "diffusion_model.conv_in"):
        foreign |= {f"{layer}.lora_down.weight": torch.ones(2, 4), f"{layer}.lora_up.weight": torch.ones(4, 2)}
    return drawn.pairs(dotted("diffusion_model."), *AB) | foreign, {}


FORMS: dict[str, Form] = {
    "official": scaled(dotted("diffusion_model."), *AB),
    "no prefix, adapter's name": scaled(dotted(""), ".lora_A.default.weight", ".lora_B.default.weight"),
    "transformer.": scaled(dotted("transformer."), *AB),
    "model.diffusion_model.": scaled(dotted("model.diffusion_model."), *AB),
    "PEFT": scaled(dotted("base_model.model."), *AB),
    "PEFT below a transformer": scaled(dotted("transformer.base_model.model."), ".lora.down.weight", ".lora.up.weight"),
    "an export of an export": scaled(dotted("diffusion_model.diffusion_model."), *AB),
    "without .weight": scaled(dotted("diffusion_model."), ".lora_A", ".lora_B"),
    "lora_linear_layer": scaled(
        dotted("transformer."), ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"
    ),
    "down and up with alphas": with_alphas(dotted("diffusion_model.")),
    "A and B with alphas": with_alphas(dotted("diffusion_model."), *AB),
    "kohya": with_alphas(flat("lora_unet_")),
    "musubi": with_alphas(flat("lora_unet_model_")),
    "LyCORIS": with_alphas(flat("lycoris_")),
    "OneTrainer": with_alphas(flat("lora_transformer_")),
    "kohya's of diffusers' names": with_alphas(lambda layer: flat("lora_unet_")(diffusers(layer))),
    "diffusers": scaled(diffusers, *AB),
    "diffusers with PEFT's metadata": with_metadata(diffusers, AB, lora_adapter_metadata=peft),
    "diffusers with patterns": with_metadata(diffusers, AB, lora_adapter_metadata=peft_patterns),
    "PEFT, rank stabilised": with_metadata(dotted("base_model.model."), AB, lora_adapter_metadata=peft_stabilised),
    "alpha in metadata": with_metadata(
        dotted("diffusion_model."), AB, lora_alpha=lambda drawn: str(drawn.alpha), lora_rank=lambda _: str(RANK)
    ),
    "kohya, alpha in metadata": with_metadata(
        flat("lora_unet_"), DOWN_UP, ss_network_alpha=lambda d: str(d.alpha), ss_network_dim=lambda _: str(RANK)
    ),
    "kohya's, converted": lambda drawn: (
        drawn.pairs(dotted("diffusion_model."), *AB),
        {"ss_network_alpha": str(drawn.alpha), "ss_network_dim": str(RANK)},
    ),
    "convolutions of one pixel": convolutions,
    "differences": differences,
    "beside foreign keys": beside_foreign_keys,
}
