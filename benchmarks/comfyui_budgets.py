"""Whole runs through the nodes inside ComfyUI under caps of GPU memory: peaks, times, stage switches.

    python benchmarks/comfyui_budgets.py --tree COMFYUI --work DIR [--row 24 ...] [--flag=--disable-dynamic-vram]
                                         [--steps 30] [--keep] [--out FILE]

Writes random weights of the official size (46 GB in bfloat16, 24 GB with float8 matrices; one of them at a time) and a
LoRA of rank 384 (7 GB) below DIR, then runs each row in a process of its own: both stages and decode, twice, so that
the second run shows what going back to stage one costs.  A cap is put on by ComfyUI's own --reserve-vram, which its
memory manager keeps to, and as a fraction of the device's memory in PyTorch's allocator, which makes breaking it an
error.  Text conditioning is random.  Prints a JSON line a row.

Per run: `seconds` of each node, `first_step` and `step` (median) of both stages, `load` (asking ComfyUI for weights).
What a stage's first step takes longer than its others is loading, too: dynamic VRAM reads weights when they are used.
`switch` = load + (first step - step) of stage two; `back` the same of stage one in the second run.

On a machine without a network, carry what `pack_comfyui.sh` makes and `source` its `unpack.sh` first.

`--cpu` proves that the script works: the small model, one row, no cap.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

GIB = 2**30
HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: the cap in GiB (None: the whole device), the weights' type, and the work."""

    name: str
    cap: float | None
    fp8: bool
    width: int = 1536
    height: int = 1024
    frames: int = 121


