"""The jobs that run elsewhere: what they fetch with a token in their hands is fixed."""

import re
from pathlib import Path

WORKFLOWS = Path(__file__).resolve().parent.parent / ".github" / "workflows"
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
