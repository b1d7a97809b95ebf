"""The jobs that run elsewhere: what they fetch with a token in their hands is fixed, and they fail when a test does."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"
STEP = re.compile(r"^      - (?:.*\n)(?:^        .*\n?)*", re.MULTILINE)
USES = re.compile(r"uses: (\S+)@(\S+)")


def steps() -> list[str]:
    return [step for path in sorted(WORKFLOWS.glob("*.yml")) for step in STEP.findall(path.read_text() + "\n")]


def test_actions_that_get_a_secret_are_commits():
    actions = [USES.search(step) for step in steps() if "secrets." in step and "uses:" in step]
    assert actions
    assert all(re.fullmatch(r"[0-9a-f]{40}", action[2]) for action in actions)


def test_no_action_follows_a_branch():
    refs = [action[2] for step in steps() if (action := USES.search(step))]
    assert len(refs) >= 5
    assert not {"main", "master", "latest"} & set(refs)


def test_the_published_addresses_are_those_of_the_tag():
    """The step that publishes keeps what the step before it wrote into pyproject.toml."""
    publish = next(step for step in steps() if "publish-node-action" in step)
    assert 'skip_checkout: "true"' in publish


PLACES = ("tests/ltx_core", "tests/registry", "tests/of_another_day", "tests/test_of_another_day.py")


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout whose set-up does nothing, and whose Python says what it is asked for and fails where FAILS is."""
    for name in PLACES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch() if name.endswith(".py") else (tmp_path / name).mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    (tmp_path / "scripts" / "setup.sh").write_text("exit 0\n")
    python = tmp_path / ".local" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\necho "$@"\ncase " $* " in *" $FAILS "*) exit 1 ;; esac\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("fails", ["nothing", *PLACES])
def test_all_tests_run_once_and_pass_when_every_part_does(checkout, fails):
    environment = os.environ | {"FAILS": fails}
    environment.pop("LTXDUO_LOCAL", None)
    command = ["bash", "scripts/test.sh"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == (fails == "nothing")
    asked = done.stdout.split()
    assert [asked.count(place) for place in PLACES] == [1] * len(PLACES)
    assert done.stderr == ""


def test_what_test_sh_names_is_there():
    named = set(re.findall(r"tests/[\w/.]+(?![\w/.*])", (ROOT / "scripts" / "test.sh").read_text()))
    assert {"tests/nodes", "tests/parity"} < named
    assert [place for place in named if not (ROOT / place).exists()] == []
