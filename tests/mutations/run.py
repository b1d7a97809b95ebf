"""Plants errors in a copy of the pack, one at a time, and asks the tests that ought to see each of them.

    python tests/mutations/run.py [--only TEXT ...] [--jobs N]

What is planted where, and who is asked, stands in plants/*.toml.  Prints a table; exit code 1 if one was not seen.
"""

import argparse
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tomllib

HERE = Path(__file__).resolve().parent
PACK = HERE.parents[1]
TREES = "tests/nodes/trees/"  # these tests run inside a ComfyUI: see tests/nodes/test_comfyui_trees.py
NEWEST_TREE = "comfyui-0.30.0"
NOT_COPIED = shutil.ignore_patterns(".git", ".local", "__pycache__", ".*_cache", ".hypothesis")

SEEN, SURVIVED, STALE, UNJUDGED = "seen", "SURVIVED", "STALE", "NOT JUDGED"


@dataclass(frozen=True)
class Plant:
    """An error: `old`, which stands in `file` exactly once, becomes `new`.

    `ask` are patterns of test files, relative to the pack; `k` is pytest's -k; `tree` the ComfyUI for trees/.
    """

    name: str
    file: str
    old: str
    new: str
    ask: tuple[str, ...]
    k: str = ""
    tree: str = NEWEST_TREE

    def stale(self, pack: Path = PACK) -> str | None:
        """Why it cannot be planted any more; None if it can."""
        path = pack / self.file
        found = path.read_text(encoding="utf-8").count(self.old) if path.is_file() else None
        if found is None:
            return f"{self.file} is gone"
        if found != 1:
            return f"the old text stands {found} times in {self.file}"
        absent = [pattern for pattern in self.ask if not any(pack.glob(pattern))]
        return f"no test {', '.join(absent)}" if absent or not self.ask else None


@dataclass(frozen=True)
class Verdict:
    plant: Plant
    word: str
    why: str


def read_plants(folder: Path = HERE / "plants") -> list[Plant]:
    """All plants, in the order of their files."""
    plants = []
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["plant"]:
            plants.append(Plant(**{**entry, "ask": tuple(entry["ask"])}))
    return plants


class Bed:
    """A copy of the pack to plant in, with a base directory for the ComfyUI that tests import."""

    def __init__(self, root: Path, models: Path, limit: float):
        self.pack, self.base, self.limit = root / "pack", root / "base", limit
        shutil.copytree(PACK, self.pack, ignore=NOT_COPIED)
        (self.pack / ".local").symlink_to(PACK / ".local", target_is_directory=True)
        self.base.mkdir()
        (self.base / "models").symlink_to(models, target_is_directory=True)
        self.nurseries: dict[str | None, subprocess.Popen] = {}  # by ComfyUI
        self.sound: dict[tuple, str | None] = {}  # what each set of tests says without any error

    def judge(self, plant: Plant) -> Verdict:
        if why := plant.stale(self.pack):
            return Verdict(plant, STALE, why)
        asked = plant.ask, plant.k, plant.tree
        if asked not in self.sound:
            self.sound[asked] = self._ask(plant)
        if (before := self.sound[asked]) is not None:
            return Verdict(plant, UNJUDGED, f"red without the error: {before}")
        path = self.pack / plant.file
        sound = path.read_text(encoding="utf-8")
        path.write_text(sound.replace(plant.old, plant.new), encoding="utf-8")
        try:
            by = self._ask(plant)
        except TimeoutError:
            return Verdict(plant, UNJUDGED, f"no end within {self.limit:.0f} s")
        finally:
            path.write_text(sound, encoding="utf-8")
        return Verdict(plant, SURVIVED, ", ".join(plant.ask)) if by is None else Verdict(plant, SEEN, by)

    def _ask(self, plant: Plant) -> str | None:
        """The first test that fails; None when all pass."""
        files = sorted({str(path.relative_to(self.pack)) for ask in plant.ask for path in self.pack.glob(ask)})
        inside = [name for name in files if name.startswith(TREES)]
        for names, tree in (([n for n in files if n not in inside], None), (inside, plant.tree)):
            if names and (failed := self._pytest([*names, *(["-k", plant.k] if plant.k else [])], tree)):
                return failed
        return None

    def _pytest(self, arguments: Sequence[str], tree: str | None) -> str | None:
        if tree not in self.nurseries:
            self.nurseries[tree] = self._nursery(tree)
        nursery, output = self.nurseries[tree], self.pack.parent / "output"
        how = ["-x", "-q", "--tb=line", "-rfE", "-p", "no:cacheprovider"]
        nursery.stdin.write(json.dumps([str(output), *how, *arguments]) + "\n")
        nursery.stdin.flush()
        late = threading.Timer(self.limit, os.killpg, (int(nursery.stdout.readline()), signal.SIGKILL))
        late.start()
        code = int(nursery.stdout.readline())
        late.cancel()
        if code == -signal.SIGKILL:
            raise TimeoutError
        if code == 0:
            return None
        text = output.read_text(encoding="utf-8", errors="replace")
        failed = re.search(r"^(?:FAILED|ERROR) (?:\S*/)?(.+?)(?: - .*)?$", text, re.MULTILINE)
        return failed[1] if failed else f"pytest ended with {code}"

    def _nursery(self, tree: str | None) -> subprocess.Popen:
        # Without bytecode: Python would take that of the sound file where size and second are the same.
        variables = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, str(self.pack / "tests" / "mutations" / "nursery.py")]
        if tree is not None:
            command.append(str(self.pack / ".local" / tree))
            variables |= {"LTXDUO_COMFYUI_TREE": command[-1], "LTXDUO_BASE_DIRECTORY": str(self.base)}
        return subprocess.Popen(
            command, cwd=self.pack, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def close(self) -> None:
        for nursery in self.nurseries.values():
            nursery.communicate()


def judge_all(plants: Iterable[Plant], jobs: int, limit: float) -> Iterator[Verdict]:
    """Verdicts in the order of the plants, `jobs` at a time."""
    with tempfile.TemporaryDirectory(prefix="ltxduo-mutations-") as folder:
        root, script = Path(folder), PACK / "scripts" / "small_model.py"
        models, tokenizer = root / "models", PACK / ".local" / "tokenizer"
        make = [sys.executable, str(script), str(models), "--tokenizer", str(tokenizer), "--also-2.0", "--also-2.5"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        free: queue.Queue[Bed] = queue.Queue()
        beds = [Bed(root / str(number), models, limit) for number in range(jobs)]
        for bed in beds:
            free.put(bed)

        def judge(plant: Plant) -> Verdict:
            bed = free.get()
            try:
                return bed.judge(plant)
            except TimeoutError:
                return Verdict(plant, UNJUDGED, f"no end within {limit:.0f} s without the error")
            finally:
                free.put(bed)

        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(judge, plants)
        for bed in beds:
            bed.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="TEXT", help="errors with TEXT in name or file")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--limit", type=float, default=600, help="seconds that asked tests may take")
    options = parser.parse_args()
    plants = [p for p in read_plants() if any(text in f"{p.name} {p.file}" for text in options.only)]
    counts: dict[str, int] = {}
    print("| error | in | verdict | by |\n|---|---|---|---|")
    for verdict in judge_all(plants, options.jobs, options.limit):
        counts[verdict.word] = counts.get(verdict.word, 0) + 1
        print(f"| {verdict.plant.name} | {verdict.plant.file} | {verdict.word} | {verdict.why} |", flush=True)
    print("\n" + (", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "nothing to plant"))
    return 0 if counts.keys() == {SEEN} else 1


if __name__ == "__main__":
    sys.exit(main())
