"""Runs `comfy workflow validate` on many files, each in a child of one process that has imported comfy-cli.

    python validate_all.py OBJECT_INFO WORKFLOW...

Prints JSON: of each file the command's exit code and what it printed.
"""

import json
import os
import sys
import tempfile

import comfy_cli.command.workflow  # noqa: F401  # what the command imports when it runs
import comfy_cli.cql.engine  # noqa: F401
from comfy_cli.__main__ import main


def validate(path: str, object_info: str) -> tuple[int, str]:
    with tempfile.TemporaryFile() as output:
        if (child := os.fork()) == 0:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            sys.argv = ["comfy", "workflow", "validate", "--workflow", path, "--input", object_info]
            main()
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return code, output.read().decode()


if __name__ == "__main__":
    object_info, *workflows = sys.argv[1:]
    print(json.dumps({path: validate(path, object_info) for path in workflows}))
