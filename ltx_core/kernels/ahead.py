"""Compiles kernels ahead and side by side: one takes Triton a quarter of a second, a model needs twenty."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .dispatch import triton_works

logger = logging.getLogger("ltx_duo")

MOST_WORKERS = 8


def run_ahead(calls: Callable[[], Sequence[Callable[[], object]]], device: torch.device) -> Future:
    """Makes `calls()` in threads, each of which runs a kernel on a few numbers, and returns at once.

    The future is done when all are; it never raises: what failed here is compiled when it is used.
    """
    first = ThreadPoolExecutor(1, thread_name_prefix="ltx-duo-compile")
    done = first.submit(_run, calls, device)
    first.shutdown(wait=False)
    return done


def _run(calls: Callable[[], Sequence[Callable[[], object]]], device: torch.device) -> None:
    if device.type != "cuda" or not triton_works(device):
        return

    def one(call: Callable[[], object]) -> None:
        with torch.inference_mode(), torch.cuda.device(device):
            call()

    try:
        with torch.inference_mode(), torch.cuda.device(device):
            work = calls()
        with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as workers:
            list(workers.map(one, work))
    except Exception as error:  # any failure of a compiler
        logger.info("LTX Duo: kernels are compiled when they are used, not ahead: %s", error)
