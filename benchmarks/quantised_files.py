"""Quantised transformers and an fp4-mixed Gemma of the official size on ComfyUI's layers: right, small, fast?

    python benchmarks/quantised_files.py --tree COMFYUI --work DIR [--what nvfp4 gemma q4_k q8_0] [--layers N] [--keep]
        [--out FILE] [--small]

Writes random weights below DIR, a case at a time: a transformer in nvfp4 (16 GB), Gemma with its projection (11 GB), a
transformer as GGUF in Q4_K (13 GB) and in Q8_0 (24 GB); beside these one LoRA (7 GB).  Loads them as the nodes do, and
compares velocities of one evaluation at stage two's size, with and without the LoRA, and Gemma's hidden states with
plain bfloat16 modules that hold what the engine's own arithmetic makes of the files.  Prints lines of JSON for each;
ends with an error if a result is wrong, weights are not kept packed, or GGUF's are not what the `gguf` package expands.
Without dynamic VRAM, which only a server has: rows named nvfp4 of `comfyui_budgets.py` run there.  Beside it an H200's
memory (plain: 44 GB) is needed.

On a machine without a network, carry what `pack_comfyui.sh` makes and `source` its `unpack.sh` first.

`--small` proves that the script works, on a CPU too.
"""

import argparse
import gc
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from quantised_report import GIB, Bounds, Report, timed
from random_model import CHECKPOINT, LORA, write_checkpoint, write_lora, write_text_encoder
from torch import Tensor, nn
from workload import CASES, TINY, Scene

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.gguf_weights import expanded
from ltx_duo.ltx_core.loading import build_module, text_encoder_module
from ltx_duo.ltx_core.lora import LoRA, Strengths, fused
from ltx_duo.ltx_core.quantization import dequantize, marked_state, quantization
from ltx_duo.ltx_core.usable import Use, check_text_encoder

