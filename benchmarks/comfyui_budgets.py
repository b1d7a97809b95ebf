"""Whole films on a real ComfyUI server under caps of GPU memory: peaks, times, stage switches, cancelling.

    python benchmarks/comfyui_budgets.py --work DIR [--tree COMFYUI] [--row 24 ...] [--steps 30] [--row-seconds 150]
        [--keep] [--out FILE]

Writes random weights of the official size (46 GB in bfloat16, 26 GB with float8, 16 GB with nvfp4; one at a time) and a
LoRA of rank 384 (7 GB) below DIR, then runs each row on a ComfyUI server of its own: both stages and decode, twice
where the second run is to show what going back to stage one costs.  The next row's server starts meanwhile and adds its
CUDA context to `card`: `other_server`, known as soon as that server is asked for what the card has in use without the
first; `card_alone` is a row's peak less this.  The cap is ComfyUI's own --reserve-vram.  Text
conditioning is random, there is no text encoder.  Prints a JSON line a run and a row, and writes FILE as often.  A row
that fails or takes too long says so, with the end of its server's log and the figures of the runs that were done; the
next one has a server of its own.

Rows named `legacy` run with --disable-dynamic-vram; rows named `core` run our
samplers on what ComfyUI's own loaders give; rows named `native` run its own LTX-2.3 nodes (two passes in stage one,
where ours has four); `small` runs the small model many times and shows whether memory grows.

Per run: `seconds` of each node by the server's messages; of the stages also `first_step` and `step` (median) and
`load` (asking ComfyUI for weights).  Dynamic VRAM reads weights when they are used, so what a stage's first step takes
longer than its others is loading, too: `switch` = load + (first step - step) of stage two; `back` the same of stage one
in the second run.  `denoise_30` is both stages' time for 30 steps: other numbers of steps are scaled by `step`.
`30 + 3` is what RESULTS.md has: 30 times stage one's `step` and 3 times stage two's, without loading.
GiB: `card` is what the whole GPU has in use (with CUDA's context), `allocated` PyTorch's own share of it (without
weights under dynamic VRAM), `reserved` what its pool keeps of the card; `counted` what dynamic VRAM compares with the
cap; `rss` the process, of which `anonymous` are not pages of mapped files.

On a machine without a network, carry what `pack_comfyui.sh` makes and `source` its `unpack.sh` first.

`--cpu` proves that the script works: the small model, no cap.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import comfyui_graphs as graphs  # noqa: E402  (makes the pack importable)

from ltx_duo.scripts.demo.client import Client, ExecutionFailed  # noqa: E402
from ltx_duo.scripts.demo.server import COMFYUI, ComfyServer, make_base  # noqa: E402

GIB = 2**30
STAGES = (graphs.STAGE_ONE, graphs.STAGE_TWO)
FULL_STEPS, STAGE_TWO_STEPS = 30, 3
LOG_LINES = 30
TEXT_WIDTH = 6144


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: the cap in GiB (None: the whole card), the weights, the work, whose nodes, how often."""

    name: str
    cap: float | None
    weights: str = "bf16"
    width: int = 1536
    height: int = 1024
    frames: int = 121
    native: bool = False
    on_core: bool = False
    small: bool = False
    clip: bool = False
    gpus: int = 1
    flags: tuple[str, ...] = ()
    runs: int = 2
    cancel: bool = False

    @property
    def kind(self) -> str:
        """Of its files."""
        return "small" if self.small else "clip" if self.clip else self.weights


class RowTooLong(Exception):
    """No OSError such as TimeoutError, which whoever waits for a socket takes for its own."""


