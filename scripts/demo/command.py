"""Makes a video with sound from a prompt, and an image if you like, with a ComfyUI of its own.

Without --models it uses the small trained model, which knows circles, squares, triangles and stars in eight colours
that move, bounce, grow or rotate, and a tone for each shape.  The last line printed is JSON.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import gallery, media, models, prompts
from .client import Client, ExecutionFailed, PromptRejected
from .progress import Clock, Progress
from .server import LOCAL, ComfyServer, ServerError, make_base

PROMPT = "a red star moving to the left, high tone"
SIZE = {"width": 256, "height": 256, "frames": 33}
LTX_2_0 = ("ltx-2-19b", "ltx-2.0")  # how its files begin
RATE, RATE_2_0 = 48000, 24000  # of the sound
SAMPLING = ("width", "height", "frames", "steps", "seed")


class DemoError(RuntimeError):
    """Something that the user can mend, in plain words."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--prompt", help=f"what to see and hear (default: {PROMPT}; with --models the workflow's)")
    parser.add_argument("--image", type=Path, help="the first frame (default: none, the prompt alone)")
    parser.add_argument(
        "--out", type=Path, default=LOCAL / "demo", help="an .mp4 file or a folder (default: %(default)s)"
    )
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="instead: twelve films and three pictures, in DIR")
    parser.add_argument("--steps", type=int, help="steps of stage one")
    parser.add_argument("--width", type=int, help="final width, a multiple of 64")
    parser.add_argument("--height", type=int, help="final height, a multiple of 64")
    parser.add_argument("--frames", type=int, help="8n+1")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--models",
        type=Path,
        help="folder that holds the real files, e.g. ComfyUI/models: of LTX-2.3, else of LTX-2.5, else of LTX-2.0",
    )
    options = parser.parse_args()
    if options.gallery and (options.prompt is not None or options.image or options.models):
        parser.error("--gallery shows what the small model makes of its own prompts: no --prompt, --image or --models")
    return options


def make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot write to {folder}: {error.strerror} (choose another place)") from None
    return folder.resolve()


@dataclass(frozen=True)
class Studio:
    """A running ComfyUI with the chosen models; `sampling` are inputs of stage one."""

    client: Client
    base: Path
    found: dict[str, Path]
    sampling: dict[str, int]
    clock: Clock

    def make(self, text: str | None, image: Path | None, target: Path) -> media.MediaInfo:
        """Makes the film `target`; DemoError unless it is what the workflow asked for."""
        return self._run(prompts.fill(self.found, self.base, text, image, self.sampling), target)

    def make_given(self, exhibit: gallery.GivenExhibit, target: Path) -> media.MediaInfo:
        """The same with a sound or a film that is given."""
        if exhibit.lora is not None:
            models.link({"distilled LoRA": exhibit.lora}, self.base / "models")
        sampling = {**self.sampling, "seed": exhibit.seed}
        prompt = prompts.fill_workflow(
            exhibit.workflow, self.found, self.base, exhibit.prompt, sampling, exhibit.files, exhibit.values
        )
        return self._run(prompt, target)

    def _run(self, prompt: dict, target: Path) -> media.MediaInfo:
        progress = Progress(prompt, self.clock)
        run = self.client.run(prompt, progress)
        progress.end_phase()
        self.client.fetch(run.files()[0], target)
        with self.clock.phase("look at it"):
            info = media.probe(target)
            _check(info, prompt, RATE_2_0 if self.found["checkpoint"].name.startswith(LTX_2_0) else RATE)
        return info


@contextmanager
def studio(options: argparse.Namespace) -> Iterator[Studio]:
    """Prepares ComfyUI's folders and the models, and starts the server; it ends with the `with` statement."""
    clock = Clock()
    clock.add("set-up", float(os.environ.get("LTXDUO_SETUP_SECONDS", 0)))
    base = make_base(LOCAL / "demo" / "comfyui")
    found = models.find(options.models, sets=models.ALL_GENERATIONS) if options.models else models.trained()
    models.link(found, base / "models")
    chosen = {name: getattr(options, name) for name in SAMPLING if getattr(options, name) is not None}
    sampling = ({} if options.models else SIZE) | chosen
    start = time.monotonic()
    with ComfyServer(base) as server:
        clock.add("server start", time.monotonic() - start)
        yield Studio(Client(server.url, server.check_alive), base, found, sampling, clock)


def _check(info: media.MediaInfo, prompt: dict, rate: int) -> None:
    asked = next(node["inputs"] for node in prompt.values() if node["class_type"] == "LTXDuoStageOneSampler")
    expected = ["h264", "aac", rate, asked["width"], asked["height"], asked["frames"]]
    found = [info.video_codec, info.audio_codec, info.sample_rate, info.width, info.height, info.frames]
    # What comes from a given sound or film is not known here.
    expected = [have if isinstance(ask, list) else ask for ask, have in zip(expected, found, strict=True)]
    if found != expected:
        raise DemoError(f"the video has (codecs, Hz, width, height, frames) {found}, expected {expected}")


def make_film(options: argparse.Namespace) -> dict:
    """One film; returns what the last line shows."""
    target = options.out if options.out.suffix == ".mp4" else options.out / "ltx-duo.mp4"
    target = make_folder(target.parent) / target.name
    if options.image and not options.image.is_file():
        raise DemoError(f"{options.image} is not there")
    text = options.prompt
    if text is None and not options.models:
        # Without words the small model goes on as the picture suggests.
        text = "" if options.image else PROMPT
    with studio(options) as place:
        info = place.make(text, options.image, target)
    sheet = media.contact_sheet(target, target.with_name(target.stem + "-frames.png"))
    return {
        "path": str(target),
        "frames": info.frames,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "sound_seconds": round(info.sound_seconds, 3),
        "contact_sheet": str(sheet),
        **_times(place.clock),
    }


def make_gallery(options: argparse.Namespace) -> dict:
    """All films of the gallery and its pictures; returns what the last line shows."""
    folder = make_folder(options.gallery)
    films = []
    with studio(options) as place:
        for exhibit in gallery.EXHIBITS:
            print(exhibit.prompt, flush=True)
            films.append((exhibit, folder / f"{exhibit.name}.mp4"))
            place.make(exhibit.prompt, exhibit.image, films[-1][1])
        given = []
        for exhibit in gallery.GIVEN:
            print(exhibit.prompt, flush=True)
            given.append((exhibit, folder / f"{exhibit.name}.mp4"))
            place.make_given(exhibit, given[-1][1])
    picture = gallery.draw(films, folder / "gallery.jpg")
    moving = gallery.draw_moving(films, folder / "gallery.webp")
    beside = gallery.draw_given(given, folder / "gallery-given.jpg")
    paths = {"path": str(picture), "moving": str(moving), "given": str(beside)}
    paths["films"] = [str(path) for _, path in films + given]
    return {**paths, **_times(place.clock)}


def _times(clock: Clock) -> dict:
    return {"seconds": clock.seconds, "total_seconds": round(sum(clock.seconds.values()), 1)}


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped on the way out
    try:
        result = make_gallery(options) if options.gallery else make_film(options)
    except (DemoError, ServerError, models.ModelsMissing, PromptRejected, ExecutionFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(json.dumps(result))
    return 0
