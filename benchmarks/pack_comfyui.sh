#!/bin/bash
# What a GPU machine without a network needs beside PyTorch to run a ComfyUI 0.30.0 server, in 54 MiB:
#   benchmarks/pack_comfyui.sh COMFYUI OUT      then, there:   source OUT/unpack.sh DIR
# COMFYUI is the folder of ComfyUI.  Expects there: Linux x86-64, Python 3.12, torch, torchaudio, torchvision, transformers,
# safetensors, sentencepiece, einops, scipy, pillow, psutil, aiohttp, requests.  Left out: the front end, ANGLE and OpenGL
# (GLSL nodes), and comfy-kitchen's kernels for AMD.
set -euo pipefail
tree=$(realpath "$1") out=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$out"
packages=(alembic annotated-types av blake3 comfy-aimdo comfy-kitchen gguf kornia kornia_rs Mako pydantic pydantic_core
  pydantic-settings python-dotenv simpleeval spandrel SQLAlchemy torchsde trampoline typing-inspection typing_extensions
  websocket-client)
pins=()
for package in "${packages[@]}"; do
  pins+=("$(grep -hi "^$package==" "$here/../scripts/requirements-comfyui.txt")")
done
platforms=()
for tag in manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64 any; do platforms+=(--platform "$tag"); done
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python3 -m pip install -q --no-deps --no-compile --only-binary=:all: --python-version 3.12 "${platforms[@]}" \
  --target "$site/site" "${pins[@]}"
rm -rf "$site/site/comfy_kitchen/backends/hip" "$site/site/bin"
find "$site/site" -name '*.so*' -exec strip --strip-unneeded {} + 2>/dev/null || true
tar -C "$site" -c site | xz -9 > "$out/site.tar.xz"
tar -C "$(dirname "$tree")" -c --exclude=blueprints --exclude='tests*' --exclude=comfy_api_nodes --exclude=__pycache__ \
  --exclude="$(basename "$tree")/models" "$(basename "$tree")" | xz -9 > "$out/comfyui.tar.xz"
cat > "$out/unpack.sh" <<'END'
mkdir -p "$1" &&
  for archive in site comfyui; do tar -C "$1" -xJf "$(dirname "${BASH_SOURCE[0]}")/$archive.tar.xz" || return; done &&
  export PYTHONPATH="$(realpath "$1")/site${PYTHONPATH:+:$PYTHONPATH}"
END
du -sh "$out"
