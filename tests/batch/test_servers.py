"""The script on servers that die, come back, refuse and forget: stand-ins with ComfyUI's HTTP interface."""

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ltx_duo.scripts.batching import command, foreman, server_crew
from ltx_duo.tests.servers import write_tone

from .conftest import films, manifest, small_jobs, write_jobs
from .fake_comfyui import FILM, FakeComfyUI


@pytest.fixture
def fake() -> Callable[..., FakeComfyUI]:
    made = []

    def start(*arguments, **options) -> FakeComfyUI:
        made.append(FakeComfyUI(*arguments, **options))
        return made[-1]

    yield start
    for server in made:
        server.die()


@pytest.fixture
def batch(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process, with little patience; its exit code and what it printed."""
    monkeypatch.setattr(server_crew, "LOOK", 0.02)
    monkeypatch.setattr(foreman.Patience, "__init__", _impatient(foreman.Patience.__init__))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)

    def run(jobs: list[dict], *servers: FakeComfyUI, options: tuple[str, ...] = ()) -> tuple[int, str]:
        path = write_jobs(tmp_path / "jobs.jsonl", jobs)
        addresses = [server.address for server in servers]
        code = command.main([str(path), "--out", str(tmp_path / "films"), *options, "--servers", *addresses])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def _impatient(original):
    return lambda self, **options: original(self, **{"pause": 0.2, **options})


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "films"


def all_made(out: Path, jobs: list[dict]) -> None:
    assert films(out) == [f"{job['name']}.mp4" for job in jobs]
    for job in jobs:
        assert (out / f"{job['name']}.mp4").read_bytes() == FILM + str(job["seed"]).encode()
    assert sorted(line["name"] for line in manifest(out)) == [job["name"] for job in jobs]
    assert {line["status"] for line in manifest(out)} == {"done"}


def test_two_servers_share_a_list(fake, batch, out):
    servers, jobs = [fake(), fake()], small_jobs(12)
    code, said = batch(jobs, *servers)
    assert code == 0, said
    all_made(out, jobs)
    assert sorted(servers[0].made + servers[1].made) == list(range(12))
    assert min(len(server.made) for server in servers) >= 2
    line = manifest(out)[0]
    assert (line["device"], line["comfyui"], line["said"]) == ("fake GPU", "fake", ["30 steps"])
    assert line["server"] in {f"http://{server.address}" for server in servers}
    assert "workflow" in line["settings"]["made_with"]
    code, said = batch(jobs, *servers)
    assert code == 0
    assert "12 are there, 0 to make" in said


def test_a_server_that_dies_leaves_its_films_to_the_other(fake, batch, out):
    weak, jobs = fake(), small_jobs(10)
    weak.dies_after = 2
    code, said = batch(jobs, weak, fake())
    assert code == 0, said
    assert "server 1 was lost" in said
    assert "is made again" in said
    all_made(out, jobs)


def test_a_server_that_comes_back_goes_on(fake, batch, out):
    server, jobs = fake(), small_jobs(6)
    server.dies_after = 3

    def come_back():
        while server.httpd.socket.fileno() != -1:
            time.sleep(0.01)
        server.dies_after = None
        server.revive()

    threading.Thread(target=come_back, daemon=True).start()
    code, said = batch(jobs, server)
    assert code == 0, said
    assert said.count("server 1 is ready") == 2
    all_made(out, jobs)


def test_when_all_are_dead_the_rest_is_listed(fake, batch, out):
    servers, jobs = [fake(), fake()], small_jobs(8)
    for server in servers:
        server.dies_after = 2
    code, said = batch(jobs, *servers)
    assert code == 1
    assert len(films(out)) == 4
    assert "4 made" in said
    assert "4 left" in said
    assert said.count("  left: film-0") == 4


def test_a_server_that_was_never_there_is_said(fake, batch, out):
    gone = fake()
    gone.die()
    code, said = batch(small_jobs(3), gone, fake())
    assert code == 0, said
    assert "server 1 was lost: http://127.0.0.1" in said


def test_a_server_without_the_nodes_is_not_used(fake, batch, out):
    code, said = batch(small_jobs(3), fake(nodes=("SaveVideo",)), fake())
    assert code == 0
    assert "server 1 cannot be used" in said
    assert "install LTX Duo there" in said
    code, said = batch(small_jobs(4), fake(nodes=()))
    assert code == 1
    assert "1 left" in said


ERRORS = {
    "refused": ("LTXDuoTextEncode: no, not this one", {}),
    "LTXError": ("the sky is down", {1: ("ltx_duo.ltx_core.errors.LTXError", "the sky is down")}),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_a_job_that_is_wrong_fails_alone_and_once(kind, fake, batch, out):
    text, ends = ERRORS[kind]
    jobs = small_jobs(4)
    if kind == "refused":
        jobs[1]["prompt"] = "refuse me"
    server = fake(ends)
    code, said = batch(jobs, server)
    assert code == 1
    assert "3 made" in said
    assert "1 failed" in said
    assert f"{text}" in said
    (line,) = [line for line in manifest(out) if line["status"] == "failed"]
    assert (line["name"], line["attempts"]) == ("film-01", 1)
    assert text in line["error"]
    assert films(out) == ["film-00.mp4", "film-02.mp4", "film-03.mp4"]
    jobs[1]["prompt"], server.ends = "a good one", {}
    code, said = batch(jobs, server)
    assert code == 0
    assert [line["status"] for line in manifest(out)].count("done") == 4


@pytest.mark.parametrize("end", [("torch.OutOfMemoryError", "Allocation on device"), "interrupted", "forgotten"])
def test_what_another_server_may_do_better_goes_there(end, fake, batch, out):
    small, jobs = fake(dict.fromkeys(range(5), end)), small_jobs(5)
    code, said = batch(jobs, small, fake())
    assert code == 0, said
    all_made(out, jobs)
    assert small.made == []
    assert max(line["attempts"] for line in manifest(out)) == 2


def test_images_and_sounds_travel_to_the_server(fake, batch, out, tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    write_tone(tmp_path / "tone.wav")
    job = {**small_jobs(1)[0], "image": "red.png", "sound": "tone.wav"}
    server = fake()
    code, said = batch([job], server)
    assert code == 0, said
    assert sorted(name.rpartition(".")[2] for name in server.uploaded) == ["png", "wav"]
    assert set(server.uploaded.values()) == {(tmp_path / name).read_bytes() for name in ("red.png", "tone.wav")}


def test_all_faults_come_before_anything_starts(fake, batch, out):
    jobs = small_jobs(3)
    jobs[0]["width"] = 100
    jobs[2]["set"] = {"Nothing.a": 1}
    server = fake()
    code, said = batch(jobs, server)
    assert code == 1
    assert "line 1: This video size cannot be made: width is 100" in said
    assert "line 3: set has 'Nothing.a'" in said
    assert server.made == []
    assert not out.exists()


def test_a_film_of_other_settings_is_made_anew_only_when_told(fake, batch, out):
    jobs, server = small_jobs(2), fake()
    assert batch(jobs, server)[0] == 0
    jobs[1]["steps"] = 7
    code, said = batch(jobs, server)
    assert code == 1
    assert (
        "line 2: film-01.mp4 was made with other settings: steps was 1, is 7; or give it another name, or --redo"
        in said
    )
    code, said = batch(jobs, server, options=("--redo",))
    assert code == 0
    assert "1 are there, 1 to make" in said
    assert server.made == [0, 1, 1]
    assert [line["settings"]["steps"] for line in manifest(out)] == [1, 1, 7]


def test_a_server_is_given_once(fake, batch):
    server = fake()
    code, said = batch(small_jobs(1), server, server)
    assert code == 1
    assert "twice" in said


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_batch_takes_back_what_runs(number, fake, start_batch, out, tmp_path):
    server, jobs = fake({2: "never"}), small_jobs(4)
    process = start_batch(write_jobs(tmp_path / "jobs.jsonl", jobs), "--out", out, "--servers", server.address)
    for _ in range(4):  # the head, ready, two films
        process.stdout.readline()
    while not server.waiting:
        time.sleep(0.02)
    (running,) = server.waiting
    process.send_signal(number)
    since = time.monotonic()
    said = process.stdout.read()
    assert process.wait() == 130, said
    assert time.monotonic() - since < 10
    assert "the same command goes on" in said
    assert server.cancelled == [running]
    assert not server.waiting
    assert films(out) == ["film-00.mp4", "film-01.mp4"]
    assert json.loads((out / "manifest.jsonl").read_text().splitlines()[-1])["name"] == "film-01"
