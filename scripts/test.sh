#!/usr/bin/env bash
# Runs all tests, preparing what they need first.  Arguments go to pytest: `bash scripts/test.sh -k schedule`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh" test

export HF_HUB_OFFLINE=1 DO_NOT_TRACK=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} # the tests' tensors are tiny: more threads only wait for each other
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} # ... without keeping a processor from a server beside the tests
cd "$root"
exec "${LTXDUO_LOCAL:-$root/.local}/venv/bin/python" -m pytest "$@"
