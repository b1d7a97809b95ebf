"""The text of all captions that the pieces after it learn from, made once: they need no text encoder then."""

import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import families, given_showing
from .checkpoints import load_tensors, save_tensors, weights_path
from .final_size import trained
from .pools import UNCONDITIONAL, text_encoder
from .run import Run
from .text_features import TextPool, text_pool

PIECE = "text"


@dataclass(frozen=True)
class Bank:
    """Captions' numbers in the pool by their words."""

    numbers: dict[str, int]
    pool: TextPool

    def of(self, captions: Sequence[str]) -> TextPool:
        """A pool of these captions alone, in their order; KeyError for one that is not there."""
        numbers = torch.tensor([self.numbers[words] for words in captions], device=self.pool.starts.device)
        return TextPool(self.pool.values, self.pool.starts[numbers], self.pool.lengths[numbers])


def train(run: Run) -> None:
    """Leaves `text.safetensors`: values and lengths of all captions, bfloat16, one after another."""
    captions = all_captions(run)
    _, components = trained(run)
    pool, _ = text_pool(text_encoder(run), captions, components, run.generator(PIECE, 0))
    order = pool.starts.argsort()
    tensors = {"values": pool.values.bfloat16(), "lengths": pool.lengths[order]}
    words = json.dumps([captions[number] for number in order.tolist()])
    save_tensors(weights_path(run.out, PIECE), tensors, {"captions": words})
    sys.stdout.write(f"{PIECE} {len(captions)} captions, {len(pool.values)} tokens\n")


def all_captions(run: Run) -> list[str]:
    """Every caption once."""
    counts = families.SMALL if run.small else families.FULL
    told = families.captions(run, families.families(run, counts.families, 1))
    shown = given_showing.held_out_captions(run)
    return list(dict.fromkeys([*UNCONDITIONAL, *(words for group in (*told, *shown) for words in group)]))


@functools.cache
def bank(run: Run) -> Bank:
    """What the piece left, on the run's device; FileNotFoundError before it."""
    path = weights_path(run.out, PIECE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train the piece {PIECE} first")
    tensors, metadata = load_tensors(path)
    captions, lengths = json.loads(metadata["captions"]), tensors["lengths"].to(run.device)
    dtype = torch.bfloat16 if run.device.type == "cuda" else torch.float32
    pool = TextPool(tensors["values"].to(run.device, dtype), lengths.cumsum(0) - lengths, lengths)
    return Bank({words: number for number, words in enumerate(captions)}, pool)
