"""ComfyUI servers as a Crew: each makes one film at a time; one that dies is asked again later."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from . import prompts
from .clips import Clip
from .comfy_server import ComfyServer, Rejected, Unreachable
from .faults import BatchError, JobFault
from .foreman import Lost, Made, Ready, Refused

LOOK = 0.5  # seconds between two looks at a running prompt
SILENT_LOOKS = 3  # answers in a row that may stay out before a server counts as lost
PARTING = 1.0  # seconds for taking back what still runs, when the batch is stopped
NEEDED = (prompts.STAGE_ONE, prompts.STAGE_TWO, prompts.SAVE)
MEMORY = ("OutOfMemoryError", "MemoryError")


def address_of(text: str) -> str:
    """The base address of a server that is written as host:port or as a URL."""
    return (text if "://" in text else f"http://{text}").rstrip("/")


class ServerCrew:
    """A Crew of servers; `workflow` is what jobs are put into."""

    def __init__(self, addresses: Sequence[str], workflow: prompts.Prompt):
        self.servers = [ComfyServer(address) for address in addresses]
        self.workflow = workflow
        self.stop = threading.Event()
        self.running: dict[int, str] = {}
        self.begun = 0

    def prepare(self, number: int) -> Future:
        return _begin(self._check, number)

    def make(self, number: int, clip: Clip) -> Future:
        self.begun += 1
        return _begin(self._make, number, clip, f"ltx-duo-batch/{clip.name}-{clip.digest[:10]}-{self.begun}")

    def wait(self, handles: Sequence[Future], seconds: float) -> Sequence[Future]:
        return list(futures.wait(handles, seconds, futures.FIRST_COMPLETED).done)

    def result(self, handle: Future) -> Ready | Made | Refused:
        try:
            return handle.result()
        except Unreachable as error:
            raise Lost(str(error)) from None
        except (KeyError, TypeError, IndexError) as error:
            raise Lost(f"it answered what no ComfyUI answers ({error!r})") from None

    def dismiss(self, number: int) -> None:
        pass

    def close(self) -> None:
        """Takes back what still waits or runs."""
        self.stop.set()
        parting = [_begin(self._take_back, number, PARTING) for number in list(self.running)]
        futures.wait(parting, 2 * PARTING)

    def _check(self, number: int) -> Ready | Refused:
        server = self.servers[number]
        stats = server.get("/system_stats")
        for node in NEEDED:
            if node not in server.get(f"/object_info/{node}"):
                return Refused(f"{server.url} has no node {node}: install LTX Duo there, and ComfyUI 0.3.75 or newer")
        self._take_back(number)
        device = stats["devices"][0]["name"] if stats.get("devices") else "unknown device"
        version = stats.get("system", {}).get("comfyui_version", "unknown")
        return Ready(f"{server.url}, {device}", {"server": server.url, "device": device, "comfyui": version})

    def _take_back(self, number: int, seconds: float = 10.0) -> None:
        """What a server still has of us, from before it was lost, is made elsewhere by now."""
        prompt_id = self.running.get(number)
        if prompt_id is not None:
            self.servers[number].cancel(prompt_id, seconds)
            self.running.pop(number, None)

    def _make(self, number: int, clip: Clip, prefix: str) -> Made | Refused:
        server, start = self.servers[number], time.monotonic()
        try:
            names = [
                server.upload(f"ltx-duo-batch-{file.sha256[:20]}{file.path.suffix}", file.read()) for file in clip.files
            ]
            prompt_id = server.queue(prompts.filled(self.workflow, clip.job, names, prefix))
        except (JobFault, Rejected) as fault:
            return Refused(str(fault))
        self.running[number] = prompt_id
        ended = self._follow(server, prompt_id)
        self.running.pop(number, None)
        failure = _failure(server, ended)
        if failure is not None:
            return failure
        shown = [entry for output in ended["outputs"].values() for entry in output.get("images", [])]
        films = [entry for entry in shown if entry.get("type") == "output" and entry["filename"].endswith(".mp4")]
        if len(films) != 1:
            return Refused(f"{server.url} left {len(films)} MP4 files, expected one: the workflow has to save one")
        film = server.fetch(films[0])
        if film[4:8] != b"ftyp":
            raise Lost(f"{server.url} sent {len(film)} bytes that are no MP4")
        said = [line for output in ended["outputs"].values() for line in output.get("text", [])]
        return Made(film, round(time.monotonic() - start, 2), tuple(dict.fromkeys(said)))

    def _follow(self, server: ComfyServer, prompt_id: str) -> dict[str, Any]:
        """The history of a prompt, once it has ended; Lost if the server knows it no longer."""
        silent = 0
        while not self.stop.wait(LOOK):
            try:
                known = server.is_waiting(prompt_id)
                ended = server.history(prompt_id)  # asked for last: it may have ended in between
                silent = 0
            except Unreachable:
                silent += 1
                if silent == SILENT_LOOKS:
                    raise
                continue
            if ended is not None:
                return ended
            if not known:
                raise Lost(f"{server.url} knows nothing of the film any more: it was started again, or cleared")
        raise Lost("the batch was stopped")


def _failure(server: ComfyServer, ended: dict[str, Any]) -> Refused | None:
    """Why a prompt gave no film; Lost where another server, or another time, may do better."""
    messages = dict(message for message in ended["status"]["messages"] if len(message) == 2)
    if "execution_interrupted" in messages:
        raise Lost(f"somebody stopped the film on {server.url}")
    error = messages.get("execution_error")
    if error is None and ended["status"]["status_str"] == "success":
        return None
    error = error or {}
    text = f"{error.get('node_type')}: {str(error.get('exception_message')).strip()}"
    if str(error.get("exception_type")).endswith(MEMORY):
        raise Lost(f"{server.url}: {text}")
    return Refused(text)


def _begin(work: Callable, *arguments) -> Future:
    """Runs in a thread that no exit waits for."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def servers(addresses: Sequence[str], workflow: prompts.Prompt) -> Iterator[ServerCrew]:
    """A crew of those servers; what still runs there is stopped at the end of the `with` statement."""
    twice = {address for address in addresses if addresses.count(address) > 1}
    if twice:
        raise BatchError(f"--servers has {', '.join(sorted(twice))} twice: a server makes one film at a time.")
    crew = ServerCrew(addresses, workflow)
    try:
        yield crew
    finally:
        with suppress(Unreachable):
            crew.close()
