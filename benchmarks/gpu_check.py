"""Everything that has to hold on a GPU, in one command: all GPU tests, all cases of gpu.py, and the record of both.

    python benchmarks/gpu_check.py

Ends with an error if a test fails or is skipped, or if a figure is more than 5 % slower than the record of the same
kind of card; then the record stays as it was (`--accept` writes it all the same, for a slowdown that is meant).  Takes
about eight minutes on an H100.  `--processes 4` lets four processes run the tests, with pytest-xdist.  Where there are
two GPUs, the tests run on the second one while the first one runs the cases; a third one takes the whole denoise.
Needs the pack's test packages and ltx-core 1.0 (scripts/setup.sh test), no server and no browser.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import gpu_record
import torch
from denoise import DENOISE
from gpu import DECODE, GIVEN
from gpu_record import PACK
from workload import CASES

ROUNDS = "3"
# Why tests are skipped that are no reproach: another machine, another installation.
TWO_GPUS = "needs two CUDA devices"
NOT_INSTALLED = "needs a FlashAttention package"
ALL_BUT_DENOISE = [*CASES, *GIVEN, DECODE]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="write the record although something became slower")
    parser.add_argument("--commit", help="what is checked; default: git's HEAD")
    parser.add_argument("--processes", type=int, default=1, help="how many of them run the tests")
    parser.add_argument("--out", type=Path, default=gpu_record.FILE, help="where to write the record")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here")
    files, card = gpu_record.digests(), torch.cuda.get_device_name()
    gpus = visible_gpus()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as beside:
        tests = beside.submit(run_tests, Path(folder) / "tests.xml", arguments.processes, gpus[1:2] or gpus)
        if len(gpus) == 1:
            wait([tests])
        if len(gpus) > 2:
            # After a case that compiles what both need: a new process's first steps are no measure.
            whole = beside.submit(run_cases, Path(folder) / "denoise.json", gpus[2], ["stage-one", DENOISE])
            own = run_cases(Path(folder) / "cases.json", gpus[0], ALL_BUT_DENOISE)
            milliseconds = whole.result() | own
        else:
            milliseconds = run_cases(Path(folder) / "cases.json", gpus[0], [*ALL_BUT_DENOISE, DENOISE])
        passed, failed = tests.result()
    worse = gpu_record.slower(gpu_record.read(), card, milliseconds)
    print(
        f"{len(passed)} tests passed, {len(failed)} did not", *failed, *(f"slower: {line}" for line in worse), sep="\n"
    )
    if not passed or failed or (worse and not arguments.accept):
        print("the record stays as it was")
        return 1
    record = gpu_record.Record(
        date=datetime.date.today().isoformat(), card=card, torch=torch.__version__,
        commit=arguments.commit or head(), digest=gpu_record.digest(files), passed=tuple(passed), failed=tuple(failed),
        milliseconds=milliseconds, files=files,
    )  # fmt: skip
    gpu_record.write(record, arguments.out)
    print(f"written: {arguments.out}")
    return 0


def visible_gpus() -> list[str]:
    """The GPUs that there are, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    return os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")[:count]


def run_tests(report: Path, processes: int, gpus: list[str]) -> tuple[list[str], list[str]]:
    """Names of the GPU tests that passed, and of those that did not.

    A test that is skipped has not passed, but for those that want more GPUs than the tests have here, or a package that
    is left to people to install.
    """
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    if processes > 1:
        command += ["-n", str(processes), "--dist", "loadfile"]
    subprocess.run(command, cwd=PACK, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(gpus)})
    passed, failed = [], []
    passed_over = (NOT_INSTALLED, TWO_GPUS) if len(gpus) == 1 else (NOT_INSTALLED,)
    if not report.is_file():
        return [], ["pytest did not run"]
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('file')}::{case.get('name')}"
        if any(reason in str(child.get("message")) for child in case for reason in passed_over):
            continue
        (failed if any(child.tag in ("failure", "error", "skipped") for child in case) else passed).append(name)
    return sorted(passed), sorted(failed)


def run_cases(report: Path, gpu: str, cases: list[str]) -> dict[str, float]:
    """Milliseconds of these cases of gpu.py, ours alone, in a process of its own."""
    command = [sys.executable, str(PACK / "benchmarks" / "gpu.py"), "--rounds", ROUNDS, "--out", str(report)]
    command += [part for case in cases for part in ("--case", case)]
    subprocess.run(command, cwd=PACK, check=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu})
    return gpu_record.figures(json.loads(report.read_text()))


def head() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PACK, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
