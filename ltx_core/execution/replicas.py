"""Copies of a module on several devices, and the threads that let those of the transformer work on one evaluation."""

import copy
import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..progress import SILENT, Reporter
from ..transformer.model import AVTransformer
from ..transformer.runner import BlockRunner
from .capture import takes_from_all_threads
from .graphs import BlockGraphs

logger = logging.getLogger("ltx_duo")

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

# How often the user may cancel while the first device waits for another one.
WAIT_SECONDS = 0.05


def replicate(model: M, device: torch.device | str) -> M:
    """A copy of the module whose weights lie on `device`; nothing is copied in between."""
    moved: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        own = tensor.detach().to(device, copy=True)
        is_parameter = isinstance(tensor, nn.Parameter)
        moved[id(tensor)] = nn.Parameter(own, requires_grad=tensor.requires_grad) if is_parameter else own
    return copy.deepcopy(model, moved)


def fitting_devices(
    modules: Sequence[nn.Module | None], devices: Sequence[torch.device], what: str
) -> list[torch.device]:
    """The devices that have room for a copy of all modules, `what` in words; the others are named in the log."""
    tensors = (tensor for own in modules if own is not None for tensor in (*own.parameters(), *own.buffers()))
    size = sum(tensor.nbytes for tensor in tensors)
    fitting = []
    for device in devices:
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else size
        if free < size:
            logger.warning(
                "LTX Duo: %s is not used: it has %.1f GiB free and the %s takes %.1f GiB.",
                device, free / 2**30, what, size / 2**30,
            )  # fmt: skip
        else:
            fitting.append(device)
    return fitting


class Stopped(Exception):
    """Ends a device's work because another one's has failed."""


class _Follower:
    """A helping device's reporter."""

    def __init__(self):
        self.stop = threading.Event()

    def check_cancel(self) -> None:
        if self.stop.is_set():
            raise Stopped

    def step(self, done: int, total: int, video_x0: Tensor | None = None) -> None:
        pass


class Turns:
    """Has devices work one after another while they record, where a recording would take what others allocate.

    `first`: so many evaluations of a kind are made in turn; None: as many as the allocator needs, the first two, since
    weights may come to their place with the first one.
    """

    def __init__(self, first: int | None = None):
        self._first = (2 if takes_from_all_threads() else 0) if first is None else first
        self._made: Counter[Hashable] = Counter()
        self._at_once = False

    def take(self, kind: Hashable) -> bool:
        """Whether the next evaluation of this kind is made in turn."""
        self._made[kind] += 1
        return self._made[kind] <= self._first

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, several devices work."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def alone(self) -> bool:
        """Whether one device works at most: then it may record."""
        return not self._at_once


@dataclass(frozen=True)
class Helper:
    """A copy of the model, where it is, how its blocks are run, and the thread that does it."""

    model: AVTransformer
    device: torch.device
    run_blocks: BlockRunner
    thread: ThreadPoolExecutor


class Team:
    """The first device's model, and `helpers` with its replicas, each in a thread of its own; `close` ends these.

    `devices`: where each replica computes; None: where its weights lie.  `runner`: makes what runs a replica's blocks,
    see `transformer.runner`.  `failed`: the device of which the last failure was, None where that was the first one.
    `turns`: when they work one after another.
    """

    def __init__(
        self,
        model: AVTransformer,
        replicas: Sequence[AVTransformer],
        reporter: Reporter = SILENT,
        runner: Callable[[Reporter], BlockRunner] = BlockGraphs,
        devices: Sequence[torch.device] | None = None,
        turns: Turns | None = None,
    ):
        self.model, self._reporter = model, reporter
        self.turns = turns or Turns()
        self._follower = _Follower()
        devices = [next(own.parameters()).device for own in replicas] if devices is None else devices
        self.helpers = [
            Helper(own, device, runner(self._follower), ThreadPoolExecutor(1, thread_name_prefix="ltx-duo-gpu"))
            for own, device in zip(replicas, devices, strict=True)
        ]
        self.failed: torch.device | None = None

    def close(self) -> None:
        for helper in self.helpers:
            helper.thread.shutdown()

    def run(self, own: Callable[[], Any], jobs: Sequence[Callable[[Helper], Any]], in_turn: bool = False) -> list[Any]:
        """What `own` gives here, and what each helper's job gives there; all end before this returns.

        What one of them raises is raised here, and stops the others between two blocks.
        """
        self._follower.stop.clear()
        self.failed = None
        futures: list[Future] = []
        work = [(h.thread, partial(job, h), h.device) for h, job in zip(self.helpers, jobs, strict=False)]
        try:
            if in_turn:
                found = own()
                for each in work:
                    futures.append(submit(*each))
                    self._wait(futures)
                return [found, *(future.result() for future in futures)]
            with self.turns.at_once():
                futures += [submit(*each) for each in work]
                found = own()
                self._wait(futures)
                return [found, *(future.result() for future in futures)]
        except BaseException as error:
            self._follower.stop.set()
            wait(futures)
            raise self._cause(error, futures) from None

    def _wait(self, futures: Sequence[Future]) -> None:
        while (state := wait(futures, WAIT_SECONDS, FIRST_EXCEPTION)).not_done:
            for future in state.done:
                future.result()  # raises what a helper has raised
            self._reporter.check_cancel()

    def _cause(self, error: BaseException, futures: Sequence[Future]) -> BaseException:
        """What made the evaluation fail: `error`, or where that only says that others stopped, what stopped them.

        All other errors let go of the tensors of their frames: whoever tries again needs the memory.
        """
        errors = [future.exception() for future in futures]
        failures = [own for own in errors if own is not None and not isinstance(own, Stopped)]
        cause = failures[0] if failures and isinstance(error, Stopped) else error
        places = zip(errors, self.helpers, strict=False)
        self.failed = next((helper.device for own, helper in places if own is cause), None)
        for other in (error, *errors):
            if other is not None and other is not cause:
                traceback.clear_frames(other.__traceback__)
        return cause


def submit(thread: ThreadPoolExecutor, work: Callable[[], T], device: torch.device) -> Future[T]:
    """Has a thread do work on `device`; PyTorch's modes, which belong to threads, are there what they are here."""
    return thread.submit(_worked, work, device, torch.is_inference_mode_enabled(), torch.is_grad_enabled())


def _worked(work: Callable[[], T], device: torch.device, inference: bool, gradients: bool) -> T:
    on_device = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with torch.inference_mode(inference), torch.set_grad_enabled(gradients), on_device:
        return work()


def moved(value: Any, device: torch.device) -> Any:
    """The same value with its tensors on `device`; what was one tensor stays one."""
    return _moved(value, device, {})


def _moved(value: Any, device: torch.device, known: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if id(value) not in known:
            known[id(value)] = value.to(device)
        return known[id(value)]
    if is_dataclass(value):
        return replace(value, **{own.name: _moved(getattr(value, own.name), device, known) for own in fields(value)})
    if isinstance(value, (tuple, list)):
        return type(value)(_moved(item, device, known) for item in value)
    return value
