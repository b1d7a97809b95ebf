"""Trains the small LTX-2.3 on the drawn world, piece by piece.

    python demo_model/train.py PIECE ... --out DIR [--minutes M] [--device D] [--seed N] [--small]

Each piece takes what earlier ones left in DIR and leaves its own weights, loss curve, sample sheet and measurements
there.  After M minutes a call stops and saves; the same call again goes on.  `write` makes the model's files of them.
"""

import argparse
import importlib
import math
import sys
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent

# Piece -> the module in demo_model/training whose `train(run)` makes it, in the order in which they need each other.
PIECES = {
    "video-vae": "video_vae",
    "audio-vae": "audio_vae",
    "vocoder": "vocoder",
    "upsampler": "upsampler",
    "preview": "preview",
    "transformer": "transformer",
    "final-size": "final_size",
    "published": "published",
    "text": "text",
    "given": "given",
    "lora": "lora",
    "ic-lora": "ic_lora",
    "write": "write",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("pieces", nargs="+", choices=PIECES, metavar="PIECE", help=", ".join(PIECES))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop and save after so long")
    parser.add_argument("--device", help="default: the GPU if there is one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, seconds on a CPU: shows that it runs")
    parser.add_argument("--text-encoder", type=Path, metavar="DIR", help="Gemma-3-270M; default: where setup puts it")
    options = parser.parse_args()
    sys.path.insert(0, str(PACK / "scripts"))
    importlib.import_module("small_model").load_pack()
    training = "ltx_duo.demo_model.training"
    run = importlib.import_module(f"{training}.run").new_run(
        options.out, options.device, options.small, options.seed, options.minutes * 60, options.text_encoder
    )
    for piece in options.pieces:
        if run.out_of_time:
            sys.stdout.write(f"{piece}: no time left, call again\n")
            return 1
        importlib.import_module(f"{training}.{PIECES[piece]}").train(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
