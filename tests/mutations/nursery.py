"""Runs pytest again and again in children of a process that has imported PyTorch, and a ComfyUI, already.

    python nursery.py [ComfyUI's folder]

Takes lines of JSON, [file for the output, pytest's arguments...]; answers each with the child's process id, and with
its exit code when it has ended.  The pack itself is imported by the children alone: it may change between them.
"""

import json
import os
import sys
from importlib import import_module

HEAVY = ("pytest", "torch", "transformers", "einops", "safetensors.torch", "hypothesis")
COMFYUI = ("comfy.cli_args", "comfy.model_management", "comfy.sd", "comfy_api.latest")


def grow(tree: str | None) -> None:
    """Imports what takes long, ComfyUI as tests/nodes/trees/conftest.py does."""
    for name in HEAVY:
        import_module(name)
    if tree is not None:
        sys.path.insert(0, tree)
        import comfy.options

        own, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", os.environ["LTXDUO_BASE_DIRECTORY"]]
        comfy.options.enable_args_parsing()
        for name in COMFYUI:
            import_module(name)
        sys.argv = own


def run(output: str, arguments: list[str]) -> None:
    """In a child: pytest, and the end."""
    import pytest

    os.setsid()  # so that servers which tests start can be ended with it
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    os._exit(int(pytest.main(arguments)))


def main() -> None:
    del sys.path[0]  # this file's folder
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what imports print is no answer
    grow(sys.argv[1] if len(sys.argv) > 1 else None)
    for line in sys.stdin:
        output, *arguments = json.loads(line)
        if (child := os.fork()) == 0:
            run(output, arguments)
        print(child, file=answers)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


if __name__ == "__main__":
    main()
