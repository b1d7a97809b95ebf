"""Side-by-side times on one GPU: ours and the peers', same weights, same inputs, one run.

    python benchmarks/gpu.py [--case stage-one] [--peers] [--vendor CHECKOUT] [--error] [--out FILE]

Where a FlashAttention package is installed, ours run with it too.  Cases are one evaluation of the transformer (all
guidance passes), a step of each stage by what is given (an image, a sound, a film with a retake), the video decode, and
whole denoises: of the dev model, distilled and by the high-quality recipe.  Prints medians with spread, ratio to ours,
TFLOP/s, peak memory of each contender alone, the extra time of the first call and how busy the GPU was; with --error
the error against a float32 run of the same weights (relative L2) in the prompt's pass, and of ours after every block.
What is more than 5 % slower than the GPU record is named (gpu_check.py writes that).  Peers need ltx-core==1.0.0 and
diffusers==0.42.1; --vendor names a checkout of github.com/Lightricks/LTX-2 at 1.2, whose package then stands in for
1.0.  `--cpu` proves that the script works: tiny sizes, no figures of interest.
"""

import argparse
import dataclasses
import datetime
import json
import platform
import sys
from functools import cached_property
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import contenders  # noqa: E402
import decode  # noqa: E402
import denoise  # noqa: E402
import errors  # noqa: E402
import given  # noqa: E402
import gpu_record  # noqa: E402
import vendor  # noqa: E402
import vendor_source  # noqa: E402
from flash_attention import flash_attention  # noqa: E402
from measure import Timing, compare, gpu_milliseconds, kernel_table, weight_bytes  # noqa: E402
from workload import CASES, GENERATIONS, TINY, Case, Scene, config, randomise  # noqa: E402

from ltx_duo.ltx_core.kernels.flash import HEAD_WIDTH, LONG, flash_for  # noqa: E402
from ltx_duo.ltx_core.transformer.model import AVTransformer  # noqa: E402
from ltx_duo.ltx_core.transformer.params import TransformerParams  # noqa: E402

DECODE = "decode"
GIVEN = {"given one": "stage-one", "given two": "stage-two"}
# Of GPU memory, for the float32 run of stage two beside all weights.
ROOM_FOR_FLOAT32 = 100 * 2**30


def forward_flop(case: Case, params: TransformerParams, text_tokens: int) -> float:
    """Floating-point operations of one pass, two per multiply-add, modulation left out."""
    v, a, s = case.video_tokens, case.geometry.audio_frames, text_tokens
    d, e = params.video.width, params.audio.width
    video = 28 * v * d * d + 4 * s * d * d + 4 * v * v * d + 4 * v * s * d
    audio = 28 * a * e * e + 4 * s * e * e + 4 * a * a * e + 4 * a * s * e
    cross = 8 * v * d * e + 8 * a * e * e + 8 * v * a * e
    return params.num_layers * (video + audio + cross)


