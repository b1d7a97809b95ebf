#!/usr/bin/env bash
# Runs all tests, preparing what they need first.  Arguments go to pytest: `bash scripts/test.sh -k schedule`.
# Without any, two runs share the machine: the engine's tests compute, those on servers wait most of their time.
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
engine=(tests/ltx_core tests/parity tests/demo_model)
others=()
for entry in tests/*/ tests/test_*.py; do
  [[ " ${engine[*]} " == *" ${entry%/} "* ]] || others+=("${entry%/}")
done
log=$(mktemp)
trap 'kill $(jobs -p) 2>/dev/null; rm -f "$log"' EXIT
"${pytest[@]}" "${others[@]}" >"$log" 2>&1 &
failed=0
"${pytest[@]}" "${engine[@]}" || failed=$?
wait $! || failed=$?
cat "$log"
exit "$failed"
