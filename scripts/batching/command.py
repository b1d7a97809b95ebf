"""Makes many films from a list of jobs (JSON lines): on the GPUs of this machine or of a Ray cluster, or on ComfyUI
servers.

    python scripts/batch.py jobs.jsonl --out films --models /path/to/ComfyUI/models
    python scripts/batch.py jobs.jsonl --out films --servers a:8188 b:8188

Start it again with the same --out to go on where it was stopped.  docs/thousands-of-clips.md tells the rest.
"""

import argparse
import hashlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...ltx_core.generation import named_generation
from ...ltx_core.sampling.conditions import GivenSound
from ...ltx_core.variants import kind_of_name, variant_of
from ..demo import models
from . import clips, foreman, prompts, ray_crew, requests, server_crew
from .engine import DTYPES, ModelFiles
from .faults import BatchError, Faults, JobFault
from .jobs import Job, read_jobs
from .ledger import ENGINE, SERVER, Ledger
from .outputs import OutputFolder

PACK = Path(__file__).resolve().parents[2]
WORKFLOW = PACK / "workflows" / "api" / "text-to-video.api.json"
MADE, SOME_MISSING, STOPPED = 0, 1, 130
# Servers are restarted by people: about two minutes of no answer from any of them end a batch.
SERVER_TRIES, ENGINE_TRIES = 6, 3

# What only engines or only servers take, by the name in the parsed options.
ENGINE_OPTIONS = (
    "models", "checkpoint", "gemma", "upsampler", "distilled_lora", "lora", "dtype", "actors", "threads", "address",
)  # fmt: skip
SERVER_OPTIONS = ("workflow",)
MODEL_PATHS = {
    "checkpoint": "checkpoint", "gemma": "text encoder", "upsampler": "upsampler", "distilled_lora": "distilled LoRA",
}  # fmt: skip


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("jobs", type=Path, help="a list of jobs: one JSON object a line")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where films and manifest.jsonl go")
    parser.add_argument("--redo", action="store_true", help="make films anew whose job has changed since")
    own = parser.add_argument_group("engines on this machine, or on a Ray cluster")
    own.add_argument("--models", type=Path, metavar="DIR", help="a folder with all model files, e.g. ComfyUI/models")
    own.add_argument("--checkpoint", metavar="FILE")
    own.add_argument("--gemma", metavar="PATH", help="a file, or a folder as Hugging Face has it")
    own.add_argument("--upsampler", metavar="FILE")
    own.add_argument("--distilled-lora", metavar="FILE", help="the LoRA of stage two")
    own.add_argument(
        "--lora", nargs=3, action="append", metavar=("FILE", "ONE", "TWO"),
        help="another LoRA, with its strengths in stage one and two; may come several times",
    )  # fmt: skip
    own.add_argument("--dtype", choices=DTYPES, help="default: bfloat16 on a GPU, float32 on a CPU")
    own.add_argument("--actors", type=_count, metavar="N", help="engines (default: one for each GPU; one without any)")
    own.add_argument("--threads", type=_count, metavar="N", help="processors of each engine")
    own.add_argument("--address", help='a Ray cluster to join: host:6379, or "auto" on one of its machines')
    others = parser.add_argument_group("ComfyUI servers that have LTX Duo")
    others.add_argument("--servers", nargs="+", metavar="HOST:PORT")
    others.add_argument("--workflow", type=Path, metavar="FILE", help="in API format (default: text-to-video)")
    options = parser.parse_args(arguments)
    strange = ENGINE_OPTIONS if options.servers else SERVER_OPTIONS
    given = [f"--{name.replace('_', '-')}" for name in strange if getattr(options, name) is not None]
    if given:
        parser.error(f"{', '.join(given)}: not {'with' if options.servers else 'without'} --servers")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def model_files(options: argparse.Namespace) -> ModelFiles:
    """The files that were named one by one, the rest from --models; BatchError for what is missing."""
    named = {what: Path(getattr(options, name)) for name, what in MODEL_PATHS.items() if getattr(options, name)}
    if options.models:
        try:
            named = models.find(options.models, named)
        except models.ModelsMissing as error:
            raise BatchError(str(error)) from None
    missing = [f"--{name}" for name in ("checkpoint", "gemma", "upsampler") if MODEL_PATHS[name] not in named]
    if missing:
        raise BatchError(f"{', '.join(missing)} not given: name the files, or give --models, the folder that has them.")
    distilled = variant_of(kind_of_name(named["checkpoint"].name)).files.lora is None
    loras = [(str(named["distilled LoRA"]), 0.0, 1.0)] if "distilled LoRA" in named and not distilled else []
    if distilled and options.distilled_lora:
        raise BatchError("--distilled-lora is for a dev checkpoint: a distilled one needs none.")
    if not loras and not distilled:
        raise BatchError("--distilled-lora not given: stage two of a dev checkpoint needs it.")
    loras += [(path, _strength(one), _strength(two)) for path, one, two in options.lora or ()]
    paths = (str(named[MODEL_PATHS[name]]) for name in ("checkpoint", "gemma", "upsampler"))
    files = ModelFiles(*paths, tuple(loras), options.dtype)
    gone = [path for path in files.paths() if not Path(path).exists()]
    if gone and options.address is None:  # the machines of a cluster look for themselves
        raise BatchError(f"{', '.join(gone)} is not there.")
    return files


