"""One ComfyUI server by its HTTP interface, with the standard library alone."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0  # until an answer that does not come counts as none


class Unreachable(Exception):
    """The server does not answer, or with an error of its own."""


class Rejected(Exception):
    """The server does not take a prompt; the message says what is wrong with which node."""


@dataclass(frozen=True)
class ComfyServer:
    """The server at `url`, e.g. http://127.0.0.1:8188."""

    url: str

    def get(self, path: str, seconds: float = SECONDS) -> Any:
        return self._json(path, seconds=seconds)

    def post(self, path: str, body: dict[str, Any], seconds: float = SECONDS) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._json(path, json.dumps(body).encode(), headers, seconds)

    def upload(self, name: str, data: bytes) -> str:
        """Puts a file into the server's input folder; what it is called there."""
        border = uuid.uuid4().hex
        parts = [
            f'--{border}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'.encode(),
            f'--{border}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n" + data + f"\r\n--{border}--\r\n".encode(),
        ]
        headers = {"Content-Type": f"multipart/form-data; boundary={border}"}
        return self._json("/upload/image", b"".join(parts), headers)["name"]

    def queue(self, prompt: dict[str, Any]) -> str:
        """The id of a prompt that the server took; Rejected says why it did not."""
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": "ltx-duo-batch"})["prompt_id"]
        except Unreachable as error:
            cause = error.__cause__
            if isinstance(cause, urllib.error.HTTPError) and cause.code == 400:
                raise Rejected(_complaints(cause)) from None
            raise

    def is_waiting(self, prompt_id: str) -> bool:
        """Whether a prompt is in the queue, running or not."""
        queue = self.get("/queue")
        return any(entry[1] == prompt_id for entry in [*queue["queue_running"], *queue["queue_pending"]])

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """What became of a prompt that has ended."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def fetch(self, entry: dict[str, str]) -> bytes:
        """An output file, as the history names it."""
        query = urllib.parse.urlencode({key: entry[key] for key in ("filename", "subfolder", "type")})
        return self._bytes(f"/view?{query}")

    def cancel(self, prompt_id: str, seconds: float) -> None:
        """Takes a prompt out of the queue, and stops it if it runs; other people's stay."""
        self.post("/queue", {"delete": [prompt_id]}, seconds)
        self.post("/interrupt", {"prompt_id": prompt_id}, seconds)

    def _json(self, path: str, *arguments, **options) -> Any:
        try:
            return json.loads(self._bytes(path, *arguments, **options) or b"{}")
        except ValueError:
            raise Unreachable(f"{self.url}{path} answers something else than JSON: is it a ComfyUI?") from None

    def _bytes(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, seconds: float = SECONDS
    ) -> bytes:
        request = urllib.request.Request(self.url + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(
                f"{self.url}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            ) from error


def _complaints(answer: urllib.error.HTTPError) -> str:
    """What is wrong with a prompt, a line for each cause."""
    try:
        said = json.load(answer)
    except (OSError, ValueError):
        return f"HTTP 400 {answer.reason}"
    nodes = (said.get("node_errors") or {}).values()
    found = [_complaint(node["class_type"], error) for node in nodes for error in node["errors"]]
    return "; ".join(dict.fromkeys(found)) or json.dumps(said.get("error", said))


def _complaint(node_type: str, error: dict[str, str]) -> str:
    if error.get("type") == "custom_validation_failed":  # a sentence of the node's own, behind the input's name
        return f"{node_type}: {error['details'].partition(' - ')[2] or error['details']}"
    return f"{node_type}: {error['message']}: {error['details']}"