@dataclasses.dataclass
class Bench:
    """The models of a run, built once, and how to measure."""

    settings: dict
    params: TransformerParams
    model: AVTransformer
    fp8: AVTransformer
    device: str
    dtype: torch.dtype
    arguments: argparse.Namespace
    _peers: dict[str, contenders.Contender] | None = None

    @property
    def text_tokens(self) -> int:
        return 16 if self.device == "cpu" else 1024

    def scene(self, case: Case) -> Scene:
        return Scene.draw(case, self.params, self.device, self.dtype, self.arguments.seed, self.text_tokens)

    def transformer(self, case: Case) -> dict:
        """Times of one evaluation of all passes, by contender."""
        scene = self.scene(case)
        calls = {name: own.prepare(scene) for name, own in self.everyone(scene).items()}
        weights = {name: weight_bytes(own.module) for name, own in self.everyone(scene).items()}
        timings = compare(calls, self.device, self.arguments.rounds, weights=weights)
        flop = forward_flop(case, self.params, self.text_tokens) * len(scene.passes())
        rows = {name: row(timing, timings[contenders.OURS], flop) for name, timing in timings.items()}
        if self.device != "cpu":
            for name in (contenders.OURS, contenders.OURS_FP8):
                rows[name]["gpu_busy"] = round(gpu_milliseconds(calls[name]) / timings[name].median, 3)
        if self.arguments.profile:
            for name in (contenders.OURS, contenders.OURS_FP8):
                print(name, kernel_table(calls[name]))
        del calls
        if self.arguments.error:
            self._add_errors(rows, scene.without_image())
        return rows

    def everyone(self, scene: Scene) -> dict[str, contenders.Contender]:
        """Ours and the peers, each made once."""
        if self._peers is None:
            names = self.arguments.peers or ()
            self._peers = {name: contenders.peer(name, self.settings, self.model, scene) for name in names}
        return self.ours | self._peers

    @cached_property
    def ours(self) -> dict[str, contenders.Contender]:
        """With FlashAttention too, where it computes on this machine."""
        q = torch.zeros(1, 1, LONG, HEAD_WIDTH, dtype=torch.bfloat16, device=self.device)
        return contenders.ours_each(self.model, self.fp8, flash_for(q, q, q) is not None)

    def _add_errors(self, rows: dict, scene: Scene) -> None:
        """Of every contender in the prompt's pass; of ours after every block, where all these streams fit."""
        alone = scene.without_guidance()
        made = {name: own.prepare(alone)() for name, own in self.everyone(scene).items()}
        if not scene.case.guided and self.device != "cpu" and torch.cuda.mem_get_info()[1] < ROOM_FOR_FLOAT32:
            return
        exact = errors.float32_velocities(vendor.in_pytorch(self.settings, self.model.state_dict()), alone)
        for name, velocities in made.items():
            rows[name]["error"] = errors.velocity_errors(velocities, exact, [alone.passes()[0].name])
        if scene.case.guided:
            models = {name: own.module for name, own in self.ours.items()}
            for name, per_block in errors.block_errors(models, models[contenders.OURS], scene).items():
                rows[name]["error_after_block"] = [round(error, 6) for error in per_block]

    def given(self, case: Case) -> dict:
        calls = given.calls(self.model, self.scene(case), self.arguments.seed)
        weights = dict.fromkeys(calls, weight_bytes(self.model))
        timings = compare(calls, self.device, self.arguments.rounds, weights=weights)
        return {name: row(timing, timings[given.IMAGE]) for name, timing in timings.items()}

    def decode(self, case: Case) -> dict:
        peers = self.arguments.peers or ()
        calls, weights = decode.calls(self.settings, case, self.device, self.dtype, self.arguments.seed, peers)
        timings = compare(calls, self.device, self.arguments.rounds, weights=weights)
        return {name: row(timing, timings["ours whole"]) for name, timing in timings.items()}

    def denoise(self, name: str) -> dict:
        recipe = denoise.RECIPES[name]
        case, steps = (TINY, 2) if self.device == "cpu" else (recipe.case, recipe.steps)
        return {
            name: denoise.run(own.module, self.scene(case), recipe, steps, self.arguments.seed)
            for name, own in self.ours.items()
        }


def row(timing: Timing, ours: Timing, flop: float | None = None) -> dict:
    figures = {
        "median_ms": round(timing.median, 2),
        "spread": round(timing.spread, 4),
        "ratio_to_ours": round(timing.median / ours.median, 3),
        "peak_gib": round(timing.peak_gib, 2),
        "cold_extra_s": round(timing.cold_seconds, 2),
    }
    return figures if flop is None else figures | {"tflops": round(flop / timing.median / 1e9, 1)}