LEGACY = ("--disable-dynamic-vram",)
KINDS = ("bf16", "clip", "fp8", "nvfp4", *graphs.GGUF, "small")  # of files; one at a time
# What people make first: a second of film from an image.
CLIP = {"cap": None, "clip": True, "width": 768, "height": 512, "frames": 25, "runs": 4}
ROWS = {row.name: row for row in (
    Row("none", None, cancel=True),
    Row("24", 24),
    Row("16", 16),
    Row("legacy-none", None, flags=LEGACY),
    Row("legacy-24", 24, flags=LEGACY),
    Row("native-none", None, native=True, runs=1),
    Row("native-24", 24, native=True, runs=1),
    Row("native-16", 16, native=True, runs=1),
    Row("none-fp8", None, weights="fp8"),
    Row("12", 12, weights="fp8"),
    Row("8", 8, weights="fp8", frames=49),
    Row("native-12", 12, weights="fp8", native=True, runs=1),
    Row("native-8", 8, weights="fp8", native=True, frames=49, runs=1),
    Row("core-none", None, on_core=True),
    Row("none-nvfp4", None, weights="nvfp4"),
    Row("core-none-nvfp4", None, weights="nvfp4", on_core=True),
    Row("12-nvfp4", 12, weights="nvfp4"),
    Row("native-12-nvfp4", 12, weights="nvfp4", native=True, runs=1),
    Row("none-q4_k", None, weights="q4_k", runs=1),
    Row("12-q4_k", 12, weights="q4_k", runs=1),
    Row("clip", **CLIP),
    Row("clip-two", **CLIP, gpus=2),
    Row("two", None, gpus=2),
    Row("clip-legacy", **CLIP, flags=LEGACY),
    Row("clip-native-allocator", **CLIP, flags=("--disable-cuda-malloc",)),
    Row("small", None, small=True, width=128, height=128, frames=9, runs=10, cancel=True),
    Row("clip-small", None, small=True, clip=True, width=128, height=128, frames=9),
    Row("core-small", None, small=True, on_core=True, runs=2, width=128, height=128, frames=9),
    Row("native-small", None, small=True, native=True, runs=1, width=128, height=128, frames=9),
)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tree", type=Path, default=COMFYUI, help="folder of ComfyUI")
    parser.add_argument("--work", type=Path, required=True, help="folder for 54 GB of files")
    parser.add_argument("--row", choices=ROWS, action="append", help="only these; all by default")
    parser.add_argument("--flag", action="append", default=[], help="one more of ComfyUI's flags")
    parser.add_argument("--steps", type=int, default=FULL_STEPS)
    parser.add_argument("--runs", type=int, help="other than the row's own")
    parser.add_argument("--row-seconds", type=float, help="limit for a row, once its files are written")
    parser.add_argument("--layers", type=int, help="fewer blocks than the 48 of the real model, for a quick look")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next call")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--write", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write(arguments)
    small = [name for name in ROWS if ROWS[name].small]
    rows = [ROWS[name] for name in arguments.row or (small if arguments.cpu else ROWS)]
    signal.signal(signal.SIGTERM, end)
    report = []
    try:
        measure_rows(rows, arguments, report)
    finally:
        if not arguments.keep:
            shutil.rmtree(arguments.work, ignore_errors=True)
    if all("failed" in result for result in report):
        raise SystemExit(1)


def end(number: int, frame) -> None:
    """As on Ctrl-C: servers are stopped, the process that writes files too, and the files go."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def measure_rows(rows: list[Row], arguments, report: list[dict]) -> None:
    """Adds the figures of each row to `report`, also when it fails."""

    def save() -> None:
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    coming = None
    try:
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            result = {"row": row.name, "failed": "was ended before it was done"}
            report.append(result)
            save()
            server, coming = coming, None
            try:
                server = server or launch_server(row, arguments)
                write_files(row, arguments)
                with time_limit(arguments.row_seconds):
                    server.wait_until_ready()
                    # A server takes longer to start than a row to run: the next one starts meanwhile.
                    coming = following and launch_server(following, arguments)
                    measure(row, server, arguments, result, save)
                del result["failed"]
            except Exception as error:
                message = str(error).split("\n", 1)[0]
                result["failed"] = f"{type(error).__name__}: {message}"
                result["log"] = server.log().splitlines()[-LOG_LINES:] if server else []
            finally:
                if server:
                    server.stop()
            for before, after in pairwise(report):
                subtract_other_server(before, after)
            print(json.dumps(result), flush=True)
            save()
    finally:
        if coming:
            coming.stop()


def subtract_other_server(row: dict, following: dict) -> None:
    """Adds what the server of the `following` row had on the card beside this one's, as soon as it is known."""
    peaks = [run["peak"]["card"] for run in row.get("runs", ()) if "card" in run["peak"]]
    if peaks and "card" in following.get("idle", ()):
        row["other_server"] = following["idle"]["card"]
        row["card_alone"] = round(max(peaks) - row["other_server"], 2)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """RowTooLong inside after that time, whatever is being waited for; for the main thread."""

    def late(number: int, frame) -> None:
        raise RowTooLong(f"took longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def write_files(row: Row, arguments) -> None:
    """Makes the row's files, in a process that gives its memory back; files of another kind go."""
    kind = row.kind
    marker = arguments.work / kind
    if marker.exists():
        return
    for other in KINDS:
        (arguments.work / other).unlink(missing_ok=True)
    shutil.rmtree(arguments.work / "models", ignore_errors=True)
    begin = time.monotonic()
    command = [sys.executable, __file__, "--work", str(arguments.work), "--write", kind]
    command += [] if arguments.layers is None else ["--layers", str(arguments.layers)]
    subprocess.run(command, check=True)
    marker.touch()
    print(f"{kind} files written in {time.monotonic() - begin:.0f} s", flush=True)


def write(arguments) -> None:
    from random_model import PROJECTION, TEXT_ENCODER, write_models, write_text_encoder

    kind = arguments.write
    folder, small = arguments.work / "models", kind == "small"
    # Beside a GGUF file, which holds the transformer alone, the smallest checkpoint.
    weights = "bf16" if small or kind == "clip" else "nvfp4" if kind in graphs.GGUF else kind
    write_models(folder, weights=weights, small=small, layers=arguments.layers)
    if small or kind == "clip":
        write_text_encoder(folder / TEXT_ENCODER, folder / PROJECTION, small=small, layers=arguments.layers)
    if kind in graphs.GGUF:
        from random_gguf import write_gguf

        write_gguf(folder / graphs.GGUF_FILE, kind.upper(), small=False, layers=arguments.layers)


def launch_server(row: Row, arguments) -> ComfyServer:
    base = arguments.work / "servers" / row.name
    base.mkdir(parents=True, exist_ok=True)
    models = arguments.work / "models"
    models.mkdir(exist_ok=True)
    if not (base / "models").exists():
        (base / "models").symlink_to(models.resolve(), target_is_directory=True)
    make_base(base)
    probe = base / "custom_nodes" / "probe"
    if not probe.exists():
        probe.symlink_to(HERE / "comfyui_probe", target_is_directory=True)
    front_end = base / "front end"
    front_end.mkdir(exist_ok=True)
    flags = [*row.flags, *arguments.flag, "--front-end-root", str(front_end)]
    if row.cap is not None:
        flags += ["--reserve-vram", f"{card_gib() - row.cap:.2f}"]
    server = ComfyServer(base, arguments.tree, flags)
    server.launch()
    return server


def measure(row: Row, server: ComfyServer, arguments, result: dict, save: Callable[[], None]) -> None:
    """Adds the row's figures to `result`, what is known first; calls `save` after each run."""
    begin = time.monotonic()
    session = Session(row, server, arguments)
    runs = []
    idle = session.figures()
    result |= {
        "device": idle["device"], "torch": idle["torch"], "cap_gib": row.cap, "weights": row.weights,
        "size": [row.width, row.height, row.frames], "steps": arguments.steps, "flags": server.arguments,
        "files_gib": files_gib(arguments.work / "models"), "idle": rounded(idle["samples"][-1]), "runs": runs,
    }  # fmt: skip
    for _ in range(arguments.runs or row.runs):
        runs.append(session.run())
        print(json.dumps({"row": row.name, "run": runs[-1]}), flush=True)
        # After each run: the next one may take too long.
        result["switch"] = [switch(run[graphs.STAGE_TWO]) for run in runs]
        result["back"] = [switch(run[graphs.STAGE_ONE]) for run in runs[1:]]
        save()
    if row.cancel:
        result["cancel"] = session.cancel(runs[-1][graphs.STAGE_TWO]["step"])
    if len(runs) > 3:
        # The first runs fill caches.
        result["growth"] = {
            name: round(runs[-1]["after"][name] - runs[2]["after"][name], 3)
            for name in ("rss", "anonymous", "card") if name in runs[-1]["after"]
        }  # fmt: skip
    result["seconds"] = round(time.monotonic() - begin, 1)


class Session:
    """A client of one server, with the row's workflow."""

    def __init__(self, row: Row, server: ComfyServer, arguments):
        self.row, self.steps = row, arguments.steps
        self.client = Client(server.url, server.check_alive)
        self.seed = 0
        self.stg_block = 28 * (4 if row.small else arguments.layers or 48) // 48

    def prompt(self, **changes) -> dict:
        self.seed += 1
        row = dataclasses.replace(self.row, **changes)
        graph = graphs.ours
        if row.native or row.on_core or row.clip:
            graph = graphs.native if row.native else graphs.on_core_objects if row.on_core else graphs.clip
        # The small model's text is narrower.
        return graph(row, text_width() if row.small else TEXT_WIDTH, self.steps, self.seed, self.stg_block)

    def figures(self) -> dict:
        return self.client.get("/probe/figures")

    def run(self) -> dict:
        """One prompt: figures by node, the peaks of the whole run, and what is in use after it."""
        self.client.post("/probe/start", {})
        begin = time.monotonic()
        run = self.client.run(self.prompt())
        seconds = time.monotonic() - begin
        recorded = self.figures()
        windows = {node: (begin, end) for (begin, node), (end, _) in pairwise(recorded["nodes"])}
        result = {"seconds": round(seconds, 2), "nodes": {node: round(own, 2) for node, own in run.seconds.items()}}
        for node in (graphs.STAGE_ONE, graphs.UPSAMPLE, graphs.STAGE_TWO, graphs.DECODE):
            window = windows[node]
            result[node] = {"seconds": round(window[1] - window[0], 2), **peaks(recorded["samples"], window)}
            if node in STAGES:
                result[node] |= stage_times(recorded, window) | {"said": run.outputs.get(node, {}).get("text", [])}
        one, two = (result[stage] for stage in STAGES)
        more_steps = (FULL_STEPS - self.steps) * one["step"]
        result["denoise_30"] = round(one["denoise"] + more_steps + two["denoise"], 2)
        result["30 + 3"] = round(FULL_STEPS * one["step"] + STAGE_TWO_STEPS * two["step"], 2)
        result["fp8_products"] = recorded["fp8_products"]
        result["peak"] = peaks(recorded["samples"])
        result["after"] = rounded(recorded["samples"][-1])
        return result

    def cancel(self, step: float) -> dict:
        """Interrupts a step of stage two, which takes `step` seconds, in its middle.

        Seconds until the run had ended, and of a small run after it.
        """
        times = {}

        def interrupt():
            times["asked"] = time.monotonic()
            self.client.post("/interrupt", {})

        def watch(node, run):
            # The first progress of stage two is the end of its first step.
            if node == graphs.STAGE_TWO and run.progress.get(node) and "timer" not in times:
                times["timer"] = threading.Timer(0.4 * step, interrupt)
                times["timer"].start()

        try:
            self.client.run(self.prompt(), watch)
            return {"failed": "the run ended before it was cancelled"}
        except ExecutionFailed as error:
            ended = time.monotonic()
            if error.exception_type != "interrupted":
                raise
        run = self.client.run(self.prompt(width=128, height=128, frames=9))
        return {"seconds": round(ended - times["asked"], 3), "next_run": round(sum(run.seconds.values()), 2)}


def stage_times(recorded: dict, window: tuple[float, float]) -> dict[str, float]:
    """Seconds of loading and of the steps of one sampler; its progress bar moves at the end of each step."""
    begin, end = window
    ends = [time for time, value in recorded["steps"] if begin < time <= end and value > 0]
    # What is loaded later belongs to a step.
    loads = [(a, b) for a, b in recorded["loads"] if begin <= a < ends[0]]
    begin = max([begin, *(b for _, b in loads)])
    lengths = [b - a for a, b in pairwise([begin, *ends])]
    return {
        "load": round(sum(b - a for a, b in loads), 2),
        "first_step": round(lengths[0], 3),
        "step": round(statistics.median(lengths[1:] or lengths), 3),
        "denoise": round(sum(lengths), 2),
    }


def switch(stage: dict[str, float]) -> float:
    return round(stage["load"] + stage["first_step"] - stage["step"], 2)


def peaks(samples: list[dict[str, float]], window: tuple[float, float] | None = None) -> dict[str, float]:
    """GiB; the largest of the samples in the window, each for itself."""
    inside = [one for one in samples if window is None or window[0] <= one["time"] <= window[1]] or samples[-1:]
    return rounded({name: max(one[name] for one in inside) for name in inside[0]})


def rounded(sample: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in sample.items() if name != "time"}


def text_width() -> int:
    """Of the small model's conditioning: features for picture and for sound."""
    from ltx_duo.ltx_core.transformer.params import TransformerParams
    from ltx_duo.scripts.small_model_parts.sizes import model_config

    params = TransformerParams.from_config(model_config())
    return params.video.context_dim + params.audio.context_dim


def files_gib(folder: Path) -> float:
    return round(sum(os.path.getsize(path) for path in folder.rglob("*.safetensors")) / GIB, 2)


def card_gib() -> float:
    """Of the card that the servers see; asked here through CUDA, it would have a context of this process, too."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={card}", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    output = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return int(output.splitlines()[0]) / 1024


if __name__ == "__main__":
    main()
