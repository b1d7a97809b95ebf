"""docs/thousands-of-clips.md: its lists are good ones, its commands have options that exist, its arithmetic adds up."""

import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.scripts.batching import command, prompts, requests
from ltx_duo.scripts.batching.clips import settle
from ltx_duo.scripts.batching.jobs import _KEYS, GUIDANCE_SCALES, read_jobs
from ltx_duo.scripts.demo.server import PACK
from ltx_duo.tests.servers import write_tone

PAGE = (PACK / "docs" / "thousands-of-clips.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
LISTS = [text for kind, text in BLOCKS if kind == "json"]
COMMANDS = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]


@pytest.mark.parametrize("number", range(len(LISTS)))
def test_lists_are_good(number, tmp_path):
    for name in ("first.png", "last.png", "studio.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    write_tone(tmp_path / "speech.wav", seconds=3.0)
    path = tmp_path / "jobs.jsonl"
    path.write_text(LISTS[number])
    workflow = prompts.read_workflow(command.WORKFLOW)

    def check(job, sound):
        requests.check(job, variant_of(Kind.DEV), sound)
        prompts.filled(workflow, job, ["file"] * (len(job.images) + (sound is not None)), "film")

    assert len(settle(read_jobs(path), requests.DEFAULTS, {}, check)) == len(LISTS[number].splitlines())


def test_every_key_is_told():
    told = set(re.findall(r"`(\w+)`", PAGE))
    audio = {scale for scale in GUIDANCE_SCALES if scale.startswith("audio_")}  # "the same with audio_"
    assert _KEYS.keys() | set(GUIDANCE_SCALES) - audio | {"stg_blocks", "skip_step", "reuse"} <= told


def test_every_option_is_told():
    (parsed,) = [command.parse_arguments(["jobs.jsonl", "--out", "films"])]
    options = {f"--{name.replace('_', '-')}" for name in vars(parsed)} - {"--jobs"}
    assert options <= set(re.findall(r"--[a-z-]+", PAGE))


def test_commands_are_ones_that_the_script_takes():
    calls = [line for line in COMMANDS if "scripts/batch.py" in line]
    assert len(calls) >= 5
    for line in calls:
        words = shlex.split(line)
        command.parse_arguments(words[words.index("scripts/batch.py") + 1 :])


def test_the_list_of_seeds_is_a_list(tmp_path):
    (line,) = [line for line in COMMANDS if line.startswith("python -c")]
    path = tmp_path / "jobs.jsonl"
    with path.open("wb") as file:
        subprocess.run([sys.executable, "-c", shlex.split(line)[2]], stdout=file, check=True)
    assert [job.seed for job in read_jobs(path)] == list(range(1000))


def test_the_tables_add_up():
    rows = dict(re.findall(r"^\| ([^|]+) \| (?:\*\*)?([\d.]+)(?: \(64\))?(?:\*\*)? \|", PAGE, re.MULTILINE))
    steps = [float(value) for name, value in rows.items() if any(word in name for word in ("steps of", "decode,"))]
    assert steps == [38.7, 1.0]
    film = [rows[name] for name in rows if name.startswith(("30 + 3", "decode,", "prompt and", "LoRA laid", "H.264"))]
    assert sum(map(float, film)) == pytest.approx(float(rows["**a film of 5 s**"]), abs=0.1)
    files = [rows[name] for name in rows if name.startswith(("checkpoint", "distilled LoRA", "upsampler", "Gemma,"))]
    assert sum(map(float, files)) == pytest.approx(float(rows["**a machine**"]), abs=0.5)
