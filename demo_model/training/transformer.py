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
from .pools import SHARE, pools, stage_sizes
from .run import Run
from .showing import held_out, show_stage_one
from .sizes import model_config
from .text_features import Components
from .trainer import Trainer

PIECE = "transformer"
DROPOUT = 0.15  # of captions
ISOLATED, BYPASSED, LARGER = 0.04, 0.04, 0.12  # shares of steps
PLACES = 1024  # of the contexts, as inference has them
SHOWN = 50  # logs between two looks at samples


@dataclass(frozen=True)
class Sizes:
    """Captions in a batch of stage one's size, and of the final size; minutes that set the plan's steps, if any."""

    plan: Plan
    contexts: int
    larger: int
    minutes: float | None = None


FULL = Sizes(Plan(13_000, 1e-3, warmup=300, weight_decay=0.01), 32, 16, minutes=7.0)
SMALL = Sizes(Plan(30, 1e-2, warmup=2), 2, 1)


def sizes(run: Run) -> Sizes:
    return SMALL if run.small else FULL


def kind_of_step(run: Run, step: int, layers: int) -> Kind:
    """Which kind of batch a step has, drawn from the seed."""
    own, (stage_one, final) = sizes(run), stage_sizes(run)
    chance = random.Random(f"{run.seed}/{PIECE}/{step}").random()
    kind = Kind(stage_one, own.contexts, SHARE, PLACES)
    if chance < LARGER:
        return replace(kind, size=final, contexts=own.larger)
    if chance < LARGER + ISOLATED:
        return replace(kind, isolated=True)
    if chance < LARGER + ISOLATED + BYPASSED:
        return replace(kind, bypassed=LTX_2_3_DEV.blocks(layers))
    return kind


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
    plan = sizes(run).plan
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
        # Kinds that are rare are not worth the compiler's time.
        usual = (kind.size, kind.isolated, kind.bypassed) == (stage_sizes(run)[0], False, frozenset())
        with nullcontext() if usual else torch.compiler.set_stance("force_eager"):
            return flow_loss(velocities(network, batch, kind, ropes[kind.size]), batch, kind.size)

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        # As the model's file will round them.
        rounded = {name: tensor.bfloat16() for name, tensor in {**averaged, "basis": data.components.basis}.items()}
        save_tensors(weights_path(run.out, PIECE), {**rounded, "mean": data.components.mean})
        shown.load_state_dict(averaged)
        numbers = show_stage_one(run, shown, prompts, PIECE)
        sys.stdout.write(f"{PIECE} {step}: {json.dumps(numbers)}\n")

    trainer = Trainer(
        run, PIECE, optimizer, plan,
        kind=lambda step: kind_of_step(run, step, layers),
        draw=lambda step, kind: draw_batch(data, kind, DROPOUT, run.generator(PIECE, step)),
        loss=loss,
        minutes=sizes(run).minutes,
    )  # fmt: skip
    trainer.train(look, SHOWN)


def new_network(run: Run, components: Components) -> TextToAV:
    return TextToAV(model_config(run.small), components.basis.shape[1], run.device)


def trained(run: Run) -> tuple[TextToAV, Components]:
    """The averaged weights so far, on the run's device, float32, without gradients; FileNotFoundError before any."""
    path = weights_path(run.out, PIECE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train the piece {PIECE} first")
    tensors = load_tensors(path)[0]
    components = Components(*(tensors.pop(name).float().to(run.device) for name in ("mean", "basis")))
    network = new_network(run, components)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False), components
