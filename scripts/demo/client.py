"""Talks to a ComfyUI server: queues a prompt in API format, follows it over the websocket, fetches files."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from websocket import WebSocket, WebSocketTimeoutException

SILENCE_SECONDS = 5.0


class PromptRejected(RuntimeError):
    """The server answered HTTP 400: `node_errors` maps node ids to what is wrong with their inputs."""

    def __init__(self, answer: dict):
        self.node_errors: dict = answer.get("node_errors") or {}
        found = [
            _complaint(node["class_type"], error) for node in self.node_errors.values() for error in node["errors"]
        ]
        super().__init__("; ".join(dict.fromkeys(found)) or json.dumps(answer.get("error", answer)))


def _complaint(node_type: str, error: dict) -> str:
    """One line for an error; for what a node's own check says, without the input before it."""
    if error["type"] == "custom_validation_failed":
        return f"{node_type}: {error['details'].partition(' - ')[2] or error['details']}"
    return f"{node_type}: {error['message']}: {error['details']}"


class ExecutionFailed(RuntimeError):
    """A node raised an error, or the run was interrupted."""

    def __init__(self, data: dict):
        self.node_id: str = data.get("node_id", "")
        self.node_type: str = data.get("node_type", "")
        self.exception_type: str = data.get("exception_type", "interrupted")
        self.exception_message: str = data.get("exception_message", "interrupted").strip()
        super().__init__(f"{self.node_type}: {self.exception_message}")


@dataclass
class Run:
    """What one queued prompt did."""

    outputs: dict = field(default_factory=dict)
    """Node id -> what the node showed, e.g. {"images": [{"filename", "subfolder", "type"}]}."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Node id -> seconds that it ran, in order; nodes answered from ComfyUI's cache are not in it."""
    progress: dict[str, float] = field(default_factory=dict)
    """Node id -> how much of it is done, 0..1, as its progress bar last said."""

    def files(self) -> list[dict]:
        """Entries of what the run left in the output folder, pictures, films and sounds; previews lie elsewhere."""
        shown = [
            entry for shown in self.outputs.values() for kind in ("images", "audio") for entry in shown.get(kind, [])
        ]
        return [entry for entry in shown if "filename" in entry and entry.get("type") == "output"]


def set_inputs(prompt: dict, node_type: str, /, **values) -> None:
    """Sets inputs of the node of that class; KeyError unless there is exactly one and it has them."""
    nodes = [node for node in prompt.values() if node["class_type"] == node_type]
    if len(nodes) != 1:
        raise KeyError(f"the workflow has {len(nodes)} nodes of type {node_type}, expected one")
    missing = values.keys() - nodes[0]["inputs"].keys()
    if missing:
        raise KeyError(f"{node_type} has no input {', '.join(sorted(missing))} in the workflow")
    nodes[0]["inputs"].update(values)


class Client:
    """One client of the server at `url`, e.g. http://127.0.0.1:8188."""

    def __init__(self, url: str, check_alive: Callable[[], None] = lambda: None):
        self.url = url
        self.id = uuid.uuid4().hex
        self.check_alive = check_alive

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def fetch(self, entry: dict, target: Path) -> Path:
        """Copies an output file, as named in `Run.files()`, to `target`."""
        query = urllib.parse.urlencode({key: entry[key] for key in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.url}/view?{query}", timeout=60) as answer:
            target.write_bytes(answer.read())
        return target

    def run(self, prompt: dict, on_progress: Callable[[str, Run], None] = lambda node, run: None) -> Run:
        """Queues `prompt` and waits for its end; `on_progress(node_id, run)` at each start and progress of a node."""
        socket = WebSocket()
        socket.connect(f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.id}", timeout=SILENCE_SECONDS)
        try:
            prompt_id = self._queue(prompt)
            run = self._follow(socket, prompt_id, on_progress)
        finally:
            socket.close()
        run.outputs = self.get(f"/history/{prompt_id}")[prompt_id]["outputs"]
        return run

    def _queue(self, prompt: dict) -> str:
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": self.id})["prompt_id"]
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRejected(json.load(error)) from None

    def _follow(self, socket: WebSocket, prompt_id: str, on_progress: Callable[[str, Run], None]) -> Run:
        run = Run()
        current, since = None, time.monotonic()
        while True:
            try:
                message = socket.recv()
            except WebSocketTimeoutException:
                self.check_alive()
                continue
            if not isinstance(message, str):  # a preview picture
                continue
            event = json.loads(message)
            kind, data = event["type"], event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if kind in ("execution_error", "execution_interrupted"):
                raise ExecutionFailed(data)
            if kind == "executing":  # without a node: the run has ended and is in the history
                now = time.monotonic()
                if current is not None:
                    run.seconds[current] = run.seconds.get(current, 0.0) + now - since
                current, since = data["node"], now
                if current is None:
                    return run
                on_progress(current, run)
            elif kind == "progress":
                run.progress[data["node"]] = data["value"] / data["max"]
                on_progress(data["node"], run)
