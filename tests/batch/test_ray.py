"""The script on Ray, on this machine: engines that are killed, a batch that is stopped, and what is left to do then."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from ltx_duo.scripts.batching.jobs import read_jobs
from ltx_duo.scripts.batching.ray_crew import STARTS
from ltx_duo.scripts.demo import media

from .conftest import films, manifest, small_jobs, write_jobs

JOBS = 20
HEAD = {"num_cpus": 1, "include_dashboard": False}
CLUSTER_STARTS = 2 * STARTS  # this one starts beside all other tests


def read_until(process: subprocess.Popen, count: int, text: str) -> list[str]:
    """Lines of the script up to the one that has `text` for the `count`th time."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        count -= text in line
        if count == 0:
            return lines
    raise AssertionError("".join(lines))


def family(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def engines_of(process: subprocess.Popen) -> list[psutil.Process]:
    return [child for child in family(process) if "ray::Engine" in " ".join(child.cmdline())]


def pictures(film: bytes, folder: Path) -> list[bytes]:
    """What is seen in a film; its bytes may depend on the encoder's threads."""
    (folder / "looked-at.mp4").write_bytes(film)
    return [frame.tobytes() for frame in media.read_frames(folder / "looked-at.mp4")]


def all_ended(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


def started_cluster() -> Cluster:
    """On a busy machine Ray may give up a start: its parts have 15 s each."""
    for _ in range(CLUSTER_STARTS - 1):
        with suppress(Exception):
            return Cluster(initialize_head=True, head_node_args=HEAD)
    return Cluster(initialize_head=True, head_node_args=HEAD)


@contextmanager
def cluster() -> Iterator[str]:
    """The address of a Ray cluster that other people started, of one machine."""
    own = started_cluster()
    try:
        yield own.address
    finally:
        own.shutdown()


@pytest.mark.timeout(900)
def test_nothing_is_lost_and_nothing_made_twice(start_batch, model_options, engine, tmp_path):
    """An engine is killed in the middle of a film, then the batch is stopped; the rest is made on a cluster."""
    listed = [{**job, "guidance": "none"} for job in small_jobs(JOBS)]
    out, path = tmp_path / "films", write_jobs(tmp_path / "jobs.jsonl", listed)
    command = (path, "--out", out, "--threads", 1, *model_options)

    process = start_batch(*command, "--actors", 2)
    lines = read_until(process, 3, ".mp4:")
    killed = engines_of(process)[0]
    killed.kill()
    lines += read_until(process, 5, ".mp4:")
    (lost,) = [line for line in lines if "was lost" in line]
    assert "is made again" in lost
    everybody = family(process)
    process.send_signal(signal.SIGINT)
    since = time.monotonic()
    lines += process.stdout.readlines()
    assert process.wait() == 130, "".join(lines)
    assert time.monotonic() - since < 20
    assert "the same command goes on" in lines[-1]
    assert all_ended(everybody)
    made = films(out)
    assert 8 <= len(made) < JOBS
    assert {path.name for path in out.iterdir()} == {*made, "manifest.jsonl", ".batch.lock"}
    before = {name: (out / name).stat().st_mtime_ns for name in made}

    with cluster() as address:
        process = start_batch(*command, "--actors", 1, "--address", address)
        lines = process.stdout.readlines()
        assert process.wait() == 0, "".join(lines)
    assert f"{JOBS} films: {len(made)} are there, {JOBS - len(made)} to make" in lines[0]
    assert films(out) == [f"{job['name']}.mp4" for job in listed]
    assert {name: (out / name).stat().st_mtime_ns for name in made} == before
    entries = manifest(out)
    assert sorted(entry["name"] for entry in entries) == [job["name"] for job in listed]
    assert {entry["status"] for entry in entries} == {"done"}
    assert max(entry["attempts"] for entry in entries) == 2
    assert [entry["seed"] for entry in sorted(entries, key=lambda entry: entry["name"])] == list(range(JOBS))

    lost_once = next(entry for entry in entries if entry["attempts"] == 2)
    for entry in (lost_once, entries[0], entries[-1]):  # of different engines, and of both runs
        (job,) = [job for job in read_jobs(path) if job.name == entry["name"]]
        alone = engine.make(replace(job, fps=24.0), [])
        assert pictures(alone.film, tmp_path) == pictures((out / entry["file"]).read_bytes(), tmp_path)
