"""Many films from a list of jobs.  Start it with --help; docs/thousands-of-clips.md is the way through."""

import importlib
import sys

from small_model import load_pack

if __name__ == "__main__":
    load_pack()
    sys.exit(importlib.import_module("ltx_duo.scripts.batching.command").main())
