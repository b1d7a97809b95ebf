"""benchmarks/real_weights.py as it is started: the small model on a CPU, the vendor's pipeline beside, the page."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from ltx_duo.benchmarks import real_weights
from ltx_duo.benchmarks.real_run import compare, results, takes
from ltx_duo.benchmarks.real_run import made as made_files
from ltx_duo.benchmarks.real_run.vendor import sources
from ltx_duo.tests.parity.conftest import REFERENCE
from ltx_duo.tests.parity.whole_run.scene import BAR

PACK = Path(__file__).resolve().parents[3]
SMALL = ["--width=128", "--height=64", "--frames=9", "--steps=2", "--device=cpu"]


def run(models: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(PACK / "benchmarks" / "real_weights.py"), str(models), "--out", str(out), *options]
    return subprocess.run([*command, *SMALL], capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def made(small_model, tmp_path_factory) -> Path:
    """One prompt with two seeds, both sides."""
    out = tmp_path_factory.mktemp("real") / "out"
    done = run(
        small_model.checkpoint.parents[1], out, "--prompts=1", "--seeds=2", "--vendor", str(REFERENCE), "--keep-tensors"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def record(made) -> dict:
    return json.loads((made / "record.json").read_text())


def test_both_sides_make_the_same_films(record):
    assert [take["name"] for take in record["takes"]] == ["harbour-10", "harbour-11"]
    for take in record["takes"]:
        differences = take["differences"]
        assert all(value < BAR for name, value in differences.items() if name.endswith("largest")), differences
        assert differences["frames, largest level"] <= 1
        assert differences["frames PSNR dB"] is None or differences["frames PSNR dB"] > 50
        assert differences["sound SNR dB"] > 60
        # Version 1.0 lets stage two's sound be heard; ours is then taken from there as well.
        assert take["sides"]["vendor"]["sound_of"] == "stage two"


def test_films_of_other_seeds_are_farther_apart(record):
    (apart,) = record["other_seeds"].values()
    assert apart["stage one video, L2"] > 0.1
    assert apart["frames PSNR dB"] < 40


def test_times_and_memory_are_measured(record):
    for take in record["takes"]:
        for made in take["sides"].values():
            one, two = made["stages"]
            assert 0 < one < made["seconds"] and 0 < two < made["seconds"]
            assert made["host_gib"] > 0.2 and made["gpu_gib"] is None


def test_the_record_says_what_ran_where(record, small_model):
    assert record["versions"]["vendor"] == "1.0.0" and record["versions"]["ours"]
    assert record["machine"]["torch"] == torch.__version__
    names = {file["name"]: file["bytes"] for file in record["files"]}
    assert names[small_model.checkpoint.name] == small_model.checkpoint.stat().st_size
    assert len(names) == 4


def test_the_page_shows_what_lies_beside_it(made, record):
    page = (made / "index.html").read_text()
    assert "its stages count without it" in page  # 1.0 loads between them
    files = re.findall(r'src="([^"]+)"', page)
    assert len(files) == 2 * 3 and all((made / file).is_file() for file in files)
    for take in record["takes"]:
        assert take["prompt"][:40] in page
        with Image.open(made / take["sheet"]) as sheet:
            assert sheet.width > 1000


def test_a_side_that_fails_is_named(made, tmp_path):
    """Packages that are not there; the other side's films are shown all the same."""
    shutil.copytree(made / "ours", tmp_path / "ours")
    job = replace(takes.read_job(made / "job.json"), out=tmp_path, vendor=tmp_path)
    job.write(tmp_path / "job.json")
    why = real_weights.run_side("vendor", sys.executable, tmp_path / "job.json")
    assert "No module named 'ltx_pipelines'" in why and why in (tmp_path / "vendor.log").read_text()
    record = results.collect(job, {"vendor": why}, {"ours": "1"}, [], {"device": "", "torch": ""}, keep_tensors=False)
    assert [list(take["sides"]) for take in record["takes"]] == [["ours"], ["ours"]]
    page = (tmp_path / "index.html").read_text()
    assert 'class="failed"' in page and "ltx_pipelines" in page and "harbour-10-ours.mp4" in page
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("reason", ["files already", "ltx-2.3-22b-dev.safetensors", "multiple of 64"])
def test_what_cannot_be_run_is_refused(reason, small_model, made, tmp_path, monkeypatch, capsys):
    out = made if reason == "files already" else tmp_path / "out"
    models = tmp_path if reason.startswith("ltx") else small_model.checkpoint.parents[1]
    width = "96" if reason == "multiple of 64" else "128"
    monkeypatch.setattr(sys, "argv", ["real_weights.py", str(models), "--out", str(out), "--width", width])
    with pytest.raises(SystemExit, match="2"):
        real_weights.main()
    assert reason in capsys.readouterr().err
    assert out == made or not out.exists()


class TestComparing:
    def test_frames(self):
        black, grey = torch.zeros(20, 4, 6, 3, dtype=torch.uint8), torch.full((20, 4, 6, 3), 51, dtype=torch.uint8)
        one_off = black.clone()
        one_off[18] = 51
        assert compare.of_frames(black, grey)["frames PSNR dB"] == pytest.approx(13.979, abs=1e-3)
        found = compare.of_frames(black, one_off)
        assert found["worst frame PSNR dB"] == pytest.approx(13.979, abs=1e-3)
        assert found["frames PSNR dB"] == pytest.approx(13.979 + 13.010, abs=1e-3)
        assert found["frames, largest level"] == 51
        assert compare.of_frames(black, black)["frames PSNR dB"] is None

    def test_frames_of_newer_versions_are_floats(self):
        given = torch.tensor([-0.1, 0.0, 0.5, 0.999, 1.0, 1.2])
        assert made_files.eight_bit(given).tolist() == [0, 0, 127, 254, 255, 255]
        assert made_files.eight_bit(torch.tensor([7], dtype=torch.uint8)).tolist() == [7]

    def test_latents(self):
        reference = torch.tensor([3.0, 4.0])
        assert compare.relative(torch.tensor([3.0, 4.4]), reference) == pytest.approx((0.1, 0.08))

    def test_other_shapes_are_not_compared(self):
        with pytest.raises(ValueError, match="cannot be compared"):
            compare.relative(torch.zeros(1, 2), torch.zeros(2))


def test_packages_of_a_checkout_are_found(tmp_path):
    inside = [tmp_path / "packages" / name / "src" for name in ("ltx-core", "ltx-pipelines")]
    for folder in inside:
        folder.mkdir(parents=True)
    assert sources(tmp_path) == inside
    assert sources(tmp_path / "packages") == [tmp_path / "packages"]
