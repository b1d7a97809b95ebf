"""A server ends with whoever started it, also when that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ltx_duo.scripts.demo.server import PACK
from ltx_duo.tests.server.stand_in import main_file

# Tells its number.
STAND_IN = main_file('import os, pathlib; pathlib.Path("pid").write_text(str(os.getpid()))')
STARTER = """
import sys, time
from pathlib import Path
from demo.server import ComfyServer
with ComfyServer(Path(sys.argv[1]), Path(sys.argv[1])):
    print("ready", flush=True)
    if sys.argv[2] == "stay":
        time.sleep(60)
"""


def start(folder: Path, what: str) -> subprocess.Popen:
    (folder / "main.py").write_text(STAND_IN)
    environment = {**os.environ, "PYTHONPATH": str(PACK / "scripts")}
    command = [sys.executable, "-c", STARTER, str(folder), what]
    starter = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert starter.stdout.readline() == "ready\n"
    return starter


def is_running(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ended(folder: Path) -> bool:
    number, deadline = int((folder / "pid").read_text()), time.monotonic() + 10
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(number)


def test_server_ends_with_a_killed_starter(tmp_path):
    with start(tmp_path, "stay") as starter:
        assert is_running(int((tmp_path / "pid").read_text()))
        starter.send_signal(signal.SIGKILL)
    assert ended(tmp_path)


def test_server_ends_with_the_statement(tmp_path):
    with start(tmp_path, "leave") as starter:
        assert starter.wait(30) == 0
    assert ended(tmp_path)
