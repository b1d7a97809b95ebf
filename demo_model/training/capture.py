"""A step of training as one CUDA graph: a small model is otherwise limited by how fast its kernels are launched."""

from collections.abc import Callable

import torch

Step = Callable[[], None]


def refill(held: object, new: object) -> None:
    """Copies the tensors of `new`, a dataclass of nothing else, to where a captured step reads those of `held`."""
    for name, value in vars(new).items():
        getattr(held, name).copy_(value)


def captured(step: Step, warm_up: Step, device: torch.device) -> Step:
    """What repeats `step` on the same tensors; the step itself where there are no graphs.

    `step` may neither read results back nor allocate by data.  `warm_up` is run a few times before, so that libraries
    choose their kernels; it must leave nothing changed.
    """
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            warm_up()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
