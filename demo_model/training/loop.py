"""The one training loop: Muon and AdamW, warm-up and cosine, stops and goes on."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .backward import Batch, Captured, Losses, backward
from .checkpoints import load_progress, save_progress
from .muon import Muon
from .report import loss_curve
from .run import Run

LOGS = 100  # points of a loss curve


@dataclass(frozen=True)
class Plan:
    """How long and how fast a piece learns; the rate rises for `warmup` steps and falls to zero as a cosine.

    With a `matrix_rate` Muon takes the weights that have more than one dimension, at that rate, and AdamW the others.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    weight_decay: float = 0.0
    clip: float = 1.0
    matrix_rate: float = 0.0

    def share(self, step: int) -> float:
        """Of the full rate."""
        return min(1.0, (step + 1) / self.warmup) * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def rate(self, step: int) -> float:
        return self.learning_rate * self.share(step)


def optimise(run: Run, piece: str, module: nn.Module, draw: Callable[[int], Batch], losses: Losses, plan: Plan) -> bool:
    """Trains `module` until the plan's end or the run's; returns whether the plan is done.

    `draw(step)` makes a batch, `losses(*batch)` the terms of the loss, scalars that are added up; on a GPU they and
    their gradients are a CUDA graph, one for each shape of batches.  Weights, moments and curve are saved at the end,
    and taken up again by the next call.
    """
    parameters = list(module.parameters())
    adamw, muon = _optimizers(run, parameters, plan)
    step, history = load_progress(run.out, piece, module, (adamw, muon))
    module.train()
    interval = max(1, plan.steps // LOGS)
    sums: dict[str, Tensor] = {}
    graphs: dict[tuple[torch.Size, ...], Captured] = {}
    started = time.monotonic()
    while step < plan.steps:
        batch = draw(step)
        if run.device.type == "cuda":
            shapes = tuple(tensor.shape for tensor in batch)
            if shapes not in graphs:
                graphs[shapes] = Captured(losses, parameters, batch, muon.updates, muon.changed())
            terms, updates = graphs[shapes](batch)
        else:
            terms, updates = backward(losses, parameters, batch), muon.updates()
        # Muon's updates are of one size whatever the gradients are.
        torch.nn.utils.clip_grad_norm_(adamw.param_groups[0]["params"], plan.clip)
        adamw.param_groups[0]["lr"] = plan.rate(step)
        adamw.step()
        muon.param_groups[0]["lr"] = plan.matrix_rate * plan.share(step)
        muon.step(updates)
        step += 1
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value
        if step % interval == 0 or step == plan.steps:
            _log(piece, step, plan, history, {name: float(value) / interval for name, value in sums.items()}, started)
            sums = {}
            # Only here, so that a curve with a stop in it is the same as one without.
            if run.out_of_time:
                break
    module.eval()
    save_progress(run.out, piece, module, (adamw, muon), step, history)
    loss_curve(run.out / f"{piece}-loss.png", piece, history)
    return step == plan.steps


def _optimizers(run: Run, parameters: list[nn.Parameter], plan: Plan) -> tuple[torch.optim.AdamW, Muon]:
    matrices = [p for p in parameters if p.ndim > 1] if plan.matrix_rate else []
    others = [p for p in parameters if p.ndim == 1] if plan.matrix_rate else parameters
    adamw = torch.optim.AdamW(
        others,
        lr=plan.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=plan.weight_decay,
        fused=run.device.type == "cuda",
    )
    return adamw, Muon([{"params": matrices}], plan.matrix_rate)


def _log(
    piece: str, step: int, plan: Plan, history: dict[str, list[float]], means: dict[str, float], started: float
) -> None:
    for name, value in {"step": step, **means}.items():
        history.setdefault(name, []).append(value)
    if not all(math.isfinite(value) for value in means.values()):
        raise FloatingPointError(f"{piece}: the loss at step {step} is {means}; lower the learning rate")
    if len(history["step"]) % 10 == 1 or step == plan.steps:
        terms = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
        sys.stdout.write(f"{piece} {step}/{plan.steps}  {terms}  {time.monotonic() - started:.1f} s\n")
        sys.stdout.flush()
