"""scripts/generate.py as a user starts it, with the small trained model, and as docs/library.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltx_duo.scripts.small_model_parts.sizes import ltx_2_5
from ltx_duo.scripts.small_model_parts.write_split import split_files, write_split_files

PACK = Path(__file__).resolve().parent.parent
EXAMPLE = PACK / "scripts" / "generate.py"
FILES = PACK / "demo_model" / "files"
GEMMA = PACK / ".local" / "gemma-3-270m"
MODEL = [
    FILES / "checkpoints" / "ltx-2.3-demo-dev.safetensors",
    GEMMA,
    FILES / "latent_upscale_models" / "ltx-2.3-demo-spatial-upscaler-x2.safetensors",
    FILES / "loras" / "ltx-2.3-demo-distilled-lora.safetensors",
]
SETTINGS = {"width": 192, "height": 128, "frames": 17, "steps": 4, "seed": 3}


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, EXAMPLE.relative_to(PACK), *arguments]
    return subprocess.run(list(map(str, command)), cwd=PACK, capture_output=True, text=True)


def test_a_prompt_becomes_a_film_with_sound(tmp_path):
    from ltx_duo.scripts.demo import media

    film = tmp_path / "film.mp4"
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    done = run(*MODEL, "A large red circle moves to the right.", film, *settings)
    assert done.returncode == 0, done.stderr
    info = media.probe(film)
    assert (info.width, info.height, info.frames, info.fps) == (192, 128, 17, 24.0)
    assert (info.video_codec, info.audio_codec, info.sample_rate, info.channels) == ("h264", "aac", 48000, 2)
    assert info.sound_seconds == pytest.approx(17 / 24, abs=0.1)
    sound, _ = media.read_sound(film)
    assert abs(sound).max() > 0.01
    frames = [frame.convert("L").getextrema() for frame in media.read_frames(film)]
    assert all(bright - dark > 30 for dark, bright in frames)


def test_a_distilled_model_in_parts(tmp_path):
    from ltx_duo.scripts.demo import media

    write_split_files(tmp_path, ltx_2_5(), PACK / ".local" / "tokenizer")
    files = split_files("ltx-2.5-small").below(tmp_path)
    model = files.transformer.rename(files.transformer.with_name("ltx-2.5-small-distilled-transformer.safetensors"))
    own = [model, files.text_encoder, files.upsampler, "-"]
    film = tmp_path / "film.mp4"
    size = ["--width=128", "--height=64", "--frames=9"]
    done = run(*own, "A fox.", film, *size, "--parts", files.video_vae, files.audio_vae)
    assert done.returncode == 0, done.stderr
    info = media.probe(film)
    assert (info.width, info.height, info.frames, info.sample_rate) == (128, 64, 9, 48000)
    lacking = run(*own, "A fox.", tmp_path / "none.mp4", *size, "--parts", files.video_vae)
    assert lacking.returncode and "has no audio VAE decoder" in lacking.stderr


def test_the_example_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 25


def test_the_library_page_shows_the_example():
    blocks = re.findall(r"```python\n(.*?)```", (PACK / "docs" / "library.md").read_text(encoding="utf-8"), re.DOTALL)
    assert EXAMPLE.read_text(encoding="utf-8") in blocks


@pytest.mark.parametrize("folder", ["example", "examples", "example_workflows", "workflow"])
def test_comfyui_finds_the_templates_in_one_folder(folder):
    """It serves the first folder of these names, so that another one hides the pictures of `workflows`."""
    assert not (PACK / folder).exists()
