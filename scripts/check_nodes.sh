#!/usr/bin/env bash
# Runs checks of tests/nodes/trees inside ComfyUI: those that are named, or all of them.
#
#   check_nodes.sh check_lora check_fp8 [-k alpha]      the pinned ComfyUI, 0.30.0
#   LTXDUO_TREE=comfyui-0.3.75 check_nodes.sh check_lora
#   LTXDUO_TREE=newer check_nodes.sh check_lora         the one that LTXDUO_NEWER_COMFYUI names
#   check_nodes.sh                                      all of them
#
# Needs scripts/setup.sh test.  Models are made anew each time (5 s); LTXDUO_SMALL_MODELS=DIR keeps them in a folder.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
local=${LTXDUO_LOCAL:-$root/.local}
python=$local/venv/bin/python
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT

models=${LTXDUO_SMALL_MODELS:-$base/models}
[ -d "$models" ] || "$python" "$root/scripts/small_model.py" "$models" --tokenizer "$local/tokenizer" --also-2.0 --also-2.5 >/dev/null
[ "$models" = "$base/models" ] || ln -s "$(realpath "$models")" "$base/models"

arguments=()
files=0
for argument in "$@"; do
  file=$root/tests/nodes/trees/$argument.py
  if [ -f "$file" ]; then arguments+=("$file") files=1; else arguments+=("$argument"); fi
done
[ "$files" = 1 ] || arguments+=("$root"/tests/nodes/trees/check_*.py)
tree=$local/${LTXDUO_TREE:-comfyui-0.30.0}
if [ "${LTXDUO_TREE:-}" = newer ]; then
  tree=$(realpath "${LTXDUO_NEWER_COMFYUI:?names no ComfyUI}")
  packages=$local/newer-comfyui-packages
  [ -d "$packages" ] || { echo "the packages of $tree are not installed: bash scripts/setup.sh test" >&2; exit 1; }
  export PYTHONPATH=$packages${PYTHONPATH:+:$PYTHONPATH}
fi
export LTXDUO_COMFYUI_TREE=$tree LTXDUO_BASE_DIRECTORY=$base OMP_NUM_THREADS=1
cd "$root"
"$python" -m pytest -q -p no:cacheprovider "${arguments[@]}"
