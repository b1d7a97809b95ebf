"""The audio-video transformer with text projection and connectors: rectified flow on the latents of drawn clips."""

import json
import random
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...ltx_core.sampling.guidance import LTX_2_3_DEV
from .checkpoints import load_tensors, save_tensors, weights_path
from .flat_adamw import FlatAdamW
from .flow import Batch, Kind, draw_batch, flow_loss, velocities
from .latents import geometry
from .loop import Plan
from .network import TextToAV, initialise
from .pools import SHARE, Pools, pools, stage_sizes
from .run import Run
from .showing import held_out, show_stage_one
from .sizes import model_config
from .text_features import Components
from .trainer import Trainer

PIECE = "transformer"
DROPOUT = 0.15  # of captions
ISOLATED, BYPASSED = 0.04, 0.04  # shares of the steps
PLACES = 1024  # of the contexts, as inference has them
SHOWN = 50  # logs between two looks at samples


@dataclass(frozen=True)
class Course:
    """How a piece learns: the plan, the share of steps at the final size, captions in a batch of each size."""

    plan: Plan
    larger: float
    contexts: tuple[int, int]

    def kind_of_step(self, run: Run, piece: str, step: int, layers: int) -> Kind:
        """Which kind of batch a step has, drawn from the seed."""
        (stage_one, final), (many, fewer) = stage_sizes(run), self.contexts
        chance = random.Random(f"{run.seed}/{piece}/{step}").random()
        kind = Kind(stage_one, many, SHARE, PLACES)
        if chance < self.larger:
            return replace(kind, size=final, contexts=fewer)
        if chance < self.larger + ISOLATED:
            return replace(kind, isolated=True)
        if chance < self.larger + ISOLATED + BYPASSED:
            return replace(kind, bypassed=LTX_2_3_DEV.blocks(layers))
        return kind

    def usual(self, run: Run, kind: Kind) -> bool:
        """Kinds that are rare are not worth the compiler's time."""
        size = stage_sizes(run)[self.larger > 0.5]
        return (kind.size, kind.isolated, kind.bypassed) == (size, False, frozenset())


FULL = Course(Plan(21_456, 1e-3, warmup=300, weight_decay=0.01), 0.12, (32, 16))
SMALL = Course(Plan(30, 1e-2, warmup=2), 0.12, (2, 1))


def hidden(name: str) -> bool:
    """Whether a parameter is a matrix inside the blocks, which learns by Muon."""
    return "blocks." in name and name.endswith(".weight") and "norm" not in name and "to_gate_logits" not in name


def rates(name: str) -> float:
    """What the learning rate is multiplied by for a parameter."""
    if name.endswith("learnable_registers"):
        return 0.3
    return 2.0 if hidden(name) else 1.0


def train(run: Run) -> None:
    """Trains the piece and leaves `transformer.safetensors`: averaged weights, by the components' names."""
    data = pools(run)
    network = new_network(run, data.components)
    initialise(network, run.generator(PIECE, "weights"))
    learn(run, PIECE, SMALL if run.small else FULL, data, network)


def learn(run: Run, piece: str, course: Course, data: Pools, network: TextToAV) -> None:
    """Trains the network and leaves its averaged weights as the piece's."""
    plan = course.plan
    optimizer = FlatAdamW(
        network, dtype=data.audio.dtype, rates=rates, muon=hidden, weight_decay=plan.weight_decay, clip=plan.clip
    )
    layers = network.transformer.params.num_layers
    ropes = {size: network.ropes(geometry(size), PLACES, run.device) for size in stage_sizes(run)}
    prompts = held_out(run, data.components)
    shown = new_network(run, data.components).to(data.audio.dtype).requires_grad_(False)
    if run.device.type == "cuda" and not run.small:
        network.compile_blocks()

    def loss(kind: Kind, batch: Batch) -> tuple[Tensor, Tensor]:
        with nullcontext() if course.usual(run, kind) else torch.compiler.set_stance("force_eager"):
            return flow_loss(velocities(network, batch, kind, ropes[kind.size]), batch, kind.size)

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        # As the model's file will round them.
        rounded = {name: tensor.bfloat16() for name, tensor in {**averaged, "basis": data.components.basis}.items()}
        save_tensors(weights_path(run.out, piece), {**rounded, "mean": data.components.mean})
        shown.load_state_dict(averaged)
        numbers = show_stage_one(run, shown, prompts, piece)
        sys.stdout.write(f"{piece} {step}: {json.dumps(numbers)}\n")

    trainer = Trainer(
        run, piece, optimizer, plan,
        kind=lambda step: course.kind_of_step(run, piece, step, layers),
        draw=lambda step, kind: draw_batch(data, kind, DROPOUT, run.generator(piece, step)),
        loss=loss,
    )  # fmt: skip
    trainer.train(look, SHOWN)


def new_network(run: Run, components: Components) -> TextToAV:
    return TextToAV(model_config(run.small), components.basis.shape[1], run.device)


def trained(run: Run, piece: str = PIECE) -> tuple[TextToAV, Components]:
    """A piece's averaged weights so far, on the run's device, float32, no gradients; FileNotFoundError before any."""
    path = weights_path(run.out, piece)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train the piece {piece} first")
    tensors = load_tensors(path)[0]
    components = Components(*(tensors.pop(name).float().to(run.device) for name in ("mean", "basis")))
    network = new_network(run, components)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False), components
