"""Makes a video from an image and a prompt with a ComfyUI of its own; the last line printed is JSON.

Without --models it uses a small model with random weights: the whole way is real, the picture is not.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import media, models, photo
from .client import Client, ExecutionFailed, PromptRejected, Run, set_inputs
from .server import LOCAL, PACK, ComfyServer, ServerError, make_base

WORKFLOW = PACK / "workflows" / "api" / "image-to-video.api.json"
SMALL_MODEL_SIZE = {"width": 256, "height": 256, "frames": 25, "steps": 4}
PHASES = {
    "LoadImage": "image",
    "LTXDuoImageCondition": "image",
    "LTXDuoTextEncode": "text",
    "LTXDuoStageOneSampler": "stage one",
    "LTXDuoLatentUpsampler": "upsample",
    "LTXDuoStageTwoSampler": "stage two",
    "LTXDuoAVDecode": "decode",
    "SaveVideo": "save",
}
LOADING = "open files"
WORTH_A_LINE = 0.05


class DemoError(RuntimeError):
    """Something that the user can mend, in plain words."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--prompt", help="what to see and hear (default: the workflow's)")
    parser.add_argument("--image", type=Path, help="the first frame (default: a drawn mountain lake)")
    parser.add_argument(
        "--out", type=Path, default=LOCAL / "demo", help="an .mp4 file or a folder (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, help="steps of stage one")
    parser.add_argument("--width", type=int, help="final width, a multiple of 64")
    parser.add_argument("--height", type=int, help="final height, a multiple of 64")
    parser.add_argument("--frames", type=int, help="8n+1")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--models", type=Path, help="folder that holds the real LTX-2.3 files, e.g. ComfyUI/models")
    return parser.parse_args()


class Clock:
    """Seconds per phase, printed as each phase ends."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    def add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + seconds, 2)
        if seconds >= WORTH_A_LINE:
            print(f"{phase:<14}{seconds:8.1f} s", flush=True)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.add(name, time.monotonic() - start)


class Progress:
    """Follows a run: prints every phase as it ends and, on a terminal, how far it is."""

    def __init__(self, prompt: dict, clock: Clock):
        self.phase_of = {node: PHASES.get(entry["class_type"], LOADING) for node, entry in prompt.items()}
        self.clock = clock
        self.phase: str | None = None
        self.since = 0.0

    def __call__(self, node: str, run: Run) -> None:
        phase = self.phase_of[node]
        if phase != self.phase:
            self.end_phase()
            self.phase, self.since = phase, time.monotonic()
        if node in run.progress and sys.stdout.isatty():
            print(f"{phase:<14}{run.progress[node]:8.0%}", end="\r", flush=True)

    def end_phase(self) -> None:
        if self.phase is not None:
            self.clock.add(self.phase, time.monotonic() - self.since)


def fill_workflow(options: argparse.Namespace, found: dict[str, Path], base: Path) -> dict:
    """The image-to-video workflow with the chosen files and values, and the image in ComfyUI's input folder."""
    prompt = json.loads(WORKFLOW.read_text())
    models.choose(prompt, found)
    defaults = {} if options.models else SMALL_MODEL_SIZE
    wanted = {name: getattr(options, name) for name in ("width", "height", "frames", "steps", "seed")}
    sampling = {**defaults, **{name: value for name, value in wanted.items() if value is not None}}
    set_inputs(prompt, "LTXDuoStageOneSampler", **sampling)
    if options.prompt is not None:
        set_inputs(prompt, "LTXDuoTextEncode", prompt=options.prompt)
    image = base / "input" / ("demo" + (options.image.suffix if options.image else ".png"))
    if options.image:
        if not options.image.is_file():
            raise DemoError(f"{options.image} is not there")
        shutil.copyfile(options.image, image)
    else:
        photo.draw(image)
    set_inputs(prompt, "LoadImage", image=image.name)
    return prompt


def check(info: media.MediaInfo, prompt: dict) -> None:
    """DemoError unless the video is what the workflow asked for."""
    asked = next(node["inputs"] for node in prompt.values() if node["class_type"] == "LTXDuoStageOneSampler")
    expected = ("h264", "aac", 48000, asked["width"], asked["height"], asked["frames"])
    found = (info.video_codec, info.audio_codec, info.sample_rate, info.width, info.height, info.frames)
    if found != expected:
        raise DemoError(f"the video has (codecs, Hz, width, height, frames) {found}, expected {expected}")


def make_video(options: argparse.Namespace) -> dict:
    """Runs the whole job; returns what the last line shows."""
    clock = Clock()
    clock.add("set-up", float(os.environ.get("LTXDUO_SETUP_SECONDS", 0)))
    target = options.out if options.out.suffix == ".mp4" else options.out / "ltx-duo.mp4"
    target = target.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot write to {target.parent}: {error.strerror} (--out chooses another place)") from None
    base = make_base(LOCAL / "demo" / "comfyui")
    if options.models:
        found = models.find(options.models)
    else:
        with clock.phase("small model"):
            found = models.find(models.write_small_model(LOCAL / "demo" / "small-model"))
    models.link(found, base / "models")
    prompt = fill_workflow(options, found, base)

    start = time.monotonic()
    with ComfyServer(base) as server:
        clock.add("server start", time.monotonic() - start)
        client = Client(server.url, server.check_alive)
        progress = Progress(prompt, clock)
        run = client.run(prompt, progress)
        progress.end_phase()
        client.fetch(run.files()[0], target)

    with clock.phase("look at it"):
        info = media.probe(target)
        check(info, prompt)
        sheet = media.contact_sheet(target, target.with_name(target.stem + "-frames.png"))
    return {
        "path": str(target),
        "frames": info.frames,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "sound_seconds": round(info.sound_seconds, 3),
        "contact_sheet": str(sheet),
        "seconds": clock.seconds,
        "total_seconds": round(sum(clock.seconds.values()), 1),
    }


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped on the way out
    try:
        result = make_video(options)
    except (DemoError, ServerError, models.ModelsMissing, PromptRejected, ExecutionFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
