"""Our nodes inside a real ComfyUI: together with its native LTX-2 nodes, and with its LoRA patches and fp8 files.

The measuring is done by tests/nodes/trees/check_*.py, which tests/nodes runs with all others.  Their figures join the
table where it is written: without --write-table this file is left out (see conftest.py).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREE = ROOT / ".local" / "comfyui-0.30.0"
CHECKS = ("check_native_nodes.py", "check_lora_ranks.py", "check_fp8_files.py")


@pytest.fixture
def measured_rows(tmp_path) -> list:
    """[what, reference, error, tolerance] of every comparison in the checks, which must all pass."""
    models = tmp_path / "models"
    script = [str(ROOT / "scripts" / "small_model.py"), str(models), "--tokenizer", str(ROOT / ".local" / "tokenizer")]
    subprocess.run([sys.executable, *script], check=True)
    rows = tmp_path / "rows.jsonl"
    environment = {
        **os.environ,
        "LTXDUO_COMFYUI_TREE": str(TREE),
        "LTXDUO_BASE_DIRECTORY": str(tmp_path),
        "LTXDUO_PARITY_ROWS": str(rows),
    }
    checks = [str(ROOT / "tests" / "nodes" / "trees" / name) for name in CHECKS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *checks]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    return [json.loads(line) for line in rows.read_text().splitlines()]


def test_nodes_in_comfyui(measured_rows, parity):
    for what, reference, error, tolerance in measured_rows:
        parity.add(what, reference, error, tolerance)
