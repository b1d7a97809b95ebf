"""What is compiled ahead is what a model then runs."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be set before triton is imported

from ltx_duo.ltx_core.execution.precompile import compile_transformer, run_ahead
from ltx_duo.ltx_core.kernels import triton_fp8, triton_heads, triton_norm
from ltx_duo.tests.ltx_core.transformer.scenes import Scene

KERNELS = (
    triton_norm._residual_norm, triton_heads._norm_rotate, triton_heads._gate_heads, triton_fp8._quantize_rows
)  # fmt: skip


def compiled() -> int:
    return sum(len(caches[0]) for kernel in KERNELS for caches in kernel.device_caches.values())


@pytest.mark.gpu
@pytest.mark.parametrize("fp8", [False, True])
@torch.no_grad()
def test_gpu_nothing_is_left_to_compile(rng, fp8):
    scene = Scene(rng, fp8)
    for kernel in KERNELS:
        kernel.device_caches.clear()
    compile_transformer.cache_clear()
    compile_transformer(scene.params, torch.bfloat16, torch.device("cuda", 0), fp8).result()
    before = compiled()
    assert before >= 15
    velocities = scene.model(*scene.inputs(0.5), scene.passes())
    assert all(x.isfinite().all() for pair in velocities for x in pair)
    assert compiled() == before


@pytest.mark.gpu
def test_gpu_a_failure_is_left_to_whoever_meets_it():
    ran = []

    def fail():
        raise RuntimeError("no compiler")

    assert run_ahead(lambda: [lambda: ran.append(1), fail], torch.device("cuda", 0)).result() is None
    assert ran == [1]


def test_without_a_gpu_nothing_runs():
    assert run_ahead(lambda: [pytest.fail], torch.device("cpu")).result() is None
