"""What the crew makes of Ray's answers: Ray's own errors, and a stand-in for the rest."""

from types import SimpleNamespace

import pytest
from ray import exceptions

from ltx_duo.scripts.batching import ray_crew
from ltx_duo.scripts.batching.clips import Clip
from ltx_duo.scripts.batching.engine import Engine, ModelFiles
from ltx_duo.scripts.batching.faults import BatchError
from ltx_duo.scripts.batching.foreman import Lost, Ready, Refused
from ltx_duo.scripts.batching.jobs import Job
from ltx_duo.scripts.batching.media import GivenFile
from ltx_duo.scripts.batching.ray_crew import RayCrew, Room, _connect, _room

FILES = ModelFiles("a", "b", "c")


class StandIn:
    """As much of the module `ray` as the crew uses; `answer` is what each handle holds."""

    exceptions = exceptions

    def __init__(self, gpus: int = 0, starts: int = 0):
        self.answer: object = Ready("somebody")
        self.gpus, self.bad_starts, self.asked = gpus, starts, {}
        self.begun: list[dict] = []

    def remote(self, **resources):
        assert resources["max_restarts"] == 0
        self.asked = resources
        method = SimpleNamespace(remote=lambda *arguments: f"handle {arguments}")
        return lambda kind: SimpleNamespace(remote=lambda *_: SimpleNamespace(load=method, make=method))

    def cluster_resources(self):
        return {"CPU": 8.0, "GPU": float(self.gpus)} if self.gpus else {"CPU": 8.0}

    def init(self, **options):
        self.begun.append(options)
        if len(self.begun) <= self.bad_starts:
            raise Exception("The current node timed out during startup.")

    def shutdown(self):
        pass

    def put(self, value):
        return value

    def wait(self, handles, num_returns, timeout):
        return handles[:num_returns], handles[num_returns:]

    def get(self, handle):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


ERRORS = {
    "RuntimeError: CUDA error: an illegal memory access": exceptions.RayTaskError(
        "make", "Traceback ...", RuntimeError("CUDA error: an illegal memory access")
    ),
    "The actor died": exceptions.ActorDiedError(),
    "unavailable": exceptions.ActorUnavailableError("socket closed", actor_id=b"0" * 16),
    "node": exceptions.NodeDiedError("the node is gone"),
    "memory": exceptions.OutOfMemoryError("killed for memory"),
}


@pytest.mark.parametrize("said", ERRORS)
def test_whatever_breaks_an_engine_loses_it(said):
    ray = StandIn()
    crew = RayCrew(ray, FILES, Room(1, 0, 1))
    handle = crew.prepare(0)
    assert crew.result(handle) == Ready("somebody")
    ray.answer = ERRORS[said]
    with pytest.raises(Lost, match=said):
        crew.result(handle)


def test_an_engine_has_its_gpu_and_processors():
    ray = StandIn()
    RayCrew(ray, FILES, Room(2, 1, 4))
    assert (ray.asked["num_gpus"], ray.asked["num_cpus"]) == (1, 4)
    assert Engine.__module__ == "ltx_duo.scripts.batching.engine"


def test_how_many_engines_there_are(monkeypatch, capsys):
    monkeypatch.setattr(ray_crew.os, "cpu_count", lambda: 8)
    assert _room(StandIn(gpus=4), None, None, None) == Room(4, 1, 1)
    assert _room(StandIn(gpus=4), 2, 3, None) == Room(2, 1, 3)
    assert _room(StandIn(), None, None, None) == Room(1, 0, 8)
    assert _room(StandIn(), 3, None, None) == Room(3, 0, 2)
    assert _room(StandIn(), None, None, "auto") == Room(1, 0, 1)
    assert capsys.readouterr().out == ""
    with pytest.raises(BatchError, match="--actors is 5, but this machine has 4 GPUs"):
        _room(StandIn(gpus=4), 5, None, None)
    assert _room(StandIn(gpus=4), 6, None, "auto") == Room(6, 1, 1)
    assert "The cluster has 4 GPUs now: 2 of 6 engines wait for more." in capsys.readouterr().out


def test_ray_that_does_not_start_is_started_again(capsys):
    ray = StandIn(starts=2)
    _connect(ray, None, 2, 8, {})
    assert [options["address"] for options in ray.begun] == ["local"] * 3
    assert ray.begun[0]["num_cpus"] >= 16
    assert capsys.readouterr().out.count("timed out during startup.); once more") == 2
    with pytest.raises(BatchError, match="Ray does not start here: The current node timed out"):
        _connect(StandIn(starts=3), None, None, None, {})


def test_a_cluster_that_is_not_there():
    ray = StandIn(starts=1)
    with pytest.raises(BatchError, match="No Ray cluster answers at gone:6379"):
        _connect(ray, "gone:6379", None, None, {})
    assert [set(options) for options in ray.begun] == [{"address", "logging_level"}]


def test_an_engine_that_is_long_in_coming_is_told_of_once(monkeypatch, capsys):
    crew = RayCrew(StandIn(), FILES, Room(2, 0, 1))
    monkeypatch.setattr(ray_crew, "LONG_LOADING", 0.0)
    handle = crew.prepare(1)
    for _ in range(3):
        crew.wait([handle], 0.0)
    assert capsys.readouterr().out.count("engine 2 is not ready yet") == 1


def test_a_file_that_changed_is_the_jobs_fault(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(b"other")
    crew = RayCrew(StandIn(), FILES, Room(1, 0, 1))
    crew.prepare(0)
    clip = Clip("red", Job(1, "a"), (GivenFile(path, "hash of what it was"),), {}, "digest")
    answer = crew.make(0, clip)
    assert isinstance(answer, Refused)
    assert "has changed since the batch began" in answer.reason
