"""Films with the real weights: recorded, compared with the vendor's own pipeline, and shown on one page.

    python benchmarks/real_weights.py MODELS --out DIR [--vendor FOLDER | --vendor installed] [--vendor-python PYTHON]
        [--prompts 3] [--seeds 2] [--width 1536 --height 1024 --frames 121 --steps 30] [--tiles] [--device cuda]

MODELS is a folder with the four files, anywhere below it (ComfyUI's `models`); Gemma as a Hugging Face folder.  The
vendor's packages ltx-core and ltx-pipelines: `installed` in PYTHON, or a folder that holds them (a checkout of
Lightricks/LTX-2 too; 1.2 asks for packages of its own: give it the Python of an environment that has them).  Prompts
and seeds are those of real_run/takes.py, so that machines can be compared.

DIR gets record.json, index.html with the pictures beside it, and the films.  Each side runs in a process of its own,
one after the other; a side that fails is named on the page, and the command ends with 1.

LTX Duo keeps all parts on the device: about 70 GB for the 22B model, and another 14 for decoding 121 frames of
1536x1024 whole.  `--tiles` decodes both sides in tiles: use it on cards of 80 GB.  Smaller cards run the nodes in
ComfyUI, which this script does not (scripts/demo.sh --models does, without the vendor beside).
"""

import argparse
import hashlib
import platform
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from workload import PACK  # noqa: E402  (makes the pack importable)

from ltx_duo.benchmarks.real_run import takes  # noqa: E402

SIDES = ("ours", "vendor")
INSTALLED = "installed"
LOG_CHARACTERS = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vendor", help=f"'{INSTALLED}', or a folder with its packages; left out: LTX Duo alone")
    parser.add_argument("--vendor-python", default=sys.executable, help="the Python that runs the vendor's side")
    parser.add_argument("--prompts", type=int, default=len(takes.PROMPTS), choices=range(1, len(takes.PROMPTS) + 1))
    parser.add_argument("--seeds", type=int, default=2, choices=range(1, len(takes.SEEDS) + 1))
    for name, default in {"width": 1536, "height": 1024, "frames": 121, "steps": 30}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tiles", action="store_true")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="left out: the GPU if there is one")
    parser.add_argument("--keep-tensors", action="store_true", help="half a gigabyte a film and side at full size")
    arguments = parser.parse_args()
    if arguments.out.exists() and any(arguments.out.iterdir()):
        parser.error(f"{arguments.out} holds files already: choose a new folder")
    try:
        job = make_job(arguments)
    except ValueError as error:  # LTXError is one
        parser.error(str(error))
    arguments.out.mkdir(parents=True, exist_ok=True)
    job.write(arguments.out / "job.json")
    failed = {}
    for side in SIDES if arguments.vendor else SIDES[:1]:
        python = arguments.vendor_python if side == "vendor" else sys.executable
        if why := run_side(side, python, arguments.out / "job.json"):
            failed[side] = why
            print(f"{side}: {why}", file=sys.stderr)
    from ltx_duo.benchmarks.real_run import results

    record = results.collect(job, failed, versions(), files_of(job.files), machine(job.device), arguments.keep_tensors)
    print(f"{arguments.out / 'index.html'}: {len(record['takes'])} films")
    return 1 if failed else 0


def make_job(arguments: argparse.Namespace) -> takes.Job:
    """LTXError or ValueError for what no run could make."""
    import torch

    from ltx_duo.ltx_core.checkpoint import Checkpoint
    from ltx_duo.ltx_core.sampling.geometry import check_two_stage
    from ltx_duo.ltx_core.transformer.params import TransformerParams
    from ltx_duo.ltx_core.variants import Kind, variant_of
    from ltx_duo.scripts.demo.models import ModelsMissing, find

    try:
        found = find(arguments.models)
    except ModelsMissing as error:
        raise ValueError(str(error)) from None
    files = takes.Files(found["checkpoint"], found["distilled LoRA"], found["upsampler"], found["text encoder"])
    if not files.gemma.is_dir():
        raise ValueError(f"{files.gemma} is a single file; the vendor's pipeline takes Gemma as a Hugging Face folder")
    fps = 24.0
    check_two_stage(arguments.width, arguments.height, arguments.frames, fps)
    variant = variant_of(Kind.DEV)
    layers = TransformerParams.from_config(Checkpoint.open(files.checkpoint).config).num_layers
    scales = {
        name: takes.Scales(own.cfg, own.stg, own.modality, own.rescale)
        for name, own in (("video", variant.guidance.video), ("audio", variant.guidance.audio))
    }
    return takes.Job(
        files=files,
        width=arguments.width,
        height=arguments.height,
        frames=arguments.frames,
        fps=fps,
        steps=arguments.steps,
        negative_prompt=variant.negative_prompt,
        **scales,
        stg_blocks=tuple(sorted(variant.guidance.blocks(layers))),
        tiles=arguments.tiles,
        device=arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"),
        out=arguments.out.resolve(),
        takes=takes.takes(arguments.prompts, arguments.seeds),
        vendor=Path(arguments.vendor).resolve() if arguments.vendor not in (None, INSTALLED) else None,
    )


def run_side(side: str, python: str, job: Path) -> str | None:
    """The end of what the side said if it failed; its whole log lies beside the job."""
    log = job.with_name(f"{side}.log")
    print(f"{side} ...", flush=True)
    with log.open("w") as output:
        done = subprocess.run(
            [python, str(Path(__file__).resolve()), "--side", side, str(job)], stdout=output, stderr=subprocess.STDOUT
        )
    return log.read_text(errors="replace")[-LOG_CHARACTERS:].strip() or "failed" if done.returncode else None


def side(name: str, job: Path) -> None:
    """One side, in its process."""
    if name == "ours":
        from ltx_duo.benchmarks.real_run import ours as module
    else:
        from ltx_duo.benchmarks.real_run import vendor as module
    module.run(takes.read_job(job))


def versions() -> dict[str, str]:
    project = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)[1]
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=PACK, capture_output=True, text=True, check=False)
    commit = git.stdout.strip()
    return {"ours": f"{version} ({commit})" if commit else version}


def files_of(files: takes.Files) -> list[dict]:
    """Names, sizes, and the beginning of a digest of each header; Gemma's folder file by file."""
    paths = [Path(path) for path in asdict(files).values()]
    flat = [inner for path in paths for inner in (sorted(path.glob("*.safetensors")) if path.is_dir() else [path])]
    return [{"name": path.name, "bytes": path.stat().st_size, "header": _header(path)} for path in flat]


def _header(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(int.from_bytes(file.read(8), "little"))).hexdigest()[:16]


def machine(device: str) -> dict[str, str]:
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    return {
        "device": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
