"""The benchmark of memory budgets when rows fail: each says how, and no server is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltx_duo.benchmarks import comfyui_budgets
from ltx_duo.scripts.demo.server import PACK

# A ComfyUI that is ready at once; asked for figures, that of the row `small` hangs and every other one ends.
# Leaves a file named by its row and process beside itself.
STAND_IN = """
import http.server, os, pathlib, sys, time
row = pathlib.Path(sys.argv[sys.argv.index("--base-directory") + 1]).name
pathlib.Path(f"{row}.{os.getpid()}").touch()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/probe/figures":
            print("asked for figures", flush=True)
            time.sleep(600) if row == "small" else os._exit(1)
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def start(folder: Path, *options: str) -> subprocess.Popen:
    tree = folder / "comfyui"
    tree.mkdir()
    (tree / "main.py").write_text(STAND_IN)
    (folder / "work").mkdir()
    (folder / "work" / "small").touch()  # as if the models were there
    command = [sys.executable, str(PACK / "benchmarks" / "comfyui_budgets.py"), "--cpu", "--tree", str(tree)]
    command += ["--work", str(folder / "work"), "--out", str(folder / "report.json"), *options]
    return subprocess.Popen(command)


def servers(folder: Path) -> dict[str, int]:
    """The only process of each row that had one."""
    found = [path.name.split(".") for path in (folder / "comfyui").glob("*small.*")]
    assert len({row for row, _ in found}) == len(found)
    return {row: int(number) for row, number in found}


def assert_nothing_left(folder: Path) -> None:
    for number in servers(folder).values():
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
    assert not (folder / "work").exists()


def test_a_row_that_hangs_and_one_whose_server_ends(tmp_path):
    with start(tmp_path, "--row", "small", "--row", "native-small", "--row-seconds", "6") as benchmark:
        assert benchmark.wait(120) == 1
    hung, crashed = json.loads((tmp_path / "report.json").read_text())
    assert hung["row"] == "small" and hung["failed"] == "RowTooLong: took longer than 6 s"
    assert crashed["row"] == "native-small" and crashed["failed"].startswith("RemoteDisconnected")
    assert hung["log"][-1] == crashed["log"][-1] == "asked for figures"
    assert servers(tmp_path).keys() == {"small", "native-small"}
    assert_nothing_left(tmp_path)


def test_terminated(tmp_path):
    with start(tmp_path, "--row", "small", "--row", "native-small") as benchmark:
        deadline = time.monotonic() + 100
        while servers(tmp_path).keys() != {"small", "native-small"} and time.monotonic() < deadline:
            time.sleep(0.1)
        benchmark.terminate()
        assert benchmark.wait(30) == 128 + signal.SIGTERM
    (row,) = json.loads((tmp_path / "report.json").read_text())
    assert row == {"row": "small", "failed": "was ended before it was done"}
    assert_nothing_left(tmp_path)


class Session:
    """Of a server in whose second run nothing ends any more."""

    def __init__(self, row, server, arguments):
        self.runs = 0

    def figures(self) -> dict:
        return {"device": "a card", "torch": "2.11", "samples": [{"time": 0.0, "card": 0.5}]}

    def run(self) -> dict:
        self.runs += 1
        if self.runs == 2:
            time.sleep(60)
        stage = {"load": 0.25, "first_step": 3.0, "step": 1.0}
        return {"stage one": stage, "stage two": stage, "peak": {"card": 14.25}}


def test_a_row_that_takes_too_long_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(comfyui_budgets, "Session", Session)
    arguments = SimpleNamespace(work=tmp_path, steps=2, runs=None)
    result, saved = {"row": "12"}, []
    with pytest.raises(comfyui_budgets.RowTooLong), comfyui_budgets.time_limit(0.5):
        comfyui_budgets.measure(
            comfyui_budgets.ROWS["12"],
            SimpleNamespace(arguments=[]),
            arguments,
            result,
            lambda: saved.append(json.dumps(result)),
        )
    kept = json.loads(saved[-1])
    assert kept["device"] == "a card" and kept["torch"] == "2.11"
    assert len(kept["runs"]) == 1 and kept["switch"] == [2.25] and kept["back"] == []
    # The next row's server, asked when this one has gone, tells what it had added.
    comfyui_budgets.subtract_other_server(kept, {"row": "8", "idle": {"card": 0.5}})
    assert kept["other_server"] == 0.5 and kept["card_alone"] == 13.75


def test_what_is_not_known_is_not_subtracted():
    for following in ({"row": "8", "failed": "was ended"}, {"row": "8", "idle": {"rss": 1.0}}):
        row = {"runs": [{"peak": {"card": 14.25}}]}
        comfyui_budgets.subtract_other_server(row, following)
        assert row.keys() == {"runs"}
