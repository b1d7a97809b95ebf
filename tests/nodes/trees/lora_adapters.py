"""Random adapters that are no plain pairs of factors, by the parts that they have in files."""

import torch
from torch import Tensor

WIDTH = 128
HADAMARD = {
    "hada_w1_a": (WIDTH, 4), "hada_w1_b": (4, WIDTH), "hada_w2_a": (WIDTH, 4), "hada_w2_b": (4, WIDTH),
}  # fmt: skip


def adapters(generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
    """Adapters of a layer (WIDTH, WIDTH) by the parts that they have."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    pair = {"lora_down.weight": draw(4, WIDTH), "lora_up.weight": draw(WIDTH, 4), "alpha": torch.tensor(3.0)}
    hada = {side: 2 * draw(*shape) for side, shape in HADAMARD.items()}
    per_output, per_input = 1 + draw(WIDTH, 1), 1 + draw(1, WIDTH)
    return {
        "LoHa": hada | {"alpha": torch.tensor(2.0)},
        "LoKr of two matrices": {"lokr_w1": draw(4, 16), "lokr_w2": draw(32, 8), "alpha": torch.tensor(1e6)},
        "LoKr of a product": {
            "lokr_w1": draw(4, 8), "lokr_w2_a": draw(32, 3), "lokr_w2_b": draw(3, 16), "alpha": torch.tensor(1.5),
        },
        "LoKr of two products": {
            "lokr_w1_a": draw(4, 2), "lokr_w1_b": draw(2, 8), "lokr_w2_a": draw(32, 3), "lokr_w2_b": draw(3, 16),
            "alpha": torch.tensor(1.5),
        },
        "DoRA over outputs": pair | {"dora_scale": per_output},
        "DoRA over inputs": pair | {"dora_scale": per_input},
        "LoHa with DoRA": hada | {"dora_scale": per_output},
        "LoKr with DoRA": {"lokr_w1": draw(4, 16), "lokr_w2": draw(32, 8), "dora_scale": per_input},
        "difference": {"diff": draw(WIDTH, WIDTH)},
        "difference with bias": {"diff": draw(WIDTH, WIDTH), "diff_b": draw(WIDTH)},
        "pair with bias": pair | {"diff_b": draw(WIDTH)},
        "set": {"set_weight": draw(WIDTH, WIDTH)},
    }  # fmt: skip
