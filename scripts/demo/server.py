"""Starts and stops a ComfyUI on loopback, with a base folder of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
LOCAL = Path(os.environ.get("LTXDUO_LOCAL") or PACK / ".local").resolve()
TOKENIZER = LOCAL / "tokenizer"
GEMMA_270M = LOCAL / "gemma-3-270m"
OLDEST_COMFYUI = LOCAL / "comfyui-0.3.75"
COMFYUI = Path(os.environ.get("COMFYUI_DIR") or LOCAL / "comfyui-0.30.0").resolve()
# A newer one than the pinned, for the tests, and the packages that it alone needs (setup.sh).
NEWER = os.environ.get("LTXDUO_NEWER_COMFYUI")
NEWER_COMFYUI = Path(NEWER).resolve() if NEWER else None
NEWER_PACKAGES = LOCAL / "newer-comfyui-packages"

START_SECONDS = 240
LOG_LINES = 60
# Ends a process group when whoever holds the other end of its standard input is gone, however that ended.
WATCH = "import os, signal, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), signal.SIGKILL)"
BROKEN_PACK = ("IMPORT FAILED", "Cannot import")


class ServerError(RuntimeError):
    """ComfyUI did not start, died, or could not import the pack; the message ends with its log."""


def make_base(base: Path) -> Path:
    """Makes ComfyUI's folders below `base`, with this pack among the custom nodes; keeps what is there."""
    for folder in ("custom_nodes", "models", "input", "output", "temp", "user/default"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / "ltx-duo"
    if link.is_symlink() and link.resolve() != PACK:  # of a checkout that shares .local, or was moved
        link.unlink()
    if not link.exists():
        link.symlink_to(PACK, target_is_directory=True)
    settings = base / "user" / "default" / "comfy.settings.json"
    if not settings.exists():  # else a welcome dialog covers the canvas
        settings.write_text(json.dumps({"Comfy.TutorialCompleted": True, "Comfy.Locale": "en"}))
    return base


def search_path(comfyui: Path) -> str:
    """PYTHONPATH for a ComfyUI: the newer one finds its own packages before the environment's."""
    own = [str(NEWER_PACKAGES)] if comfyui == NEWER_COMFYUI else []
    if own and not NEWER_PACKAGES.is_dir():
        raise ServerError(f"the packages of {comfyui} are not installed: bash scripts/setup.sh test")
    return os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])


def has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


class ComfyServer:
    """A running ComfyUI; use it in a `with` statement, which also ends it.

    Or `launch()` it, do something else, `wait_until_ready()`, and `stop()` it in any case.
    """

    def __init__(self, base: Path, comfyui: Path = COMFYUI, arguments: Sequence[str] = ()):
        self.base = base
        self.comfyui = comfyui
        self.log_file = base / "comfyui.log"
        self.arguments = list(arguments)
        self.process: subprocess.Popen | None = None
        self.watch: subprocess.Popen | None = None

    def __enter__(self) -> "ComfyServer":
        self.launch()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def launch(self) -> None:
        """Starts the process, which takes a while to answer."""
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "main.py", "--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--base-directory", str(self.base)]
        command += ["--database-url", f"sqlite:///{self.base}/user/comfyui.db", *self.arguments]
        if not has_accelerator():
            command.append("--cpu")
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = search_path(self.comfyui)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.comfyui, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        watch = [sys.executable, "-c", WATCH, str(self.process.pid)]
        self.watch = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)

    def stop(self) -> None:
        """Ends ComfyUI and everything that it started."""
        if self.process is None:
            return
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()
        self.process = None
        if self.watch is not None:
            self.watch.kill()
            self.watch.stdin.close()
            self.watch.wait()
            self.watch = None

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def check_alive(self) -> None:
        """ServerError with the log's end when ComfyUI has ended."""
        if self.process is None or self.process.poll() is not None:
            raise self._error("ComfyUI has ended")

    def wait_until_ready(self) -> None:
        """ServerError when ComfyUI ends, does not answer in time, or could not import a custom node pack."""
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.url + "/system_stats"):
            self.check_alive()
            if time.monotonic() > deadline:
                raise self._error(f"ComfyUI did not answer within {START_SECONDS} s")
            time.sleep(0.2)
        # ComfyUI's own extra nodes may lack what they need.
        packs = [line for line in self.log().splitlines() if "custom_nodes" in line]
        broken = [line for line in packs if any(text in line for text in BROKEN_PACK)]
        if broken:
            raise self._error("ComfyUI could not import the pack: " + broken[0])

    def _error(self, message: str) -> ServerError:
        tail = "\n".join(self.log().splitlines()[-LOG_LINES:])
        return ServerError(f"{message} ({self.comfyui}); the end of {self.log_file}:\n{tail}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
