"""Writes a small LTX-2.3: random weights, fixed seed, the official files' layout and metadata.

    python scripts/small_model.py OUT_DIR --tokenizer DIR [--seed N] [--also-2.0] [--also-2.5]

OUT_DIR gets the folders of ComfyUI's models folder: checkpoints, latent_upscale_models, loras, text_encoders.  DIR
holds Gemma-3's tokenizer.json and tokenizer_config.json.  With --also-2.0 a small LTX-2.0 lies beside it, for the same
text encoder, with --also-2.5 a small LTX-2.5, in a file for each part.  The same seed gives the same bytes.
"""

import argparse
import importlib
import importlib.util
import sys
import time
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent


def load_pack() -> None:
    """Makes the pack importable as `ltx_duo`, wherever it lies: the vendor also has a package called ltx_core."""
    if "ltx_duo" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "ltx_duo", PACK / "__init__.py", submodule_search_locations=[str(PACK)]
        )
        sys.modules["ltx_duo"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["ltx_duo"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path, metavar="OUT_DIR")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="folder with tokenizer.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--also-2.0", dest="also_2_0", action="store_true", help="a small LTX-2.0 beside it")
    parser.add_argument("--also-2.5", dest="also_2_5", action="store_true", help="a small LTX-2.5 beside it")
    options = parser.parse_args()
    load_pack()
    write = importlib.import_module("ltx_duo.scripts.small_model_parts.write")
    split = importlib.import_module("ltx_duo.scripts.small_model_parts.write_split")
    sizes = importlib.import_module("ltx_duo.scripts.small_model_parts.sizes")
    start = time.monotonic()
    try:
        paths = write.write_small_model(options.folder, options.tokenizer, options.seed)
        if options.also_2_0:
            paths += write.write_model_files(options.folder, sizes.ltx_2_0(), options.seed)
        if options.also_2_5:
            paths += split.write_split_files(options.folder, sizes.ltx_2_5(), options.tokenizer, options.seed)
    except FileNotFoundError as error:
        parser.error(str(error))
    for path in paths:
        files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        sys.stdout.write(f"{sum(file.stat().st_size for file in files) / 1e6:8.1f} MB  {path}\n")
    sys.stdout.write(f"written in {time.monotonic() - start:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
