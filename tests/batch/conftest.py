"""Lists of jobs, and the small trained model that makes their films."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ltx_duo.scripts.batching.engine import Engine, ModelFiles
from ltx_duo.scripts.batching.foreman import Ready
from ltx_duo.scripts.demo import models
from ltx_duo.scripts.demo.server import PACK

SMALL = {"width": 128, "height": 128, "frames": 9, "steps": 1}
COLOURS = ("red", "green", "blue", "yellow")


def write_jobs(path: Path, jobs: list[dict]) -> Path:
    path.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    return path


def small_jobs(count: int) -> list[dict]:
    """Jobs of a second each, with names of their own."""
    return [
        {"name": f"film-{seed:02}", "prompt": f"a {COLOURS[seed % 4]} star moving to the left", "seed": seed, **SMALL}
        for seed in range(count)
    ]


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def films(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.mp4"))


@pytest.fixture(scope="session")
def trained() -> dict[str, Path]:
    return models.trained()


@pytest.fixture(scope="session")
def model_files(trained) -> ModelFiles:
    loras = ((str(trained["distilled LoRA"]), 0.0, 1.0),)
    return ModelFiles(str(trained["checkpoint"]), str(trained["text encoder"]), str(trained["upsampler"]), loras)


@pytest.fixture(scope="session")
def model_options(model_files) -> list[str]:
    named = {"checkpoint": model_files.checkpoint, "gemma": model_files.gemma, "upsampler": model_files.upsampler}
    named["distilled-lora"] = model_files.loras[0][0]
    return [word for name, path in named.items() for word in (f"--{name}", path)]


@pytest.fixture(scope="session")
def engine(model_files) -> Engine:
    """One in this process."""
    one = Engine(model_files, torch.get_num_threads())
    loaded = one.load()
    assert isinstance(loaded, Ready), loaded
    assert loaded.facts["models"]["ltx-2.3-demo-dev.safetensors"] > 30e6
    assert loaded.facts["dtype"] == ("bfloat16" if torch.cuda.is_available() else "float32")
    return one


@pytest.fixture
def start_batch() -> Callable[..., subprocess.Popen]:
    """Starts scripts/batch.py, deaf to SIGINT as in the background of a shell script; ends what is left of it."""
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, PACK / "scripts" / "batch.py", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
