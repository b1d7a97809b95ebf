"""LTX Several GPUs on two real ones, in ComfyUI 0.30.0; left out where ComfyUI is not installed."""

from pathlib import Path

import pytest
import torch

from ltx_duo.scripts.demo.server import LOCAL
from ltx_duo.tests.nodes.in_tree import checked

CHECK = Path(__file__).parent / "trees" / "check_several_gpus.py"


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus(small_models, tmp_path):
    result = checked(LOCAL / "comfyui-0.30.0", [str(CHECK)], small_models, tmp_path, LTXDUO_CHECKS_ON_GPU="1")
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
