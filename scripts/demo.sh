#!/usr/bin/env bash
# From nothing to a video with sound: environment, ComfyUI, server, workflow, MP4, contact sheet; with the small trained
# model of demo_model/.
# `bash scripts/demo.sh --help` shows the options; `--models DIR` uses the real LTX-2.3 files.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SECONDS=0
bash "$scripts/setup.sh" demo

export LTXDUO_SETUP_SECONDS=$SECONDS OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}
export PYTHONPATH=$scripts${PYTHONPATH:+:$PYTHONPATH}
exec "${LTXDUO_LOCAL:-$(dirname "$scripts")/.local}/venv/bin/python" -m demo "$@"
