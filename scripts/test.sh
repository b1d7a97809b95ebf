#!/usr/bin/env bash
# Runs all tests, preparing what they need first.  Arguments go to pytest: `bash scripts/test.sh -k schedule`.
# Without any, the folders are run in parts, one more at a time than there are processors, since those with servers and
# browsers wait a third of their time; each tells of itself at its end.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh" test

export HF_HUB_OFFLINE=1 DO_NOT_TRACK=1
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE} # threads that wait keep no processor from a server beside the tests
cd "$root"
python=${LTXDUO_LOCAL:-$root/.local}/venv/bin/python
if [ $# -gt 0 ]; then
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} # the tests' tensors are tiny: more threads only wait for each other
  exec "$python" -m pytest "$@"
fi

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# The longest first; the last are all others.
tree="tests/nodes/test_comfyui_trees.py::test_tree[comfyui-0.30.0]"
core=tests/canvas/test_core_loaders.py # needs the server with core's small Gemma, which tests/server starts
parts=("tests/canvas tests/registry --ignore $core" "$tree" tests/demo_model "tests/server $core" tests/parity)
parts+=("tests/batch tests/ltx_core" "tests/nodes --deselect $tree")
others=()
for entry in tests/*/ tests/test_*.py; do
  [[ " ${parts[*]} " == *" ${entry%/} "* ]] || others+=("${entry%/}")
done
run='log=$(mktemp); code=0; "$0" -m pytest $1 >"$log" 2>&1 || code=$?; cat "$log"; rm "$log"; exit $code'
printf '%s\n' "${parts[@]}" "${others[*]}" | xargs -P $(($(getconf _NPROCESSORS_ONLN) + 1)) -I{} bash -c "$run" "$python" {}