def _strength(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= 100:
        raise BatchError(f"--lora has the strength {text}, expected a number such as 1 or 0.8.")
    return value


def settled(options: argparse.Namespace, files: ModelFiles | None, workflow: prompts.Prompt | None) -> list[clips.Clip]:
    """The clips of the whole list, checked for what makes them."""
    jobs = read_jobs(options.jobs)
    if files is not None:
        name = Path(files.checkpoint).name
        variant = variant_of(kind_of_name(name), named_generation(name))
        return clips.settle(jobs, requests.DEFAULTS, {"engine": files.names()}, _check_for_engine(variant))
    digest = hashlib.sha256(json.dumps(workflow, sort_keys=True).encode()).hexdigest()
    return clips.settle(jobs, prompts.defaults_of(workflow), {"workflow": digest}, _check_for_servers(workflow))


Check = Callable[[Job, GivenSound | None], None]


def _check_for_engine(variant: Any) -> Check:
    def check(job: Job, sound: GivenSound | None) -> None:
        if job.inputs:
            raise JobFault("set is for --servers: engines have no workflow")
        requests.check(job, variant, sound)

    return check


def _check_for_servers(workflow: prompts.Prompt) -> Check:
    def check(job: Job, sound: GivenSound | None) -> None:
        requests.check(job, prompts.variant_for(workflow), sound)
        prompts.filled(workflow, job, ["file"] * (len(job.images) + (sound is not None)), "film")

    return check


def sorted_out(folder: OutputFolder, wanted: list[clips.Clip], redo: bool) -> list[clips.Clip]:
    """The clips that are not there yet; Faults where another film has the name, unless it is to be made anew."""
    left, faults = [], []
    for clip in wanted:
        there, against = folder.standing(clip)
        if against is not None and not redo:
            faults.append(f"line {clip.job.line}: {against}; or give it another name, or --redo")
        elif not there:
            left.append(clip)
    if faults:
        raise Faults(faults)
    return left


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore SIGINT unless they ask for it
        signal.signal(number, _stop)
    try:
        return _run(options)
    except BatchError as error:
        print(error, file=sys.stderr)
        return SOME_MISSING
    except KeyboardInterrupt:
        print(f"\nstopped; the same command goes on, with what is in {options.out}", file=sys.stderr)
        return STOPPED


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    workflow = prompts.read_workflow(options.workflow or WORKFLOW) if options.servers else None
    files = None if options.servers else model_files(options)
    wanted = settled(options, files, workflow)
    with OutputFolder(options.out) as folder:
        todo = sorted_out(folder, wanted, options.redo)
        before = len(wanted) - len(todo)
        print(f"{len(wanted)} films: {before} are there, {len(todo)} to make", flush=True)
        ledger = Ledger(folder, len(wanted), before, SERVER if options.servers else ENGINE, _say)
        left: list[clips.Clip] = []
        if todo:
            with _crew(options, files, workflow, len(todo)) as (crew, workers, tries):
                left = foreman.run(todo, crew, workers, ledger, foreman.Patience(tries=tries))
        print(ledger.summary(left), flush=True)
    return SOME_MISSING if left or ledger.failures else MADE


@contextmanager
def _crew(
    options: argparse.Namespace, files: ModelFiles | None, workflow: prompts.Prompt | None, films: int
) -> Iterator[tuple[foreman.Crew, int, int]]:
    """Who makes the films, how many they are, and how often in a row they may fail to get ready."""
    if options.servers:
        addresses = [server_crew.address_of(text) for text in options.servers]
        with server_crew.servers(addresses, workflow) as crew:
            yield crew, len(addresses), SERVER_TRIES
        return
    with ray_crew.engines(files, options.actors, options.threads, options.address) as crew:
        yield crew, min(crew.room.engines, films), ENGINE_TRIES


def _say(text: str) -> None:
    print(text, flush=True)
