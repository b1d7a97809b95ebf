"""The benchmark of memory budgets with the small model: it runs, nothing grows from run to run, cancel works."""

import json
import subprocess
import sys

import pytest

from ltx_duo.scripts.demo.server import PACK

RUNS = 8
GROWTH_GIB = 0.03


def test_many_runs_and_a_cancelled_one(tmp_path):
    report = tmp_path / "report.json"
    options = ["--cpu", "--row", "small", "--steps", "2", "--runs", str(RUNS)]
    command = [sys.executable, str(PACK / "benchmarks" / "comfyui_budgets.py"), *options]
    command += ["--work", str(tmp_path / "work"), "--out", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (row,) = json.loads(report.read_text())
    assert "failed" not in row and len(row["runs"]) == RUNS
    assert row["growth"]["rss"] < GROWTH_GIB
    assert row["cancel"]["seconds"] < 1 and row["cancel"]["next_run"] > 0
    assert len(row["switch"]) == RUNS and len(row["back"]) == RUNS - 1 and row["device"] == "cpu"
    for run in row["runs"]:
        steps = [run[stage]["step"] for stage in ("stage one", "stage two")]
        assert run["30 + 3"] == pytest.approx(30 * steps[0] + 3 * steps[1], abs=0.01)
        for stage in ("stage one", "stage two"):
            assert 0 < run[stage]["step"] < run[stage]["seconds"]
