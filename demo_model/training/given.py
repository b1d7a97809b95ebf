"""The transformer goes on with what is given beside the prompt: a sound, a film, all of it but a part.

Nearly half of what it learns stays what it has learnt before, so that nothing is forgotten.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from . import final_size
from .checkpoints import save_tensors, weights_path
from .families import family_pools
from .flat_adamw import FlatAdamW
from .flow import Kind
from .given_flow import Batch, draw_batch, flow_loss, velocities
from .given_showing import held_out, show_given
from .latents import geometry
from .loop import Plan
from .network import TextToAV
from .pools import stage_sizes
from .report import save_numbers
from .run import Run
from .showing import show_stage_one
from .text_features import Components
from .trainer import Trainer
from .transformer import DROPOUT, PLACES, SHOWN, Course, hidden, new_network, rates
from .transformer import trained as begun

PIECE = "given"
FULL = Course(Plan(6011, 4e-4, warmup=100, weight_decay=0.01), 0.6, (32, 16))
SMALL = Course(Plan(12, 5e-3, warmup=2), 0.6, (2, 2))


def train(run: Run) -> None:
    """Trains the piece and leaves `given.safetensors`, as `transformer.safetensors` is."""
    network, components = final_size.trained(run)
    network.train().requires_grad_(True)
    course, data = SMALL if run.small else FULL, family_pools(run)
    plan = course.plan
    optimizer = FlatAdamW(
        network, dtype=data.audio.dtype, rates=rates, muon=hidden, weight_decay=plan.weight_decay, clip=plan.clip
    )
    layers = network.transformer.params.num_layers
    ropes = {size: network.ropes(geometry(size), PLACES, run.device) for size in stage_sizes(run)}
    shown = new_network(run, components).to(data.audio.dtype).requires_grad_(False)
    films = held_out(run, data.audio.dtype)
    if run.device.type == "cuda" and not run.small:
        network.compile_blocks()

    def loss(kind: Kind, batch: Batch) -> tuple[Tensor, Tensor]:
        with nullcontext() if course.usual(run, kind) else torch.compiler.set_stance("force_eager"):
            return flow_loss(velocities(network, batch, kind, ropes[kind.size]), batch)

    def look(step: int) -> None:
        averaged = optimizer.averaged()
        # As the model's file will round them.
        rounded = {name: tensor.bfloat16() for name, tensor in {**averaged, "basis": components.basis}.items()}
        save_tensors(weights_path(run.out, PIECE), {**rounded, "mean": components.mean})
        shown.load_state_dict(averaged)
        numbers = {**show_stage_one(run, shown, films.prompts, PIECE), **show_given(run, shown, films, PIECE)}
        save_numbers(run.out, PIECE, {"step": step, **numbers})

    Trainer(
        run, PIECE, optimizer, plan,
        kind=lambda step: course.kind_of_step(run, PIECE, step, layers),
        draw=lambda step, kind: draw_batch(data, kind, DROPOUT, run.generator(PIECE, step)),
        loss=loss,
    ).train(look, SHOWN)  # fmt: skip


def trained(run: Run) -> tuple[TextToAV, Components]:
    """As `transformer.trained`."""
    return begun(run, PIECE)