def table(rows: dict) -> str:
    shown = ("median_ms", "ratio_to_ours", "spread", "peak_gib", "cold_extra_s", "tflops", "gpu_busy")
    head = f"{'':28}" + "".join(f"{name:>15}" for name in shown)
    lines = [f"{name:28}" + "".join(f"{own.get(key, ''):>15}" for key in shown) for name, own in rows.items()]
    lines += [
        f"{name:28}error of video, audio: {own['error']['cond']['video']:.5f}, {own['error']['cond']['audio']:.5f}"
        for name, own in rows.items()
        if "error" in own
    ]
    return "\n".join([head, *lines])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [*CASES, *GIVEN, DECODE, *denoise.RECIPES]
    parser.add_argument("--case", action="append", choices=choices, help="default: all")
    parser.add_argument("--peers", nargs="*", choices=contenders.PEERS, help="peers to time too; without names: all")
    parser.add_argument(
        "--vendor", type=Path, metavar="CHECKOUT", help="the vendor's 1.2, or its packages/ltx-core/src"
    )
    parser.add_argument("--error", action="store_true", help="also measure errors against float32 (needs ltx-core)")
    parser.add_argument("--generation", choices=GENERATIONS, default=GENERATIONS[0], help="of LTX-2, the transformer")
    parser.add_argument("--layers", type=int, help="fewer blocks than the 48 of the real model")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="print which kernels take the time")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU: does the script work?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    device = "cpu" if arguments.cpu else "cuda"
    if arguments.vendor is not None:
        vendor_source.use(arguments.vendor)
    other, why = (contenders.VENDOR_1_0, "without") if arguments.vendor else (contenders.VENDOR_1_2, "with")
    has_flash = flash_attention(device) is not None
    if arguments.peers == []:
        arguments.peers = [
            name for name in contenders.PEERS
            if name not in other and (has_flash or not name.endswith(contenders.WITH_FA3))
        ]  # fmt: skip
    for name in arguments.peers or ():
        if name in other:
            parser.error(f"{name} runs {why} --vendor CHECKOUT")
        if name.endswith(contenders.WITH_FA3) and not has_flash:
            parser.error(f"{name} needs fa3-fwd or another package with flash_attn_interface")
    return arguments


def main() -> None:
    arguments = parse()
    device, dtype = ("cpu", torch.float32) if arguments.cpu else ("cuda", torch.bfloat16)
    settings = config(arguments.layers or (2 if arguments.cpu else None), arguments.cpu, arguments.generation)
    # The vendor's 1.0 takes audio-video timesteps from the other modality; its successors, and what users run, do not.
    cross_timestep = "other" if set(contenders.VENDOR_1_0) & set(arguments.peers or ()) else "own"
    params = dataclasses.replace(TransformerParams.from_config(settings), cross_timestep=cross_timestep)
    report = {
        "machine": platform.machine() if arguments.cpu else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python benchmarks/gpu.py", *sys.argv[1:]]),
        "layers": params.num_layers,
        "cross_timestep": cross_timestep,
        "cases": {},
    }

    def save() -> None:
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")

    with torch.inference_mode():
        ours = randomise(AVTransformer(params, dtype=dtype, device=device), arguments.seed).eval()
        bench = Bench(settings, params, ours, contenders.in_fp8(ours), device, dtype, arguments)
        for name in arguments.case or [*(CASES if device != "cpu" else ["small"]), *GIVEN, DECODE, *denoise.RECIPES]:
            if name in denoise.RECIPES:
                report[name] = bench.denoise(name)
                print(name, json.dumps(report[name]), flush=True)
            else:
                case = TINY if arguments.cpu else CASES["stage-two" if name == DECODE else GIVEN.get(name, name)]
                measure = bench.decode if name == DECODE else bench.given if name in GIVEN else bench.transformer
                rows = measure(case)
                report["cases"][name] = rows
                print(name, table(rows), sep="\n", flush=True)
            save()
    if arguments.generation != GENERATIONS[0]:  # the record is of the first
        return
    for line in gpu_record.slower(gpu_record.read(), report["machine"], gpu_record.figures(report)):
        print("slower:", line)


if __name__ == "__main__":
    main()
