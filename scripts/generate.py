"""From a prompt to an MP4 with sound: load, both stages, decode.  Start it with --help."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of ltx_core
from ltx_core import LatentGeometry, LoRA, Request, StagedLoRA, generate, load_components, write_film  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
for name in ("checkpoint", "gemma", "upsampler", "distilled_lora", "prompt", "film"):
    parser.add_argument(name)
parser.add_argument("--parts", nargs="+", default=[], help="other files of a model in parts, such as LTX-2.5's VAEs")
for name, default in {"width": 1536, "height": 1024, "frames": 121, "steps": None, "seed": 10}.items():
    parser.add_argument(f"--{name}", type=int, default=default)
args = parser.parse_args()

components = load_components(args.checkpoint, args.gemma, args.upsampler, args.parts)
lora = () if args.distilled_lora == "-" else (LoRA.open(args.distilled_lora),)  # distilled models need none
size = LatentGeometry(args.width, args.height, args.frames, fps=24.0)
request = Request(args.prompt, size, steps=args.steps, seed=args.seed)
write_film(generate(components, request, loras=[StagedLoRA(own, 0.0, 1.0) for own in lora]), args.film)
