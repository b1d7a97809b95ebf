"""Prints the lines of a ComfyUI's requirements.txt that this environment does not meet: `lacking.py REQUIREMENTS`."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# What ComfyUI shows and runs without, hundreds of MB: its own templates and help pages.  The pinned one has neither.
LEFT_OUT = {"comfyui-workflow-templates", "comfyui-embedded-docs"}
# The compiled packages of the environment fit its PyTorch alone.
SHARED = {"torch", "torchvision", "torchaudio"}


def is_met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


def read(text: str) -> list[Requirement]:
    """The requirements of a file's text; ValueError for a line that is none."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    try:
        return [Requirement(line) for line in lines if line]
    except InvalidRequirement as error:
        raise ValueError(f"not a package's name and versions: {error}") from error


def lacking(text: str) -> list[str]:
    """What is to be installed; ValueError when that cannot be done beside the environment."""
    unmet = {canonicalize_name(r.name): str(r) for r in read(text) if not is_met(r)}
    if other := SHARED & unmet.keys():
        wanted = ", ".join(sorted(unmet[name] for name in other))
        raise ValueError(f"it needs {wanted}: raise the versions in scripts/requirements-comfyui.txt first")
    return [line for name, line in unmet.items() if name not in LEFT_OUT]


if __name__ == "__main__":
    try:
        for line in lacking(Path(sys.argv[1]).read_text(encoding="utf-8")):
            print(line)
    except ValueError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
