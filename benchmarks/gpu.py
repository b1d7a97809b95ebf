"""Side-by-side times of the transformer on one GPU: ours and the vendor's, same weights, same run.

    python benchmarks/gpu.py [--case stage-one] [--peers] [--error] [--out FILE]

Prints a table of medians with spread, ratio, TFLOP/s and peak memory, and the error against a float32 run of the same
weights (relative L2 of the velocities) of ours and of the vendor's, per pass.  `--cpu` proves that the script works:
tiny sizes, no figures of interest.
"""

import argparse
import dataclasses
import json
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import vendor  # noqa: E402
from measure import Timing, compare  # noqa: E402
from workload import CASES, Case, Scene, config, randomise  # noqa: E402

from ltx_duo.ltx_core.transformer.model import AVTransformer  # noqa: E402
from ltx_duo.ltx_core.transformer.params import TransformerParams  # noqa: E402


def forward_flop(case: Case, params: TransformerParams, text_tokens: int) -> float:
    """Floating-point operations of one pass, two per multiply-add, modulation left out."""
    v, a, s = case.geometry.video_tokens, case.geometry.audio_frames, text_tokens
    d, e = params.video.width, params.audio.width
    video = 28 * v * d * d + 4 * s * d * d + 4 * v * v * d + 4 * v * s * d
    audio = 28 * a * e * e + 4 * s * e * e + 4 * a * a * e + 4 * a * s * e
    cross = 8 * v * d * e + 8 * a * e * e + 8 * v * a * e
    return params.num_layers * (video + audio + cross)


def errors(ours, reference) -> list[dict[str, float]]:
    """Relative L2 error of video and audio velocities, per pass."""
    rows = []
    for result, exact in zip(ours, reference, strict=True):
        row = {}
        for name, x, y in zip(("video", "audio"), result, exact, strict=True):
            row[name] = ((x.double() - y.double()).norm() / y.double().norm()).item()
        rows.append(row)
    return rows


def run_case(case: Case, ours, theirs, params, arguments) -> dict:
    text_tokens = 16 if arguments.cpu else 1024
    device, dtype = ("cpu", torch.float32) if arguments.cpu else ("cuda", torch.bfloat16)
    scene = Scene.draw(case, params, device, dtype, arguments.seed, text_tokens)
    geometry = case.geometry
    ropes = ours.rope_tables(geometry.video_positions(device), geometry.audio_positions(device))
    passes = scene.passes()
    calls = {"ours": lambda: ours(*scene.inputs(ropes), passes)}
    if theirs is not None:
        calls["vendor 1.0 eager"] = lambda: vendor.run(theirs, scene)
    timings = compare(calls, device, arguments.rounds)
    if arguments.profile:
        print(profile(calls["ours"]))
    flop = forward_flop(case, params, text_tokens) * len(passes)
    result = {name: summary(timing, flop, timings["ours"]) for name, timing in timings.items()}
    if arguments.error and theirs is not None:
        measured = {"ours": errors_of(lambda: ours(*scene.inputs(ropes), passes), theirs, scene)}
        measured["vendor 1.0 eager"] = errors_of(lambda: vendor.run(theirs, scene), theirs, scene)
        result["error against float32"] = {
            name: {p.name: row for p, row in zip(passes, rows, strict=True)} for name, rows in measured.items()
        }
    return result


def profile(call) -> str:
    """The kernels that take the time of one call."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as recorded:
        call()
        torch.cuda.synchronize()
    return recorded.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70)


def errors_of(call, theirs, scene: Scene) -> list[dict[str, float]]:
    if not hasattr(errors_of, "exact") or errors_of.exact[0] is not scene:
        with vendor.float32_compute():
            errors_of.exact = (scene, vendor.run(theirs, scene.to(torch.float32)))
    return errors(call(), errors_of.exact[1])


def summary(timing: Timing, flop: float, ours: Timing) -> dict:
    return {
        "median_ms": round(timing.median, 2),
        "spread": round(timing.spread, 4),
        "ratio_to_ours": round(timing.median / ours.median, 3),
        "tflops": round(flop / timing.median / 1e9, 1),
        "peak_gib": round(timing.peak_gib, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: all")
    parser.add_argument("--peers", action="store_true", help="also time the vendor's model (needs ltx-core installed)")
    parser.add_argument("--error", action="store_true", help="also measure errors against float32 (needs --peers)")
    parser.add_argument("--layers", type=int, help="fewer blocks than the 48 of the real model")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print which kernels take the time")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU: does the script work?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()

    device, dtype = ("cpu", torch.float32) if arguments.cpu else ("cuda", torch.bfloat16)
    settings = config(arguments.layers or (2 if arguments.cpu else None), small=arguments.cpu)
    # The vendor's 1.0 takes audio-video timesteps from the other modality; its successors, and our default, do not.
    params = dataclasses.replace(TransformerParams.from_config(settings), cross_timestep="other")
    report = {"machine": platform.processor() if arguments.cpu else torch.cuda.get_device_name(),
              "torch": torch.__version__, "layers": params.num_layers, "cases": {}}  # fmt: skip
    with torch.inference_mode():
        ours = randomise(AVTransformer(params, dtype=dtype, device=device), arguments.seed).eval()
        theirs = vendor.build(settings, ours.state_dict()) if arguments.peers else None
        for name in arguments.case or CASES:
            report["cases"][name] = run_case(CASES["small" if arguments.cpu else name], ours, theirs, params, arguments)
            print(name, json.dumps(report["cases"][name], indent=1), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