TOKENS = 256
# ComfyUI expands nvfp4 in bfloat16, which rounds scales and products; another weight differs by 1.
NVFP4, GEMMA, SMALL_GEMMA = Bounds(0.05, 4.7), Bounds(0.05, 5.2), Bounds(0.05, 7)
# Other kernels may round otherwise, as far as bfloat16 is from float32; the weights are the very same.
GGUF = {"q4_k": Bounds(0.03, 4.6), "q8_0": Bounds(0.03, 8.6)}
WHAT = ("nvfp4", "gemma", *GGUF)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tree", type=Path, required=True, help="folder of ComfyUI")
    parser.add_argument("--work", type=Path, required=True, help="folder for up to 31 GB of files, 71 GB with --keep")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--layers", type=int, help="fewer blocks than the 48 of both models")
    parser.add_argument("--keep", action="store_true", help="leave the files for the next call")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    start_comfyui(arguments.tree, arguments.work)
    figures = []
    try:
        for what in arguments.what:
            figures.append(measure(what, arguments))
            free()
    finally:
        if not arguments.keep:
            shutil.rmtree(arguments.work, ignore_errors=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    wrong = [line for figure in figures for line in figure["wrong"]]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def measure(what: str, arguments) -> dict:
    """Figures of one case; its own files are gone afterwards."""
    size = {"small": arguments.small, "layers": arguments.layers}
    folder, lora = arguments.work / what, arguments.work / LORA
    case = TINY if arguments.small else None
    try:
        if what == "gemma":
            gemma, projection = folder / "gemma.safetensors", folder / "projection.safetensors"
            written(projection, lambda path: write_text_encoder(gemma, path, **size))
            with torch.inference_mode():
                return measure_text_encoder(gemma, projection, SMALL_GEMMA if arguments.small else GEMMA)
        written(lora, partial(write_lora, **size))
        if what == "nvfp4":
            path, bounds = folder / CHECKPOINT.name, NVFP4
            written(path, partial(write_checkpoint, weights="nvfp4", **size))
        else:
            from random_gguf import write_gguf

            path, bounds = folder / "transformer.gguf", GGUF[what]
            written(path, partial(write_gguf, kind=what.upper(), **size))
        with torch.inference_mode():
            return measure_transformer(f"{what} transformer", path, lora, case, bounds)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


def written(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file that an earlier call has not left; what was broken off has another name."""
    if path.exists():
        return
    begin, unfinished = time.perf_counter(), path.with_name(f"unfinished-{path.name}")
    write(unfinished)
    unfinished.rename(path)
    print(f"{path.parent.name}/{path.name} written in {time.perf_counter() - begin:.0f} s", flush=True)


def free() -> None:
    """Lets go of the last case's weights, mapped files among them."""
    import comfy.model_management as mm

    mm.unload_all_models()
    gc.collect()
    mm.soft_empty_cache()


def start_comfyui(tree: Path, base: Path) -> None:
    """Makes ComfyUI's modules importable, as its main.py does."""
    sys.path.insert(0, str(tree))
    import comfy.options

    flags = [] if torch.cuda.is_available() else ["--cpu"]
    arguments, sys.argv = sys.argv, ["main.py", "--base-directory", str(base), *flags]
    comfy.options.enable_args_parsing()
    import comfy.cli_args  # noqa: F401

    sys.argv = arguments


def measure_transformer(name: str, path: Path, lora_path: Path, case, bounds: Bounds) -> dict:
    from ltx_duo.nodes.comfyui import components, lora, open_files

    checkpoint, adapter = Checkpoint.open(path), LoRA.open(lora_path)
    open_files.check(checkpoint, Use.MODEL)
    component, seconds = timed(partial(components.build_model, checkpoint, "auto"))
    device, dtype = component.device, component.compute_dtype
    scene = Scene.draw(case or CASES["stage-two"], component.module.transformer.params, device, dtype, 1)
    scene = scene.without_guidance()
    report = Report(name, component, quantization(checkpoint), seconds, bounds)
    found = {}
    with_lora = lora.with_loras(component, [(adapter, Strengths(1.0))])
    for way, used in (("without LoRA", component), ("with LoRA", with_lora)):
        model = used.load(20 * GIB if case is None else 0).transformer
        found[way] = report.run(way, partial(evaluate, model, scene))
    component.patcher.detach()
    state = plain_state(checkpoint, Component.TRANSFORMER, dtype, device)
    if path.suffix == ".gguf":
        report.wrong += [f"{name}: {layer} is another weight" for layer in other_weights(component, path, state)]
    plain = filled(build_module(checkpoint, Component.TRANSFORMER, dtype=dtype, device="meta"), state)
    report.compare("without LoRA", found["without LoRA"], evaluate(plain, scene))
    with fused(plain, [(adapter, 1.0)]):
        report.compare("with LoRA", found["with LoRA"], evaluate(plain, scene))
    report.differ("LoRA", found["without LoRA"], found["with LoRA"])
    return report.figures


def measure_text_encoder(gemma: Path, projection: Path, bounds: Bounds) -> dict:
    from ltx_duo.nodes.comfyui import components

    files = Checkpoint.open(gemma), Checkpoint.open(projection)
    check_text_encoder(*files)
    component, seconds = timed(partial(components.build_text_encoder, *files, "default"))
    device, dtype = component.device, component.compute_dtype
    report = Report("fp4-mixed Gemma", component, quantization(files[0], Component.GEMMA), seconds, bounds)
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
    plain = dequantize(expanded(checkpoint, part, state, dtype), dtype)
    return {name: tensor.to(dtype) for name, tensor in plain.items()}


def other_weights(component, path: Path, plain: dict[str, Tensor]) -> Iterator[str]:
    """Packed layers that hold other weights than `plain`, or of which the `gguf` package makes others in some rows."""
    import gguf

    stored = {tensor.name.removeprefix("model.diffusion_model."): tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, layer in component.module.transformer.named_modules():
        if getattr(layer, "block_type", None):
            weight, file = plain[f"{name}.weight"], stored[f"{name}.weight"]
            held = layer.block_type.expand(layer.weight.to(weight.device), weight.dtype)
            some = slice(None, None, max(1, len(weight) // 4))
            rows = torch.from_numpy(gguf.dequantize(file.data[some], file.tensor_type)).to(weight)
            if not (torch.equal(held, weight) and torch.equal(rows, weight[some])):
                yield name


def filled(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


if __name__ == "__main__":
    sys.exit(main())
