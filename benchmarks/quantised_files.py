"""An nvfp4 transformer and an fp4-mixed Gemma of the official size on ComfyUI's quantised layers: right, small, fast?

    python benchmarks/quantised_files.py --tree COMFYUI --work DIR [--layers N] [--keep] [--out FILE] [--small]

Writes random weights (16 GB, a LoRA of 7 GB, Gemma of 9 GB with its projection of 2 GB) below DIR, loads them as the
nodes do, and compares velocities of one evaluation at stage two's size, with and without the LoRA, and Gemma's hidden
states with plain bfloat16 modules that hold what the engine's own arithmetic makes of the files.  Prints a line of JSON
for each; ends with an error if a result is wrong, or weights are not kept packed.  Without dynamic VRAM, which only a
server has: rows named nvfp4 of `comfyui_budgets.py` run there.  Beside it an H200's memory (plain: 44 GB) is needed.

On a machine without a network, carry what `pack_comfyui.sh` makes and `source` its `unpack.sh` first.

`--small` proves that the script works, on a CPU too.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from random_model import CHECKPOINT, LORA, write_models, write_text_encoder
from torch import Tensor, nn
from workload import CASES, TINY, Scene

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.loading import build_module, text_encoder_module
from ltx_duo.ltx_core.lora import LoRA, fused
from ltx_duo.ltx_core.quantization import dequantize, marked_state

# Of the whole result.  ComfyUI expands in bfloat16, which rounds scales and products; another weight differs by 1.
BAR = 0.05
GIB = 2**30
TOKENS = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tree", type=Path, required=True, help="folder of ComfyUI")
    parser.add_argument("--work", type=Path, required=True, help="folder for 35 GB of files")
    parser.add_argument("--layers", type=int, help="fewer blocks than the 48 of both models")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next call")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    start_comfyui(arguments.tree, arguments.work)
    models, gemma, projection = (arguments.work / name for name in ("models", "gemma", "projection"))
    gemma, projection = gemma.with_suffix(".safetensors"), projection.with_suffix(".safetensors")
    size = {"small": arguments.small, "layers": arguments.layers}
    if not projection.exists():
        write_models(models, weights="nvfp4", **size)
        write_text_encoder(gemma, projection, **size)
    figures = []
    try:
        with torch.inference_mode():
            figures.append(measure_transformer(models / CHECKPOINT, models / LORA, TINY if arguments.small else None))
            figures.append(measure_text_encoder(gemma, projection, 7 if arguments.small else 5.2))
    finally:
        if not arguments.keep:
            shutil.rmtree(arguments.work, ignore_errors=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    wrong = [line for figure in figures for line in figure["wrong"]]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def start_comfyui(tree: Path, base: Path) -> None:
    """Makes ComfyUI's modules importable, as its main.py does."""
    sys.path.insert(0, str(tree))
    import comfy.options

    flags = [] if torch.cuda.is_available() else ["--cpu"]
    arguments, sys.argv = sys.argv, ["main.py", "--base-directory", str(base), *flags]
    comfy.options.enable_args_parsing()
    import comfy.cli_args  # noqa: F401

    sys.argv = arguments


def measure_transformer(path: Path, lora_path: Path, case) -> dict:
    from ltx_duo.nodes.comfyui import components, lora

    checkpoint, adapter = Checkpoint.open(path), LoRA.open(lora_path)
    components.check_parts(checkpoint, *components.MODEL_PARTS.values())
    component, seconds = timed(partial(components.build_model, checkpoint, "auto"))
    device, dtype = component.device, component.compute_dtype
    scene = Scene.draw(case or CASES["stage-two"], component.module.transformer.params, device, dtype, 1)
    scene = scene.without_guidance()
    report = Report("nvfp4 transformer", component, seconds, 4.7)
    found = {}
    for name, used in (("without LoRA", component), ("with LoRA", lora.with_loras(component, [(adapter, 1.0)]))):
        model = used.load(20 * GIB if case is None else 0).transformer
        found[name] = report.run(name, partial(evaluate, model, scene))
    component.patcher.detach()
    state = plain_state(checkpoint, Component.TRANSFORMER, dtype, device)
    plain = filled(build_module(checkpoint, Component.TRANSFORMER, dtype=dtype, device="meta"), state)
    report.compare("without LoRA", found["without LoRA"], evaluate(plain, scene))
    with fused(plain, [(adapter, 1.0)]):
        report.compare("with LoRA", found["with LoRA"], evaluate(plain, scene))
    report.differ("LoRA", found["without LoRA"], found["with LoRA"])
    return report.figures


