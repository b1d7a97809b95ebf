"""The loop that trains the transformer: steps of several kinds, each captured once."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .capture import Step, captured, refill
from .checkpoints import load_tensors, save_tensors
from .flat_adamw import FlatAdamW
from .flow import Batch, Kind
from .loop import Plan
from .report import loss_curve
from .run import Run

LOGS = 100  # points of a loss curve
TERMS = ("video", "audio")


class Trainer:
    """Steps `optimizer` on batches.

    draw(step, kind) makes a batch of `kind(step)`; loss(kind, batch) gives the loss of each of TERMS, scalars.  What a
    loss needs beside the batch has to stay where it is: on a GPU each kind of step is captured once.
    """

    def __init__(
        self,
        run: Run,
        piece: str,
        optimizer: FlatAdamW,
        plan: Plan,
        kind: Callable[[int], Kind],
        draw: Callable[[int, Kind], Batch],
        loss: Callable[[Kind, Batch], tuple[Tensor, Tensor]],
    ):
        self.run, self.piece, self.optimizer, self.plan = run, piece, optimizer, plan
        self.kind, self.draw, self.loss = kind, draw, loss
        self.rate = torch.zeros((), device=run.device)
        self.sums = torch.zeros(len(TERMS) + 1, device=run.device)
        self.batches: dict[Kind, Batch] = {}
        self.steps: dict[Kind, Step] = {}
        self.number, self.history = 0, {}

    def train(self, look: Callable[[int], None], logs: int = LOGS) -> bool:
        """Goes on from the saved state, if there is one, until the plan's end or the run's; saves the state.

        `look(step)` is called every so many logs, and at the end.  Returns whether the plan is done.
        """
        self._load()
        started, first = time.monotonic(), self.number
        while self.number < self.plan.steps:
            self.step()
            if self.number % max(1, self.plan.steps // LOGS) == 0 or self.number == self.plan.steps:
                seconds = time.monotonic() - started
                self._log(1000 * seconds / (self.number - first), seconds)
                if len(self.history["step"]) % logs == 0 and self.number < self.plan.steps:
                    look(self.number)
                # Only here, so that a curve with a stop in it is the same as one without.
                if self.run.out_of_time:
                    break
        look(self.number)
        self._save()
        return self.number == self.plan.steps

    def step(self) -> None:
        kind = self.kind(self.number)
        batch = self.draw(self.number, kind)
        if kind not in self.batches:
            self.batches[kind] = batch
            self.steps[kind] = captured(lambda: self._learn(kind), lambda: self._warm_up(kind), self.run.device)
        refill(self.batches[kind], batch)
        self.rate.fill_(self.plan.rate(self.number))
        self.steps[kind]()
        self.number += 1

    def _learn(self, kind: Kind) -> None:
        terms = torch.stack(self.loss(kind, self.batches[kind]))
        terms.sum().backward()
        self.optimizer.step(self.rate)
        self.sums.add_(torch.cat((terms.detach(), torch.ones_like(self.sums[:1]))))

    def _warm_up(self, kind: Kind) -> None:
        before = {name: tensor.clone() for name, tensor in self.optimizer.state().items()}
        sums = self.sums.clone()
        self._learn(kind)
        self.optimizer.load_state(before)
        self.sums.copy_(sums)

    def _log(self, pace: float, seconds: float) -> None:
        *sums, count = self.sums.tolist()
        self.sums.zero_()
        means = {name: value / count for name, value in zip(TERMS, sums, strict=True)}
        for name, value in {"step": self.number, **means}.items():
            self.history.setdefault(name, []).append(value)
        if not all(math.isfinite(value) for value in means.values()):
            raise FloatingPointError(
                f"{self.piece}: the loss at step {self.number} is {means}; lower the learning rate"
            )
        terms = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        sys.stdout.write(
            f"{self.piece} {self.number}/{self.plan.steps}  {terms}  {pace:.2f} ms a step, {seconds:.0f} s\n"
        )
        sys.stdout.flush()

    @property
    def _path(self) -> Path:
        return self.run.out / f"{self.piece}.state.safetensors"

    def _load(self) -> None:
        if not self._path.is_file():
            return
        state, metadata = load_tensors(self._path)
        self.optimizer.load_state(state)
        self.number, self.history = int(metadata["step"]), json.loads(metadata["history"])

    def _save(self) -> None:
        metadata = {"step": str(self.number), "history": json.dumps(self.history)}
        save_tensors(self._path, self.optimizer.state(), metadata)
        loss_curve(self.run.out / f"{self.piece}-loss.png", self.piece, self.history)
