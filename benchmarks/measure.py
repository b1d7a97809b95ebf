"""Timing on a GPU: order-balanced rounds, CUDA events, medians, peak memory."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Timing:
    """Milliseconds of every counted call and of the very first one, and the peak of allocated memory in GiB: its own
    weights and what it allocates, without what others have there."""

    milliseconds: tuple[float, ...]
    first: float
    peak_gib: float

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.milliseconds) - min(self.milliseconds)) / self.median

    @property
    def cold_seconds(self) -> float:
        """How much longer the first call took: compilation, choice of kernels, libraries."""
        return max(0.0, self.first - self.median) / 1000


def timed(call: Callable[[], object], device: str) -> float:
    """Milliseconds of one call, by CUDA events on a GPU."""
    if device == "cpu":
        begin = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - begin)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    result = call()
    end.record()
    end.synchronize()
    del result  # giving a film's memory back is not part of making it
    return begin.elapsed_time(end)


def compare(
    calls: dict[str, Callable[[], object]],
    device: str,
    rounds: int,
    warm_ups: int = 2,
    weights: Mapping[str, int] | None = None,
) -> dict[str, Timing]:
    """Times the calls in turn; `weights`: bytes that each brings and were there before.

    Each round begins with the next one, and every second one goes backwards: a machine that drifts drifts for all, and
    nobody always follows the same one.
    """
    firsts, peaks = {}, {}
    for name, call in calls.items():
        before = torch.cuda.memory_allocated() if device != "cpu" else 0
        firsts[name] = timed(call, device)
        for _ in range(warm_ups - 1):
            call()
        if device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        call()
        grown = torch.cuda.max_memory_allocated() - before if device != "cpu" else 0
        peaks[name] = (grown + (weights or {}).get(name, 0)) / 2**30
    times = {name: [] for name in calls}
    for number in range(rounds):
        for name in in_turn(list(calls), number):
            times[name].append(timed(calls[name], device))
    return {name: Timing(tuple(times[name]), firsts[name], peaks[name]) for name in calls}


def weight_bytes(module: nn.Module) -> int:
    """Bytes that a module's parameters and buffers hold, whoever else holds them too."""
    storages = [tensor.untyped_storage() for tensor in (*module.parameters(), *module.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def in_turn(names: list[str], number: int) -> list[str]:
    """The order of one round."""
    first = number % len(names)
    order = names[first:] + names[:first]
    return order[:: 1 if number % 2 == 0 else -1]


def gpu_milliseconds(call: Callable[[], object]) -> float:
    """The time in one call in which at least one kernel runs on the GPU."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as recorded:
        call()
        torch.cuda.synchronize()
    on_gpu = [event.time_range for event in recorded.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = reached = 0.0
    for span in sorted(on_gpu, key=lambda span: span.start):
        busy += max(0.0, span.end - max(span.start, reached))
        reached = max(reached, span.end)
    return busy / 1000


def kernel_table(call: Callable[[], object]) -> str:
    """The kernels that take the time of one call."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as recorded:
        call()
        torch.cuda.synchronize()
    return recorded.key_averages().table(sort_by="self_cuda_time_total", row_limit=30, max_name_column_width=70)
