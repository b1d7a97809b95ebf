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


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout whose set-up does nothing and whose Python ends as SERVERS and ENGINE say, after naming its run."""
    for name in ("ltx_core", "registry"):
        (tmp_path / "tests" / name).mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    (tmp_path / "scripts" / "setup.sh").write_text("exit 0\n")
    python = tmp_path / ".local" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        "#!/usr/bin/env bash\n"
        'case "$*" in *tests/ltx_core*) echo engine; exit $ENGINE ;; *) echo servers; exit $SERVERS ;; esac\n'
    )
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(("engine", "servers"), [(0, 0), (1, 0), (0, 1), (2, 1)])
def test_the_tests_pass_when_both_runs_do(checkout, engine, servers):
    command = ["bash", "scripts/test.sh"]
    environment = os.environ | {"ENGINE": str(engine), "SERVERS": str(servers)}
    environment.pop("LTXDUO_LOCAL", None)
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == (engine == servers == 0)
    assert done.stdout.split() == ["engine", "servers"]
    assert done.stderr == ""