def measure_text_encoder(gemma: Path, projection: Path, most_bits: float) -> dict:
    from ltx_duo.nodes.comfyui import components

    files = Checkpoint.open(gemma), Checkpoint.open(projection)
    components.check_text_encoder(*files)
    component, seconds = timed(partial(components.build_text_encoder, *files, "default"))
    device, dtype = component.device, component.compute_dtype
    report = Report("fp4-mixed Gemma", component, seconds, most_bits)
    module = component.load(2 * GIB).gemma
    ids = torch.randint(5, 200_000, (1, TOKENS), device=device)
    found = report.run("states", lambda: module(ids))
    component.patcher.detach()
    plain = text_encoder_module(*files, device="meta", dtype=dtype).gemma
    report.compare("states", found, filled(plain, plain_state(files[0], Component.GEMMA, dtype, device))(ids))
    return report.figures


def evaluate(model: nn.Module, scene: Scene) -> tuple[Tensor, Tensor]:
    ropes = model.rope_tables(*(p.to(scene.video.device) for p in (
        scene.case.geometry.video_positions(), scene.case.geometry.audio_positions())))  # fmt: skip
    return model(*scene.inputs(ropes), scene.passes())[0]


def plain_state(checkpoint: Checkpoint, part: Component, dtype, device) -> dict[str, Tensor]:
    """What the file's weights stand for, expanded on the device; full sizes have no padding."""
    state = {name: tensor.to(device) for name, tensor in marked_state(checkpoint, part).items()}
    return {name: tensor.to(dtype) for name, tensor in dequantize(state, dtype).items()}


def filled(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


class Report:
    """Figures of one component, and what of them is wrong."""

    def __init__(self, name: str, component, seconds: float, most_bits: float):
        from ltx_duo.nodes.comfyui import packed

        layers = packed.packed_layers(component.module)
        weights = sum(layer.in_features * layer.out_features for layer in layers)
        held = sum(t.nbytes for layer in layers for t in layer.weight.state_dict().values())
        self.figures = {
            "what": name, "card": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
            "packed layers": len(layers), "bits a packed weight": round(8 * held / weights, 2),
            "GiB": round(component.size() / GIB, 2), "seconds to open": round(seconds, 2), "wrong": [],
        }  # fmt: skip
        self.expanding, self.wrong = component.expanding_bytes, self.figures["wrong"]
        if held * 8 > most_bits * weights:
            self.wrong.append(f"{name}: packed layers take {8 * held / weights:.2f} bits a weight")

    def run(self, name: str, call: Callable):
        """Results on the CPU; seconds of the second call, and the peak beside what was allocated before."""
        call()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        result, seconds = timed(call)
        self.figures[f"{name}, seconds"] = round(seconds, 3)
        if torch.cuda.is_available():
            self.figures[f"{name}, peak GiB"] = round(torch.cuda.max_memory_allocated() / GIB, 2)
        return [tensor.cpu() for tensor in result]

    def compare(self, name: str, ours, theirs) -> None:
        error = max(distance(one, other.cpu()) for one, other in zip(ours, theirs, strict=True))
        self.figures[f"{name}, error"] = error
        if not error < BAR:  # NaN too
            self.wrong.append(f"{self.figures['what']}, {name}: differs by {error:.3g} from plain weights")
        print(json.dumps(self.figures), flush=True)

    def differ(self, name: str, one, other) -> None:
        if not (effect := distance(one[0], other[0])) > 2 * BAR:
            self.wrong.append(f"{self.figures['what']}: the {name} changes the result by {effect:.3g} only")


def distance(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return ((one - other).norm() / other.norm()).item()


def timed(call: Callable):
    begin = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
