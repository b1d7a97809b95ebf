"""Engines on Ray: one actor a GPU, or some on a CPU; on this machine alone, or wherever a cluster has room."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .clips import Clip
from .engine import Engine, ModelFiles
from .faults import BatchError, JobFault
from .foreman import Lost, Made, Ready, Refused

PACK = Path(__file__).resolve().parents[2]
NO_RAY = "Ray is not installed: pip install ray into this Python, or give --servers, which need no Ray."
STORE_BYTES = 512 * 2**20  # on one machine it holds the films on their way here, nothing else
LONG_LOADING = 120.0  # seconds until an engine that is not ready is told of
STARTS = 3  # Ray gives up a node of which a part needs more than 15 s to start, as on a busy machine (its issue 65983)
SHIPPED = ("ltx_core", "scripts/batching")


@dataclass(frozen=True)
class Room:
    """What every engine gets of its machine."""

    engines: int
    gpus: int
    threads: int


class RayCrew:
    """A Crew of engines."""

    def __init__(self, ray: Any, files: ModelFiles, room: Room):
        self.ray = ray
        self.files = files
        self.room = room
        # Lost engines are replaced by the foreman, who knows what they had.
        self.actor_class = ray.remote(num_cpus=room.threads, num_gpus=room.gpus, max_restarts=0)(Engine)
        self.actors: dict[int, Any] = {}
        self.loading: dict[Any, tuple[int, float]] = {}

    def prepare(self, number: int) -> Any:
        self.actors[number] = self.actor_class.remote(self.files, self.room.threads)
        handle = self.actors[number].load.remote()
        self.loading[handle] = number, time.monotonic() + LONG_LOADING
        return handle

    def make(self, number: int, clip: Clip) -> Any:
        try:
            files = [file.read() for file in clip.files]
        except JobFault as fault:
            return self.ray.put(Refused(str(fault)))
        return self.actors[number].make.remote(clip.job, files)

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        for handle, (number, until) in list(self.loading.items()):
            if time.monotonic() > until:
                del self.loading[handle]
                print(f"engine {number + 1} is not ready yet: it waits for a free place, or loads", flush=True)
        return self.ray.wait(list(handles), num_returns=1, timeout=seconds)[0]

    def result(self, handle: Any) -> Ready | Made | Refused:
        self.loading.pop(handle, None)
        try:
            return self.ray.get(handle)
        except self.ray.exceptions.RayTaskError as error:  # out of GPU memory, a broken GPU: the process is suspect
            cause = error.cause or error
            raise Lost(f"{type(cause).__name__}: {_last_line(str(cause))}") from None
        except self.ray.exceptions.RayError as error:
            raise Lost(_last_line(str(error))) from None

    def dismiss(self, number: int) -> None:
        actor = self.actors.pop(number, None)
        if actor is not None:
            self.ray.kill(actor, no_restart=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


@contextmanager
def engines(files: ModelFiles, wanted: int | None, threads: int | None, address: str | None) -> Iterator[RayCrew]:
    """A crew on this machine, or on the cluster at `address`; its engines end with the `with` statement.

    wanted None: one for each GPU there is, or one on the CPU.  threads None: one beside a GPU, else what the processors
    of this machine are for each.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray's 15 would let any other program keep an engine from feeding its GPU.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise BatchError(NO_RAY) from None
    with tempfile.TemporaryDirectory(prefix="ltx-duo-") as folder:
        options = {"runtime_env": {"py_modules": [str(_copy_of_pack(Path(folder)))]}, "log_to_driver": False}
        try:
            _connect(ray, address, wanted, threads, options)
            crew = RayCrew(ray, files, _room(ray, wanted, threads, address))
            yield crew
            for number in list(crew.actors):
                crew.dismiss(number)
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None, wanted: int | None, threads: int | None, options: dict[str, Any]) -> None:
    if address is None:
        processors = max(os.cpu_count() or 1, (wanted or torch.cuda.device_count() or 1) * (threads or 1))
        options |= {"num_cpus": processors, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    for start in range(1, STARTS + 1):
        try:
            ray.init(address=address or "local", logging_level="ERROR", **options)
            return
        except Exception as error:  # Ray raises plain Exceptions too
            ray.shutdown()
            where = "Ray does not start here" if address is None else f"No Ray cluster answers at {address}"
            if address is not None or start == STARTS:
                raise BatchError(f"{where}: {_last_line(str(error))}") from None
            print(f"{where} ({_last_line(str(error))}); once more", flush=True)


def _room(ray: Any, wanted: int | None, threads: int | None, address: str | None) -> Room:
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus:
        more = (wanted or gpus) - gpus
        if more > 0 and address is None:
            raise BatchError(f"--actors is {wanted}, but this machine has {gpus} GPUs: one engine needs one.")
        if more > 0:
            print(f"The cluster has {gpus} GPUs now: {more} of {wanted} engines wait for more.", flush=True)
        return Room(wanted or gpus, 1, threads or 1)
    engines = wanted or 1
    return Room(engines, 0, threads or max(1, (os.cpu_count() or 1) // engines if address is None else 1))


def _copy_of_pack(folder: Path) -> Path:
    """What the engines need of this pack, as the package `ltx_duo`, which Ray brings to every machine."""
    package = folder / "ltx_duo"
    package.mkdir()
    shutil.copy(PACK / "__init__.py", package)
    for part in SHIPPED:
        shutil.copytree(PACK / part, package / part, ignore=shutil.ignore_patterns("__pycache__"))
    return package
