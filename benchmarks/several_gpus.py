"""Both stages on several GPUs of one machine: times beside one GPU's, and how far the numbers are from one GPU's.

    python benchmarks/several_gpus.py [--gpus 2] [--out FILE]

The real model with random weights, once on each GPU.  One evaluation of each stage on one GPU and on all, in turn, then
a whole denoise on both.  Stage one is divided by its passes, which must give the bits of the same groups on one GPU,
and for comparison by its tokens; stage two by its tokens.  A decode in 2x2 tiles, which are divided.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import contenders  # noqa: E402
import decode  # noqa: E402
import denoise  # noqa: E402
from measure import compare  # noqa: E402
from workload import CASES, TINY, Case, Scene, config, randomise  # noqa: E402

from ltx_duo.ltx_core.execution.graphs import BlockGraphs  # noqa: E402
from ltx_duo.ltx_core.execution.pass_split import PassSplit, divide_passes  # noqa: E402
from ltx_duo.ltx_core.execution.precompile import finish_transformer  # noqa: E402
from ltx_duo.ltx_core.execution.replicas import Team, replicate  # noqa: E402
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus  # noqa: E402
from ltx_duo.ltx_core.execution.token_split import TokenSplit  # noqa: E402
from ltx_duo.ltx_core.transformer.model import AVTransformer  # noqa: E402
from ltx_duo.ltx_core.transformer.params import TransformerParams  # noqa: E402
from ltx_duo.ltx_core.two_stage import decode_video  # noqa: E402
from ltx_duo.ltx_core.video_vae.tiling import even_tiling  # noqa: E402

ONE, PASSES, TOKENS = "one GPU", "by passes", "by tokens"
Calls = dict[str, Callable[[], list]]


def evaluations(
    model: AVTransformer, replicas: list[AVTransformer], case: Case, device: str, dtype, rounds: int
) -> dict:
    """Milliseconds, ratio to one GPU and relative L2 distance from it, by the way of dividing."""
    scene = Scene.draw(case, model.params, device, dtype, 1, 16 if device == "cpu" else 1024)
    inputs, passes = scene.inputs(model.rope_tables(*scene.positions())), scene.passes()
    team = Team(model, replicas)
    ways = {ONE: model, TOKENS: TokenSplit(team)} | ({PASSES: PassSplit(team)} if len(passes) > 1 else {})
    calls: Calls = {name: partial(own, *inputs, passes, BlockGraphs()) for name, own in ways.items()}
    timings = compare(calls, device, rounds)
    exact = _numbers(calls[ONE]())
    rows = {}
    for name, timing in timings.items():
        found = calls[name]()
        distance = max(float((a - b).norm() / b.norm()) for a, b in zip(_numbers(found), exact, strict=True))
        ratio = timing.median / timings[ONE].median
        rows[name] = {"ms": round(timing.median, 2), "ratio": round(ratio, 3), "distance": round(distance, 6)}
        if name == PASSES:
            rows[name]["numbers that differ"] = _different(model, inputs, passes, found, 1 + len(replicas))
    team.close()
    return rows


def _numbers(velocities: list) -> list[torch.Tensor]:
    return [own.float() for pair in velocities for own in pair]


def _different(model: AVTransformer, inputs, passes, found: list, count: int) -> int:
    """How many numbers are not those of the same groups of passes on one GPU."""
    result = 0
    for group in divide_passes(passes, count, model.params.num_layers):
        for index, own in zip(group, model(*inputs, [passes[i] for i in group], BlockGraphs()), strict=True):
            result += sum(int((a != b).sum()) for a, b in zip(found[index], own, strict=True))
    return result


def denoises(model: AVTransformer, replicas: list[AVTransformer], case: Case, device: str, dtype, steps: int) -> dict:
    """Seconds of a whole denoise on one GPU and on all, each after a short one."""
    scene = Scene.draw(case, model.params, device, dtype, 1, 16 if device == "cpu" else 1024)
    rows = {}
    for count, own in ((1, ()), (1 + len(replicas), replicas)):
        with on_several_gpus(model, own) as divided:
            denoise.run(divided, scene, 2, 1)
            rows[count] = {name: round(value, 2) for name, value in denoise.run(divided, scene, steps, 1).items()}
    return rows


def decodes(case: Case, settings: dict, device: str, others: list[str], dtype, rounds: int) -> dict:
    """Milliseconds of a decode on one GPU, whole and in tiles, and in the same tiles on all."""
    decoder = decode.random_decoder(settings, device, dtype, 1)
    replicas = [replicate(decoder, other) for other in others]
    geometry = case.geometry
    generator = torch.Generator(device).manual_seed(1)
    latent = torch.randn(1, *geometry.video_shape, generator=generator, device=device).to(dtype)
    tiles = even_tiling(geometry.frames, geometry.height, geometry.width, 2)
    calls: Calls = {
        "whole": partial(decode_video, decoder, latent),
        "tiles": partial(decode_video, decoder, latent, tiles),
        "tiles on all": partial(decode_video, decoder, latent, tiles, replicas=replicas),
    }
    timings = compare(calls, device, rounds)
    rows = {name: {"ms": round(timing.median, 2)} for name, timing in timings.items()}
    rows["tiles on all"]["numbers that differ"] = int((calls["tiles"]() != calls["tiles on all"]()).sum())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=30, help="of stage one in the whole denoise")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU: does the script work?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, after every case")
    arguments = parser.parse_args()
    device, dtype = ("cpu", torch.float32) if arguments.cpu else ("cuda:0", torch.bfloat16)
    if not arguments.cpu and torch.cuda.device_count() < arguments.gpus:
        parser.error(f"{torch.cuda.device_count()} GPUs are here")
    others = ["cpu" if arguments.cpu else f"cuda:{number}" for number in range(1, arguments.gpus)]
    params = TransformerParams.from_config(config(2 if arguments.cpu else None, small=arguments.cpu))
    cases = {"tiny": TINY} if arguments.cpu else {name: CASES[name] for name in ("stage-two", "stage-one")}
    machine = "cpu" if arguments.cpu else f"{arguments.gpus} x {torch.cuda.get_device_name()}"
    report = {"machine": machine, "torch": torch.__version__}

    def tell(name: str, rows: dict) -> None:
        report[name] = rows
        print(name, json.dumps(rows), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    with torch.inference_mode():
        settings = config(small=arguments.cpu)
        tell("decode", decodes(next(iter(cases.values())), settings, device, others, dtype, arguments.rounds))
        model = randomise(AVTransformer(params, dtype=dtype, device=device), 1).eval()
        for kind in ("bf16", "fp8"):
            own = model if kind == "bf16" else contenders.in_fp8(model)
            replicas = [replicate(own, other) for other in others]
            for one in (own, *replicas):
                finish_transformer(one, dtype, next(one.parameters()).device)
            for name, case in cases.items():
                tell(f"{name}, {kind}", evaluations(own, replicas, case, device, dtype, arguments.rounds))
            case, steps = (TINY, 2) if arguments.cpu else (CASES["stage-one"], arguments.steps)
            tell(f"denoise, {kind}", denoises(own, replicas, case, device, dtype, steps))
            del replicas


if __name__ == "__main__":
    main()
