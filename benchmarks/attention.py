"""Attention alone, on one GPU: PyTorch's kernels and an installed FlashAttention, by shape.

    python benchmarks/attention.py [--rounds 20] [--out FILE]

Heads of 128, 32 of them, bfloat16, as the video's.  Prints milliseconds and, for some queries, the error against
float64 (relative L2).  From which size on the package is worth it, `ltx_core/kernels/flash.py` has as LONG.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from measure import in_turn, timed  # noqa: E402
from workload import load_pack  # noqa: E402

load_pack()
from ltx_duo.ltx_core.kernels import flash  # noqa: E402
from ltx_duo.ltx_core.kernels.attention import attend, scaled_dot_product  # noqa: E402

HEADS = 32
# Queries and keys: films of growing size by themselves, then text, and the sound on the film's side.
SHAPES = [(n, n) for n in (512, 1024, 1536, 2048, 3072, 4096, 6144, 12288, 24576)]
SHAPES += [(6144, 1024), (24576, 1024), (24576, 2048), (1024, 6144), (512, 24576)]
TINY = [(32, 32), (48, 16)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU: does the script work?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    device = "cpu" if arguments.cpu else "cuda"
    flash.LONG = 1  # every shape is to be measured
    report = {}
    for queries, keys in TINY if arguments.cpu else SHAPES:
        figures = report[f"{queries} x {keys}"] = measured(queries, keys, device, arguments.rounds)
        print(f"{queries:>6} x {keys:<6}", *(f"{name} {value:.4g}" for name, value in figures.items()), flush=True)
    print("by", flash.flash_name(torch.empty(0, device=device).device, 1))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def measured(queries: int, keys: int, device: str, rounds: int) -> dict[str, float]:
    """Milliseconds of both, their ratio, and both errors."""
    generator = torch.Generator(device).manual_seed(1)
    drawn = (
        torch.randn(1, n, HEADS, flash.HEAD_WIDTH, generator=generator, device=device) for n in (queries, keys, keys)
    )
    q, k, v = (x.bfloat16().transpose(1, 2) for x in drawn)
    calls = {"pytorch": lambda: scaled_dot_product(q, k, v), "flash": lambda: attend(q, k, v)}
    with torch.inference_mode():
        made = {name: call()[:, :2, :256].double() for name, call in calls.items()}
        exact = scaled_dot_product(q[:, :2, :256].double(), k[:, :2].double(), v[:, :2].double())
        times = {name: [] for name in calls}
        for number in range(rounds):
            for name in in_turn(list(calls), number):
                times[name].append(timed(calls[name], device))
    figures = {f"{name} ms": statistics.median(own) for name, own in times.items()}
    figures["ratio"] = figures["flash ms"] / figures["pytorch ms"]
    return figures | {f"{name} error": ((own - exact).norm() / exact.norm()).item() for name, own in made.items()}


if __name__ == "__main__":
    main()
