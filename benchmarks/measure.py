"""Timing on a GPU: order-balanced rounds, CUDA events, medians, peak memory."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """Milliseconds of every counted call, and the peak of allocated memory in GiB above and with what was there."""

    milliseconds: tuple[float, ...]
    peak_gib: float

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.milliseconds) - min(self.milliseconds)) / self.median


def timed(call: Callable[[], object], device: str) -> float:
    """Milliseconds of one call, by CUDA events on a GPU."""
    if device == "cpu":
        begin = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - begin)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def compare(calls: dict[str, Callable[[], object]], device: str, rounds: int, warm_ups: int = 2) -> dict[str, Timing]:
    """Times the calls in turn, forwards then backwards, so that a machine that drifts drifts for all of them."""
    for call in calls.values():
        for _ in range(warm_ups):
            call()
    peaks = {}
    for name, call in calls.items():
        if device != "cpu":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        call()
        peaks[name] = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else 0.0
    times = {name: [] for name in calls}
    for number in range(rounds):
        order = list(calls) if number % 2 == 0 else list(calls)[::-1]
        for name in order:
            times[name].append(timed(calls[name], device))
    return {name: Timing(tuple(milliseconds), peaks[name]) for name, milliseconds in times.items()}
