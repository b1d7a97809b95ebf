#!/bin/bash
# What a GPU machine without a network needs to run ComfyUI 0.30.0's memory manager in a process, in 54 MiB:
#   benchmarks/pack_comfyui.sh COMFYUI OUT      then, there:   source OUT/unpack.sh DIR
# COMFYUI is the folder of ComfyUI.  Expects PyTorch, transformers, safetensors, einops, scipy, psutil and aiohttp there.
set -euo pipefail
tree=$(realpath "$1") out=$2
mkdir -p "$out"
tar -C "$(dirname "$tree")" -czf "$out/comfyui.tar.gz" --exclude=web --exclude=blueprints --exclude='tests*' \
    --exclude=comfy_api_nodes --exclude="$(basename "$tree")/models" --exclude=__pycache__ "$(basename "$tree")"
for package in comfy-aimdo comfy-kitchen; do
    pin=$(grep -h "^$package==" "$tree/requirements.txt")
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux2014_x86_64 --platform any -d "$out" "$pin"
done
cat > "$out/unpack.sh" <<'END'
mkdir -p "$1/site"
python3 -m pip install -q --no-deps --no-index --target "$1/site" "$(dirname "${BASH_SOURCE[0]}")"/*.whl
tar -C "$1" -xzf "$(dirname "${BASH_SOURCE[0]}")/comfyui.tar.gz"
export PYTHONPATH="$1/site"
END
du -sh "$out"
