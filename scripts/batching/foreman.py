"""Who makes what: every clip once; what a lost worker had is made again, by another one if there is another.

It knows neither Ray nor servers: a crew starts work and says when some of it has ended.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .clips import Clip

LONGEST_WAIT = 0.5  # seconds until a crew looks up again


@dataclass(frozen=True)
class Ready:
    """A worker that can make films: what it calls itself, and facts for the manifest."""

    who: str
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A film as an MP4, the seconds that it took, and what was said on the way."""

    film: bytes
    seconds: float
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Nobody can do this, in words: a clip that cannot be made, or a worker that can make none."""

    reason: str


class Lost(Exception):
    """A worker is gone, or what it had; the message says how."""


class Crew(Protocol):
    """Workers by number.  A handle stands for work that has begun."""

    def prepare(self, number: int) -> Any:
        """Begins to make a worker ready, anew if it was lost; ends with Ready or Refused."""

    def make(self, number: int, clip: Clip) -> Any:
        """Begins a clip; ends with Made or Refused."""

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those of the handles whose work has ended, after `seconds` at most."""

    def result(self, handle: Any) -> Ready | Made | Refused:
        """How it ended; Lost if the worker was lost."""

    def dismiss(self, number: int) -> None:
        """Gives up what is left of a lost worker."""


class Book(Protocol):
    """Hears of everything that happens."""

    def ready(self, number: int, worker: Ready) -> None: ...
    def made(self, task: "Task", number: int, worker: Ready, made: Made) -> None: ...
    def failed(self, task: "Task", reason: str) -> None: ...
    def lost(self, task: "Task | None", number: int, reason: str, again: bool) -> None: ...
    def useless(self, number: int, reason: str) -> None: ...


@dataclass(frozen=True)
class Patience:
    """attempts: how often a clip is begun before it counts as failed.  pause: seconds before a worker that was lost
    twice in a row is made ready again, doubled each time up to `longest`.  tries: when all workers have failed to get
    ready so often in a row, the batch ends."""

    attempts: int = 3
    pause: float = 5.0
    longest: float = 60.0
    tries: int = 4

    def after(self, losses: int) -> float:
        return 0.0 if losses < 2 else min(self.pause * 2.0 ** (losses - 2), self.longest)


@dataclass(frozen=True)
class Task:
    """A clip, which attempt at it this is, and whom the last one was lost on."""

    clip: Clip
    attempt: int = 1
    lost_on: int | None = None


@dataclass
class _Worker:
    number: int
    ready: Ready | None = None
    task: Task | None = None
    handle: Any = None
    losses: int = 0  # in a row, of whatever kind
    unready: int = 0  # in a row, while it was made ready
    again_at: float = 0.0
    useless: bool = False


def run(
    clips: Sequence[Clip],
    crew: Crew,
    workers: int,
    book: Book,
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Clip]:
    """Has all clips made; returns those that nobody was left for."""
    waiting = deque(Task(clip) for clip in clips)
    team = [_Worker(number) for number in range(workers)]
    while True:
        busy = any(worker.task for worker in team)
        if not waiting and not busy:
            return []
        hopeful = [worker for worker in team if not worker.useless]
        if not busy and all(worker.ready is None and worker.unready >= patience.tries for worker in hopeful):
            return [task.clip for task in waiting]
        for worker in sorted(hopeful, key=lambda worker: worker.ready is None):  # who waits takes before who is woken
            if worker.handle is None:
                _set_to_work(worker, waiting, team, crew, clock())
        handles = {worker.handle: worker for worker in team if worker.handle is not None}
        if not handles:
            soonest = min(worker.again_at for worker in hopeful)
            sleep(min(max(soonest - clock(), 0.0), LONGEST_WAIT))
            continue
        for handle in crew.wait(list(handles), LONGEST_WAIT):
            _ended(handles[handle], waiting, crew, book, patience, clock())


def _set_to_work(worker: _Worker, waiting: deque[Task], team: list[_Worker], crew: Crew, now: float) -> None:
    if worker.ready is None:
        if waiting and now >= worker.again_at:
            worker.handle = crew.prepare(worker.number)
        return
    others = any(other.ready or other.handle is not None for other in team if other is not worker)
    task = next((task for task in waiting if not others or task.lost_on != worker.number), None)
    if task is not None:
        waiting.remove(task)
        worker.task, worker.handle = task, crew.make(worker.number, task.clip)


def _ended(worker: _Worker, waiting: deque[Task], crew: Crew, book: Book, patience: Patience, now: float) -> None:
    task, handle = worker.task, worker.handle
    worker.task = worker.handle = None
    try:
        result = crew.result(handle)
    except Lost as lost:
        crew.dismiss(worker.number)
        worker.unready = worker.unready + 1 if worker.ready is None else 0
        worker.ready, worker.losses = None, worker.losses + 1
        worker.again_at = now + patience.after(worker.losses)
        again = task is not None and task.attempt < patience.attempts
        if task is None or again:
            book.lost(task, worker.number, str(lost), again)
        else:
            book.failed(task, f"begun {task.attempt} times and lost each time; at last: {lost}")
        if again:
            waiting.appendleft(replace(task, attempt=task.attempt + 1, lost_on=worker.number))
        return
    if isinstance(result, Ready):
        worker.ready, worker.unready = result, 0
        book.ready(worker.number, result)
        return
    if task is None:
        worker.useless = True
        crew.dismiss(worker.number)
        book.useless(worker.number, result.reason)
        return
    worker.losses = 0
    if isinstance(result, Made):
        book.made(task, worker.number, worker.ready, result)
    else:
        book.failed(task, result.reason)