ROWS = {row.name: row for row in (
    Row("none", None, fp8=False),
    Row("24", 24, fp8=False),
    Row("16", 16, fp8=False),
    Row("none-fp8", None, fp8=True),
    Row("12", 12, fp8=True),
    Row("8", 8, fp8=True, frames=49),
)}  # fmt: skip
TINY = Row("cpu", None, fp8=True, width=128, height=64, frames=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tree", type=Path, required=True, help="folder of ComfyUI")
    parser.add_argument("--work", type=Path, required=True, help="empty folder for 54 GB of files")
    parser.add_argument("--row", choices=ROWS, action="append", help="only these; all by default")
    parser.add_argument("--flag", action="append", default=[], help="one more of ComfyUI's flags")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the files for the next call")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--write", choices=["bf16", "fp8"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write(arguments)
    if arguments.child:
        return child(TINY if arguments.cpu else ROWS[arguments.child], arguments)
    report = []
    rows = [TINY] if arguments.cpu else [ROWS[name] for name in arguments.row or ROWS]
    for row in sorted(rows, key=lambda row: row.fp8):
        kind = "fp8" if row.fp8 else "bf16"
        marker = arguments.work / kind
        if not marker.exists():
            shutil.rmtree(arguments.work, ignore_errors=True)
            begin = time.perf_counter()
            again(arguments, "--write", kind)
            marker.touch()
            sys.stdout.write(f"{kind} files written in {time.perf_counter() - begin:.0f} s\n")
        result = again(arguments, "--child", row.name)
        report.append(result)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    if not arguments.keep:
        shutil.rmtree(arguments.work)


def again(arguments, *more: str) -> dict:
    """This script in a process of its own; the last line of its output, as JSON."""
    command = [sys.executable, __file__, "--tree", str(arguments.tree), "--work", str(arguments.work),
               "--steps", str(arguments.steps), "--runs", str(arguments.runs), *more]  # fmt: skip
    command += ["--cpu"] * arguments.cpu + [f"--flag={flag}" for flag in arguments.flag]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"row": more[-1], "failed": done.returncode, "output": lines[-3:]}
    return json.loads(lines[-1])


def write(arguments) -> None:
    sys.path.insert(0, str(HERE))
    from random_model import write_models

    paths = write_models(arguments.work / "models", fp8=arguments.write == "fp8", small=arguments.cpu)
    sys.stdout.write(json.dumps({str(path): path.stat().st_size for path in paths}) + "\n")


def child(row: Row, arguments) -> None:
    sys.path.insert(0, str(HERE))
    from comfyui_process import start

    flags = ["--cpu"] if arguments.cpu else []
    total = 0.0
    if not arguments.cpu:
        total = device_gib()
        if row.cap is not None:
            flags += ["--reserve-vram", f"{total - row.cap:.2f}"]
    nodes = start(arguments.tree, arguments.work, flags + arguments.flag)
    import torch

    if row.cap is not None:
        torch.cuda.set_per_process_memory_fraction(row.cap / total)
    with torch.inference_mode():
        session = Session(row, nodes, arguments.steps, "cpu" if arguments.cpu else "cuda")
        runs = [session.run() for _ in range(arguments.runs)]
    files = (arguments.work / "models").rglob("*.safetensors")
    result = {
        "row": row.name, "cap_gib": row.cap, "weights": "fp8" if row.fp8 else "bf16",
        "size": [row.width, row.height, row.frames], "flags": flags + arguments.flag,
        "device": "cpu" if arguments.cpu else torch.cuda.get_device_name(), "torch": torch.__version__,
        "files_gib": round(sum(path.stat().st_size for path in files) / GIB, 2),
        "runs": runs,
    }  # fmt: skip
    switches = [[round(run[stage]["load"] + run[stage]["first_step"] - run[stage]["step"], 2) for run in runs]
                for stage in ("stage two", "stage one")]  # fmt: skip
    result["switch"], result["back"] = switches[0], switches[1][1:]
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def device_gib() -> float:
    """The GPU's memory, asked without torch, which must not be imported yet."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    output = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return int(output.splitlines()[0]) / 1024


class Session:
    """The nodes of one workflow with what they keep from run to run, as ComfyUI's cache keeps it."""

    def __init__(self, row: Row, nodes: dict[str, type], steps: int, device: str):
        import random_model
        import torch

        from ltx_duo.nodes.comfyui import conditioning

        self.row, self.nodes, self.steps, self.device = row, nodes, steps, device
        self.seed = 0
        name = random_model.CHECKPOINT.name
        model = self.node("ModelLoader", checkpoint=name, weight_dtype="auto")
        lora = random_model.LORA.name
        self.model = self.node("LoraLoader", model=model, lora=lora, strength_stage_one=0.0, strength_stage_two=1.0)
        self.vae = self.node("VAELoader", checkpoint=name, audio_file="same file")
        self.upsampler = self.node("UpsamplerLoader", upsampler=random_model.UPSAMPLER.name)
        widths = [p.context_dim for p in (self.model.transformer_params.video, self.model.transformer_params.audio)]
        generator = torch.Generator().manual_seed(1)
        self.texts = [
            conditioning.make(*(torch.randn(1, 100, width, generator=generator) for width in widths)) for _ in range(2)
        ]

    def node(self, name: str, **inputs):
        output = self.nodes[name].execute(**inputs)
        # Loaders are coroutines: ComfyUI lets them run side by side.
        outputs = (asyncio.run(output) if asyncio.iscoroutine(output) else output).args
        return outputs[0] if len(outputs) == 1 else outputs

    def run(self) -> dict:
        """One prompt: figures by node, and the peaks of the whole run."""
        row, self.seed = self.row, self.seed + 1
        with Watch(self.device) as watch:
            first = watch.node("stage one", lambda: self.node(
                "StageOneSampler", model=self.model, vae=self.vae, positive=self.texts[0], negative=self.texts[1],
                width=row.width, height=row.height, frames=row.frames, fps=24.0, steps=self.steps, seed=self.seed,
                noise_device="cpu"))  # fmt: skip
            larger = watch.node("upsampler", lambda: self.node(
                "LatentUpsampler", latent=first, upsampler=self.upsampler, vae=self.vae))  # fmt: skip
            second = watch.node("stage two", lambda: self.node(
                "StageTwoSampler", model=self.model, vae=self.vae, positive=self.texts[0], latent=larger,
                noise="continue stage one", seed=0, audio="stage one", clean_background=True,
                noise_device="cpu"))  # fmt: skip
            watch.node("decode", lambda: self.node("AVDecode", latent=second, vae=self.vae, tiling="auto"))
        return watch.figures


class Watch:
    """Times of steps and loads, and peaks of GPU memory (PyTorch's, the device's) and of the process's memory."""

    def __init__(self, device: str):
        self.on_gpu = device == "cuda"
        self.figures: dict = {}
        self.loads: list[float] = []
        self.steps: list[float] = []
        self.running = threading.Event()
        self.peaks = {"device": 0.0, "rss": 0.0, "anonymous": 0.0}

    def __enter__(self) -> "Watch":
        import torch

        from ltx_duo.nodes.comfyui import memory, progress

        self.torch = torch
        self.before = {
            (memory, "load_together"): memory.load_together,
            (progress.PhaseReporter, "step"): progress.PhaseReporter.step,
        }
        load, step = self.before.values()

        def timed_load(*inputs):
            begin = self.now()
            load(*inputs)
            self.loads.append(self.now() - begin)

        def timed_step(reporter, *inputs):
            self.steps.append(self.now())
            step(reporter, *inputs)

        memory.load_together, progress.PhaseReporter.step = timed_load, timed_step
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.running.set()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.running.clear()
        self.thread.join()
        for (owner, name), value in self.before.items():
            setattr(owner, name, value)
        peaks = {f"{name}_gib": round(value / GIB, 2) for name, value in self.peaks.items()}
        if self.on_gpu:
            # The samplers reset PyTorch's own peak.
            peaks["torch_gib"] = max(figures["torch_peak_gib"] for figures in self.figures.values())
        self.figures["peak"] = peaks

    def now(self) -> float:
        if self.on_gpu:
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def node(self, name: str, call):
        self.loads.clear()
        self.steps.clear()
        if self.on_gpu:
            self.torch.cuda.reset_peak_memory_stats()
        begin = self.now()
        result = call()
        figures = {"seconds": round(self.now() - begin, 2), "load": round(sum(self.loads), 2)}
        if self.on_gpu:
            figures["torch_peak_gib"] = round(self.torch.cuda.max_memory_allocated() / GIB, 2)
        if name.startswith("stage"):
            # The first step begins where loading ends; connectors and noise count to it.
            ends = [begin + sum(self.loads), *self.steps]
            lengths = [b - a for a, b in zip(ends, ends[1:], strict=False)]
            rest = sorted(lengths[1:]) or lengths
            figures |= {"first_step": round(lengths[0], 3), "step": round(rest[len(rest) // 2], 3)}
            figures["denoise"] = round(sum(lengths), 2)
        self.figures[name] = figures
        return result

    def _sample(self) -> None:
        while self.running.is_set():
            status = dict(
                line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
            )
            self._peak("rss", int(status["VmRSS"].split()[0]) * 1024)
            self._peak("anonymous", int(status["RssAnon"].split()[0]) * 1024)
            if self.on_gpu:
                free, total = self.torch.cuda.mem_get_info()
                self._peak("device", total - free)
            time.sleep(0.05)

    def _peak(self, name: str, value: float) -> None:
        self.peaks[name] = max(self.peaks[name], value)


if __name__ == "__main__":
    main()
