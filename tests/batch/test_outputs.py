"""The folder of the films: one writer, whole films, and an end to what was stopped at any moment."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ltx_duo.scripts.batching import manifest as manifests
from ltx_duo.scripts.batching import outputs
from ltx_duo.scripts.batching.clips import Clip
from ltx_duo.scripts.batching.faults import BatchError
from ltx_duo.scripts.batching.jobs import Job
from ltx_duo.scripts.batching.outputs import OutputFolder

from .conftest import manifest

CLIP = Clip("sea", Job(1, "the sea", seed=7), (), {"prompt": "the sea", "steps": 4}, "digest of 4")
OTHER = replace(CLIP, settings={"prompt": "the sea", "steps": 8}, digest="digest of 8")
FILM, LATER = b"a film", b"another film"


class End(BaseException):
    """Ends everything at once: nothing may catch it."""


def test_a_film_and_its_line(tmp_path):
    with OutputFolder(tmp_path / "deep" / "films") as folder:
        assert folder.standing(CLIP) == (False, None)
        folder.keep(CLIP, FILM, {"host": "here"})
        assert folder.standing(CLIP) == (True, None)
    assert (tmp_path / "deep" / "films" / "sea.mp4").read_bytes() == FILM
    (line,) = manifest(tmp_path / "deep" / "films")
    assert line["finished"].endswith("+00:00")
    assert {key: line[key] for key in ("name", "status", "seed", "file", "bytes", "host")} == {
        "name": "sea",
        "status": "done",
        "seed": 7,
        "file": "sea.mp4",
        "bytes": 6,
        "host": "here",
    }
    assert line["sha256"] == hashlib.sha256(FILM).hexdigest()
    assert (line["settings"], line["settings_sha256"]) == (CLIP.settings, CLIP.digest)


def test_what_is_there_is_found_again(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
    with OutputFolder(tmp_path) as folder:
        assert folder.standing(CLIP) == (True, None)
        assert folder.standing(replace(CLIP, name="lake")) == (False, None)


def test_a_film_that_was_deleted_is_made_again(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
        (tmp_path / "sea.mp4").unlink()
        assert folder.standing(CLIP) == (False, None)


def test_the_same_name_with_other_settings(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
        there, against = folder.standing(OTHER)
        assert not there
        assert against == "sea.mp4 was made with other settings: steps was 4, is 8"
        folder.keep(OTHER, LATER, {})
    with OutputFolder(tmp_path) as folder:
        assert folder.standing(OTHER) == (True, None)
        assert "steps was 8, is 4" in folder.standing(CLIP)[1]


@pytest.mark.parametrize("status", ["foreign", "changed", "case"])
def test_a_film_that_the_manifest_does_not_stand_for(status, tmp_path):
    with OutputFolder(tmp_path) as folder:
        if status != "foreign":
            folder.keep(CLIP, FILM, {})
        (tmp_path / "sea.mp4").write_bytes(b"something else")
        asked = replace(CLIP, name="SEA") if status == "case" else CLIP
        there, against = folder.standing(asked)
    assert not there
    expected = {"foreign": "does not know it", "changed": "not what the manifest says", "case": "in case alone"}
    assert expected[status] in against


def test_a_failed_film_is_tried_again(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.fail(CLIP, "bad image", {"attempts": 1})
    with OutputFolder(tmp_path) as folder:
        assert folder.standing(CLIP) == (False, None)
    (line,) = manifest(tmp_path)
    assert (line["status"], line["error"], line["attempts"]) == ("failed", "bad image", 1)


def test_a_failure_does_not_hide_the_film_before_it(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
        folder.fail(OTHER, "bad image", {})
        assert folder.standing(CLIP) == (True, None)


@pytest.mark.parametrize("moment", ["file written", "in the manifest", "renamed"])
@pytest.mark.parametrize("before", [False, True], ids=["first", "redo"])
@pytest.mark.parametrize("ended", [False, True], ids=["power cut", "Ctrl-C"])
def test_a_film_is_whole_or_away_whenever_all_ends(ended, moment, before, tmp_path, monkeypatch):
    with OutputFolder(tmp_path) as folder:
        if before:
            folder.keep(OTHER, FILM, {})
    place, name = {
        "file written": (manifests.Manifest, "add"),
        "in the manifest": (outputs.os, "replace"),
        "renamed": (outputs, "_sync"),
    }[moment]
    original, calls = getattr(place, name), []

    def cut(*arguments):
        calls.append(arguments)
        if moment == "renamed" and len(calls) == 1:  # the one before the manifest
            return original(*arguments)
        raise End

    folder = OutputFolder(tmp_path).__enter__()
    with monkeypatch.context() as patch, pytest.raises(End):
        patch.setattr(place, name, cut)
        folder.keep(CLIP, LATER, {})
    if ended:
        folder.__exit__()
    else:
        folder.manifest.close()
        folder.lock.release()
    if ended:
        assert not list(tmp_path.glob(".*.part"))
    with OutputFolder(tmp_path) as folder:
        kept = moment != "file written"
        assert folder.standing(CLIP)[0] is kept
        assert folder.standing(OTHER)[0] is (before and not kept)
        assert not list(tmp_path.glob(".*.part"))
    if kept or before:
        assert (tmp_path / "sea.mp4").read_bytes() == (LATER if kept else FILM)


def test_a_line_that_was_cut_off_is_taken_away(tmp_path):
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    with OutputFolder(tmp_path) as folder:
        assert folder.standing(CLIP) == (True, None)
        folder.fail(replace(CLIP, name="lake"), "bad image", {})
    assert [line["name"] for line in manifest(tmp_path)] == ["sea", "lake"]


@pytest.mark.parametrize("line", ["{}", "[1]", "not JSON", '{"name": "a", "status": "done"}'])
def test_a_manifest_of_something_else_is_refused(line, tmp_path):
    (tmp_path / "manifest.jsonl").write_text(f"{line}\n")
    with (
        pytest.raises(BatchError, match="manifest.jsonl, line 1, is not what this script writes"),
        OutputFolder(tmp_path),
    ):
        pass
    assert (tmp_path / "manifest.jsonl").read_text() == f"{line}\n"


HOLD = """
import importlib, sys
sys.path.insert(0, {scripts!r})
from small_model import load_pack
load_pack()
outputs = importlib.import_module("ltx_duo.scripts.batching.outputs")
from pathlib import Path
with outputs.OutputFolder(Path({folder!r})):
    print("holding", flush=True)
    sys.stdin.read()
