"""A ComfyUI of the standard library: its HTTP interface, with failures on demand and films of a few bytes."""

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FILM = b"\x00\x00\x00\x18ftypisom film of "
NODES = ("LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "SaveVideo")


class FakeComfyUI:
    """Serves on a port of its own until `die`; `revive` brings it back there, with an empty memory.

    ends: seed -> how its prompt ends: an error's (type, message), "interrupted", "forgotten", or "never".
    """

    def __init__(self, ends: dict[int, object] | None = None, nodes=NODES):
        self.ends = ends or {}
        self.nodes = nodes
        self.port = 0
        self.made: list[int] = []
        self.cancelled: list[str] = []
        self.uploaded: dict[str, bytes] = {}
        self.dies_after: int | None = None
        self.revive()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def revive(self) -> None:
        self.history: dict[str, dict] = {}
        self.waiting: dict[str, int] = {}
        self.httpd = ThreadingHTTPServer(("127.0.0.1", self.port), type("Bound", (_Handler,), {"fake": self}))
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True).start()

    def die(self) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()

    def queue(self, prompt: dict) -> str:
        (stage,) = [node["inputs"] for node in prompt.values() if node["class_type"] == NODES[0]]
        prompt_id, seed = uuid.uuid4().hex, stage["seed"]
        end = self.ends.get(seed)
        if end == "never":
            self.waiting[prompt_id] = seed
        elif end != "forgotten":
            self.history[prompt_id] = _ended(end, seed)
            if end is None:
                self.made.append(seed)
        return prompt_id


def _ended(end, seed: int) -> dict:
    if end is None:
        film = {"filename": f"{seed}.mp4", "subfolder": "ltx-duo-batch", "type": "output"}
        outputs = {"12": {"images": [film], "animated": [True]}, "6": {"text": ["30 steps"]}}
        return {"outputs": outputs, "status": {"status_str": "success", "messages": [["execution_success", {}]]}}
    if end == "interrupted":
        messages = [["execution_interrupted", {"node_type": NODES[0]}]]
    else:
        error = {"node_type": NODES[0], "exception_type": end[0], "exception_message": end[1]}
        messages = [["execution_error", error]]
    return {"outputs": {}, "status": {"status_str": "error", "messages": messages}}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeComfyUI

    def log_message(self, *_):
        pass

    def do_GET(self):
        address, fake = urlsplit(self.path), self.fake
        first, *rest = address.path.strip("/").split("/")
        if first == "view":
            seed = parse_qs(address.query)["filename"][0].removesuffix(".mp4")
            return self._answer(FILM + seed.encode())
        answers = {
            "system_stats": lambda: {"system": {"comfyui_version": "fake"}, "devices": [{"name": "fake GPU"}]},
            "object_info": lambda: {rest[0]: {}} if rest[0] in fake.nodes else {},
            "history": lambda: {rest[0]: fake.history[rest[0]]} if rest[0] in fake.history else {},
            "queue": lambda: {"queue_running": [[0, prompt_id, {}] for prompt_id in fake.waiting], "queue_pending": []},
        }
        return self._answer(json.dumps(answers[first]()).encode())

    def do_POST(self):
        fake, body = self.fake, self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/upload/image":
            head, _, data = body.split(b'name="image"; filename="')[1].partition(b"\r\n\r\n")
            name = head.split(b'"')[0].decode()
            fake.uploaded[name] = data.rsplit(b"\r\n--", 1)[0]
            return self._answer(json.dumps({"name": name}).encode())
        said = json.loads(body)
        if self.path == "/queue":
            fake.cancelled += said["delete"]
            return self._answer(b"")
        if self.path == "/interrupt":
            fake.waiting.pop(said["prompt_id"], None)
            return self._answer(b"")
        if fake.dies_after is not None and len(fake.made) >= fake.dies_after:
            threading.Thread(target=fake.die, daemon=True).start()
            return self.connection.close()
        if any("refuse me" in str(node["inputs"].get("prompt")) for node in said["prompt"].values()):
            error = {"type": "custom_validation_failed", "message": "failed", "details": "prompt - no, not this one"}
            refused = {"error": {}, "node_errors": {"5": {"class_type": "LTXDuoTextEncode", "errors": [error]}}}
            return self._answer(json.dumps(refused).encode(), 400)
        return self._answer(json.dumps({"prompt_id": fake.queue(said["prompt"])}).encode())

    def _answer(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
