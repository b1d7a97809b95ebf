"""What happens, onto the disk and the screen."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from .clips import Clip
from .foreman import Made, Ready, Task
from .outputs import OutputFolder

ENGINE, SERVER = "engine", "server"


class Ledger:
    """Keeps films, writes lines, counts, and tells how long the rest will take.  `worker`: what one is called."""

    def __init__(self, folder: OutputFolder, total: int, before: int, worker: str, say: Callable[[str], None] = print):
        self.folder = folder
        self.total = total
        self.before = before
        self.worker = worker
        self.say = say
        self.kept = 0
        self.failures: list[tuple[str, str]] = []
        self.heard: set[str] = set()
        self.start = time.monotonic()
        self.first_start: float | None = None

    def ready(self, number: int, worker: Ready) -> None:
        self.say(f"{self.worker} {number + 1} is ready: {worker.who}")
        self.first_start = self.first_start or time.monotonic()

    def made(self, task: Task, number: int, worker: Ready, made: Made) -> None:
        facts: dict[str, Any] = {"seconds": made.seconds, "attempts": task.attempt, **worker.facts}
        self.folder.keep(task.clip, made.film, facts | {"said": list(made.said)})
        self.kept += 1
        self.say(
            f"{self._count()} {task.clip.name}.mp4: {made.seconds:.1f} s on {self.worker} {number + 1}{self._rest()}"
        )
        for line in made.said:
            if self.worker == ENGINE and line not in self.heard:  # warnings; servers report each film's steps
                self.heard.add(line)
                self.say(f"  {line}")

    def failed(self, task: Task, reason: str) -> None:
        self.folder.fail(task.clip, reason, {"attempts": task.attempt})
        self.failures.append((task.clip.name, reason))
        self.say(f"{self._count()} {task.clip.name} FAILED (line {task.clip.job.line}): {reason}")

    def lost(self, task: Task | None, number: int, reason: str, again: bool) -> None:
        held = f"; {task.clip.name} is made again" if again else ""
        self.say(f"{self.worker} {number + 1} was lost: {reason}{held}")

    def useless(self, number: int, reason: str) -> None:
        self.say(f"{self.worker} {number + 1} cannot be used: {reason}")

    def summary(self, left: Sequence[Clip]) -> str:
        """The last lines: what was made, and what has to be looked at."""
        seconds = time.monotonic() - (self.first_start or self.start)
        rate = f", {3600 * self.kept / seconds:.0f} films an hour" if self.kept and seconds > 0 else ""
        lines = [
            f"{self.kept} made{rate}, {self.before} there before, {len(self.failures)} failed, {len(left)} left. "
            f"Each with its settings: {self.folder.manifest.path}"
        ]
        lines += [f"  failed: {name}: {reason}" for name, reason in self.failures]
        lines += [f"  left: {clip.name} (line {clip.job.line})" for clip in left]
        return "\n".join(lines)

    def _count(self) -> str:
        ended = self.before + self.kept + len(self.failures)
        return f"[{ended:>{len(str(self.total))}}/{self.total}]"

    def _rest(self) -> str:
        left = self.total - self.before - self.kept - len(self.failures)
        if not left or self.first_start is None:
            return ""
        seconds = (time.monotonic() - self.first_start) / self.kept * left
        return f", about {_length(seconds)} left"


def _length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