"""


def test_two_batches_do_not_write_to_one_folder(tmp_path):
    from ltx_duo.scripts.demo.server import PACK

    code = HOLD.format(scripts=str(PACK / "scripts"), folder=str(tmp_path))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(BatchError, match="Another batch writes to"), OutputFolder(tmp_path):
            pass
        holder.kill()  # whoever is gone holds nothing
    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BatchError, match="Nothing can be written to"), OutputFolder(tmp_path / "file" / "films"):
        pass


def test_a_full_disk_ends_the_batch_and_leaves_what_is_made(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with OutputFolder(tmp_path) as folder:
        folder.keep(CLIP, FILM, {})
        with monkeypatch.context() as patch, pytest.raises(BatchError, match="No space left.*what is made stays"):
            patch.setattr(outputs.os, "fsync", full)
            folder.keep(replace(CLIP, name="lake"), LATER, {})
    with OutputFolder(tmp_path) as folder:
        assert sorted(os.listdir(tmp_path)) == [".batch.lock", "manifest.jsonl", "sea.mp4"]
        assert folder.standing(CLIP) == (True, None)


def test_lines_are_json_that_any_tool_reads(tmp_path):
    strange = replace(CLIP, settings={"prompt": "Ünïcode 星\n\u2028"})
    with OutputFolder(tmp_path) as folder:
        folder.keep(strange, FILM, {})
        folder.keep(replace(CLIP, name="lake"), FILM, {})
    lines = (tmp_path / "manifest.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["name"] for line in lines if line] == ["sea", "lake"]
