"""What the frozen text encoder makes of the captions, once for a whole training.

A token's 12,160 normalised values (19 states of 640) are kept as their principal components: the projection to the
transformer's width learns on those, which are of one size, and goes into the file as the official linear layer.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...ltx_core.checkpoint import Checkpoint
from ...ltx_core.key_maps import Component
from ...ltx_core.loading import load_component, load_tokenizer
from ...ltx_core.text.feature_extractor import flatten_states
from ...ltx_core.text.gemma import GemmaModel
from ...ltx_core.text.tokenizer import MAX_LENGTH, GemmaTokenizer

COMPONENTS = 384
SAMPLE_TOKENS = 24_000  # from which the components are found
_BATCH = 256


@dataclass(frozen=True)
class Encoder:
    """Tokenizer and language model of a folder, frozen."""

    tokenizer: GemmaTokenizer
    gemma: GemmaModel

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "Encoder":
        """Computes in bfloat16 on a GPU, in float32 on a CPU, where bfloat16 is slow."""
        checkpoint = Checkpoint.open(folder)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        return cls(load_tokenizer(checkpoint), load_component(checkpoint, Component.GEMMA, dtype=dtype, device=device))

    @property
    def width(self) -> int:
        """Values of one token: all states together."""
        return self.gemma.params.hidden_size * (self.gemma.params.layers + 1)

    @torch.no_grad()
    def states(self, captions: Sequence[str]) -> Iterator[tuple[list[int], Tensor]]:
        """(numbers of captions, their normalised states (n, T, width)), captions of one length together."""
        device = self.gemma.embed_tokens.weight.device
        ids = [self.tokenizer.encode(text) for text in captions]
        by_length = defaultdict(list)
        for number, tokens in enumerate(ids):
            by_length[len(tokens)].append(number)
        for length, numbers in sorted(by_length.items()):
            for start in range(0, len(numbers), _BATCH):
                part = numbers[start : start + _BATCH]
                tokens = torch.tensor([ids[number] for number in part], device=device)
                # The position of the vendor's padding, as in `TextEncoder`.
                yield part, flatten_states(self.gemma(tokens, first_position=MAX_LENGTH - length))


@dataclass(frozen=True)
class Components:
    """A token's values are (states - mean) @ basis, about unit normal: mean (width,) and basis (width, K), float32.

    The basis is rounded to bfloat16.
    """

    mean: Tensor
    basis: Tensor

    def of(self, states: Tensor) -> Tensor:
        return (states.float() - self.mean) @ self.basis

    def linear(self, weight: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The linear layer on `scale` times the states that equals `weight` (N, K), `bias` (N,) on the components.

        The weight is rounded to bfloat16 first, so that the bias makes up for its rounding at the mean.
        """
        wide = (weight.float() @ self.basis.T / scale).bfloat16()
        return wide, (bias.float() - wide.float() @ self.mean * scale).bfloat16()


@torch.no_grad()
def principal_components(states: Tensor, count: int, generator: torch.Generator) -> Components:
    """Of tokens (n, width), by subspace iteration.  Small components, mostly noise, stay smaller than one."""
    mean = states.float().mean(0)
    centred = states.float() - mean
    count = min(count, *centred.shape)
    subspace = torch.randn(centred.shape[1], count, generator=generator, device=centred.device)
    for _ in range(4):
        subspace = torch.linalg.qr(centred.T @ (centred @ subspace))[0]
    _, sizes, rotation = torch.linalg.svd(centred @ subspace, full_matrices=False)
    deviation = sizes / len(centred) ** 0.5
    floor = deviation[min(count - 1, count // 4)]
    basis = subspace @ rotation.T / (deviation**2 + floor**2).sqrt()
    return Components(mean, basis.bfloat16().float())


@dataclass(frozen=True)
class TextPool:
    """Components of the tokens of captions, one after another: values (tokens, K); starts, lengths (captions,)."""

    values: Tensor
    starts: Tensor
    lengths: Tensor

    def take(self, captions: Tensor, places: int) -> tuple[Tensor, Tensor]:
        """Values (C, places, K), anything beyond a caption's end, and lengths (C,) of captions by number."""
        index = self.starts[captions, None] + torch.arange(places, device=captions.device)
        return self.values[index.clamp(max=len(self.values) - 1)], self.lengths[captions]


@torch.no_grad()
def text_pool(
    encoder: Encoder, captions: Sequence[str], components: Components | None, generator: torch.Generator
) -> tuple[TextPool, Components]:
    """The captions' pool; without `components` finds them first."""
    device = generator.device
    if components is None:
        found, total = [], 0
        step = max(1, len(captions) * 24 // SAMPLE_TOKENS)
        for _, states in encoder.states(captions[::step]):
            found.append(states.flatten(0, 1)[: SAMPLE_TOKENS - total])
            total += len(found[-1])
        components = principal_components(torch.cat(found), COMPONENTS, generator)
    dtype = encoder.gemma.embed_tokens.weight.dtype
    parts, order = [], []
    for numbers, states in encoder.states(captions):
        parts.append(components.of(states).to(dtype))
        order += numbers
    lengths = torch.empty(len(captions), dtype=torch.long)
    lengths[order] = torch.tensor([part.shape[1] for part in parts for _ in range(len(part))])
    starts = torch.empty_like(lengths)
    in_order = lengths[order]
    starts[order] = in_order.cumsum(0) - in_order
    return TextPool(torch.cat([p.flatten(0, 1) for p in parts]), starts.to(device), lengths.to(device)), components
