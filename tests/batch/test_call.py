"""The command's options, and what it says before it starts anything."""

import sys
from pathlib import Path

import pytest

from ltx_duo.scripts.batching import command, ray_crew
from ltx_duo.scripts.batching.command import model_files, parse_arguments
from ltx_duo.scripts.batching.faults import BatchError
from ltx_duo.scripts.demo import models
from ltx_duo.scripts.demo.server import GEMMA_270M

from .conftest import small_jobs, write_jobs

WHERE = ["jobs.jsonl", "--out", "films"]


def test_a_folder_with_all_models(trained):
    files = model_files(parse_arguments([*WHERE, "--models", str(models.TRAINED), "--gemma", str(GEMMA_270M)]))
    assert files.checkpoint == str(trained["checkpoint"])
    assert files.loras == ((str(trained["distilled LoRA"]), 0.0, 1.0),)
    assert files.dtype is None


def test_more_loras(model_options, model_files):
    said = parse_arguments([*WHERE, *model_options, "--lora", model_files.gemma, "0.5", "-1", "--dtype", "float32"])
    files = command.model_files(said)
    assert files.loras[1:] == ((model_files.gemma, 0.5, -1.0),)
    assert files.names()["loras"][1] == ["gemma-3-270m", 0.5, -1.0]
    assert files.dtype == "float32"


FOR_ENGINES = [
    ["--models", "a"],
    ["--checkpoint", "a"],
    ["--gemma", "a"],
    ["--upsampler", "a"],
    ["--lora", "a", "1", "1"],
]
FOR_ENGINES += [["--distilled-lora", "a"], ["--dtype", "float32"], ["--actors", "1"], ["--threads", "1"]]
FOR_ENGINES += [["--address", "auto"]]


@pytest.mark.parametrize("option", FOR_ENGINES, ids=lambda option: option[0])
def test_options_of_engines_are_not_for_servers(option, capsys):
    with pytest.raises(SystemExit):
        parse_arguments([*WHERE, *option, "--servers", "a:8188"])
    assert f"{option[0]}: not with --servers" in capsys.readouterr().err


def test_options_of_servers_are_not_for_engines(capsys):
    with pytest.raises(SystemExit):
        parse_arguments([*WHERE, "--models", "a", "--workflow", "b"])
    assert "--workflow: not without --servers" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_numbers_of_engines(number, capsys):
    with pytest.raises(SystemExit):
        parse_arguments([*WHERE, "--models", "a", f"--actors={number}"])
    assert "no whole number from 1 on" in capsys.readouterr().err


MISSING = {
    "--checkpoint, --gemma, --upsampler not given": [],
    "--upsampler not given": ["--checkpoint", "a", "--gemma", "b"],
    "--distilled-lora not given": ["--checkpoint", "a", "--gemma", "b", "--upsampler", "c"],
    "a, b, c is not there": ["--checkpoint", "a", "--gemma", "b", "--upsampler", "c", "--distilled-lora", "/"],
    "nowhere is no folder": ["--models", "nowhere"],
    "lacks (subfolders were searched too)": ["--models", str(Path(__file__).parent)],
    "--lora has the strength much": [
        *["--checkpoint", "/", "--gemma", "/", "--upsampler", "/", "--distilled-lora", "/"],
        *["--lora", "/", "1", "much"],
    ],
    "a distilled one needs none": [
        *["--checkpoint", "ltx-2.3-distilled.safetensors", "--gemma", "/", "--upsampler", "/"],
        *["--distilled-lora", "/"],
    ],
}


@pytest.mark.parametrize("said", MISSING)
def test_model_files_that_are_missing(said):
    with pytest.raises(BatchError) as raised:
        model_files(parse_arguments([*WHERE, *MISSING[said]]))
    assert said in str(raised.value)


def test_the_machines_of_a_cluster_look_for_themselves():
    options = [*MISSING["a, b, c is not there"], "--address", "auto"]
    assert model_files(parse_arguments([*WHERE, *options])).checkpoint == "a"


def test_a_distilled_checkpoint_needs_no_lora():
    files = ["--checkpoint", "ltx-2.3-distilled.safetensors", "--gemma", "/", "--upsampler", "/", "--address", "auto"]
    assert model_files(parse_arguments([*WHERE, *files])).loras == ()


def test_without_ray_one_sentence_says_what_to_install(model_options, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    jobs = write_jobs(tmp_path / "jobs.jsonl", small_jobs(1))
    assert command.main([str(jobs), "--out", str(tmp_path / "films"), *model_options]) == 1
    assert capsys.readouterr().err == f"{ray_crew.NO_RAY}\n"


def test_a_job_for_servers_is_not_for_engines(model_options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"prompt": "a", "set": {"LTXDuoAVDecode.tiling": "off"}}])
    assert command.main([str(jobs), "--out", str(tmp_path / "films"), *model_options]) == 1
    assert "line 1: set is for --servers" in capsys.readouterr().err
    assert not (tmp_path / "films").exists()
