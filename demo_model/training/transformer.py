"""The audio-video transformer with text projection and connectors: rectified flow on the latents of drawn clips."""

import random
from dataclasses import dataclass, replace

from torch import Tensor

from ...ltx_core.sampling.guidance import LTX_2_3_DEV
from .checkpoints import load_tensors, save_tensors, weights_path
from .flat_adamw import FlatAdamW
from .flow import Batch, Kind, draw_batch, flow_loss, velocities
from .loop import Plan
from .network import TextToAV, all_ropes, initialise
from .pools import SHARE, pools, stage_sizes
from .run import Run
from .sizes import model_config
from .text_features import Components
from .trainer import Trainer

PIECE = "transformer"
DROPOUT = 0.15  # of captions
ISOLATED, BYPASSED, LARGER = 0.06, 0.06, 0.25  # shares of steps
PLACES = (128, 1024)  # of the contexts: first few, which is fast, then as many as inference has
FEW_PLACES = 0.6  # share of the steps with few


@dataclass(frozen=True)
class Sizes:
    """Captions in a batch of stage one's size, and of the final size."""

    plan: Plan
    contexts: int
    larger: int


FULL = Sizes(Plan(30_000, 1e-3, warmup=500, weight_decay=0.01), 64, 16)
SMALL = Sizes(Plan(20, 2e-3, warmup=2), 2, 1)


def sizes(run: Run) -> Sizes:
    return SMALL if run.small else FULL


def kind_of_step(run: Run, step: int, layers: int) -> Kind:
    """Which kind of batch a step has, drawn from the seed."""
    own, (stage_one, final) = sizes(run), stage_sizes(run)
    chance = random.Random(f"{run.seed}/{PIECE}/{step}").random()
    kind = Kind(stage_one, own.contexts, SHARE, PLACES[step >= FEW_PLACES * own.plan.steps])
    if chance < LARGER:
        return replace(kind, size=final, contexts=own.larger)
    if chance < LARGER + ISOLATED:
        return replace(kind, isolated=True)
    if chance < LARGER + ISOLATED + BYPASSED:
        return replace(kind, bypassed=LTX_2_3_DEV.blocks(layers))
    return kind


def rates(name: str) -> float:
    """What the learning rate is multiplied by for a parameter."""
    return 0.3 if name.endswith("learnable_registers") else 1.0


def train(run: Run) -> None:
    """Trains the piece and leaves `transformer.safetensors`: averaged weights, by the components' names."""
    data = pools(run)
    network = TextToAV(model_config(run.small), data.components.basis.shape[1], run.device)
    initialise(network, run.generator(PIECE, "weights"))
    dtype = data.audio.dtype
    plan = sizes(run).plan
    optimizer = FlatAdamW(network, dtype=dtype, rates=rates, weight_decay=plan.weight_decay, clip=plan.clip)
    layers = network.transformer.params.num_layers

    ropes = all_ropes(network, stage_sizes(run), PLACES, run.device)

    def loss(kind: Kind, batch: Batch) -> tuple[Tensor, Tensor]:
        return flow_loss(velocities(network, batch, kind, ropes[kind.size, kind.places]), batch, kind.size)

    trainer = Trainer(
        run, PIECE, optimizer, plan,
        kind=lambda step: kind_of_step(run, step, layers),
        draw=lambda step, kind: draw_batch(data, kind, DROPOUT, run.generator(PIECE, step)),
        loss=loss,
    )  # fmt: skip
    trainer.train()
    network.load_state_dict(optimizer.averaged())
    save_tensors(weights_path(run.out, PIECE), {**network.state_dict(), **vars(data.components)})


def trained(run: Run) -> tuple[TextToAV, Components]:
    """The averaged weights so far, on the run's device, float32, without gradients; FileNotFoundError before any."""
    path = weights_path(run.out, PIECE)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: train the piece {PIECE} first")
    tensors = load_tensors(path)[0]
    components = Components(*(tensors.pop(name).to(run.device) for name in ("mean", "basis")))
    network = TextToAV(model_config(run.small), components.basis.shape[1], run.device)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False), components
