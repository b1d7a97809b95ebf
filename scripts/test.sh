#!/usr/bin/env bash
# Runs all tests, preparing what they need first.  Arguments go to pytest: `bash scripts/test.sh -k schedule`.
# Without any, two runs of about equal length share the machine: servers and browsers wait much of their time.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh" test

export HF_HUB_OFFLINE=1 DO_NOT_TRACK=1
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} # ... without keeping a processor from a server beside the tests
cd "$root"
pytest=("${LTXDUO_LOCAL:-$root/.local}/venv/bin/python" -m pytest)
if [ $# -gt 0 ]; then
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} # the tests' tensors are tiny: more threads only wait for each other
  exec "${pytest[@]}" "$@"
fi

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
first=(tests/ltx_core tests/parity tests/demo_model tests/server tests/batch)
second=()
for entry in tests/*/ tests/test_*.py; do
  [[ " ${first[*]} " == *" ${entry%/} "* ]] || second+=("${entry%/}")
done
log=$(mktemp)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -f "$log"' EXIT # a trap that fails would be the exit status
"${pytest[@]}" "${second[@]}" >"$log" 2>&1 &
failed=0
"${pytest[@]}" "${first[@]}" || failed=$?
wait $! || failed=$?
cat "$log"
exit "$failed"
