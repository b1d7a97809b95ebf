"""Guidance passes divided between devices: the numbers of one device, and the division that costs least."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.execution.pass_split import divide_passes
from ltx_duo.ltx_core.execution.replicas import replicate
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus
from ltx_duo.ltx_core.sampling.euler import sample_euler
from ltx_duo.ltx_core.sampling.guidance import LTX_2_3_DEV, Contexts, passes
from ltx_duo.tests.ltx_core.execution.teams import FURTHER, RUNNER, helpers_alive
from ltx_duo.tests.ltx_core.sampling.starts import run_sampler, start_stage
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, GEOMETRY, LAYERS, Scene


@pytest.fixture(params=[False, True], ids=["bf16", "fp8"])
def scene(rng, request):
    with torch.no_grad():
        yield Scene(rng, fp8=request.param)


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_each_pass_is_to_the_bit_what_one_device_computes(scene, copies):
    replicas = [replicate(scene.model, FURTHER) for _ in range(copies)]
    four = scene.passes()
    groups = divide_passes(four, 1 + copies, LAYERS)
    assert len(groups) == min(4, 1 + copies)
    with on_several_gpus(scene.model, replicas, runner=RUNNER) as model:
        for sigma in (0.9, 0.5, 0.2):
            inputs = scene.inputs(sigma)
            found = model(*inputs, four)
            for group in groups:
                expected = scene.model(*inputs, [four[i] for i in group])
                for index, own in zip(group, expected, strict=True):
                    for one, other in zip(found[index], own, strict=True):
                        assert one.device.type == DEVICE and torch.equal(one, other) and one.isfinite().all()
        two = four[:2]
        for one, other in zip(model(*inputs, two), (scene.model(*inputs, [own])[0] for own in two), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert helpers_alive() == 0


@pytest.mark.parametrize("reuse", [False, True])
def test_a_whole_stage_is_that_of_one_device(scene, reuse):
    contexts = Contexts(*scene.prompts[0], *scene.prompts[1])
    guidance = replace(LTX_2_3_DEV, reuse=reuse)
    sigmas = torch.tensor([1.0, 0.96, 0.5, 0.0])
    assert guidance.reused_steps(sigmas) == reuse

    def sampled(model):
        state = start_stage(GEOMETRY, torch.Generator(DEVICE).manual_seed(3), dtype=torch.bfloat16, device=DEVICE)
        return run_sampler(sample_euler, model, state, sigmas, guidance, contexts).latents()

    with on_several_gpus(scene.model, [replicate(scene.model, FURTHER)], runner=RUNNER) as model:
        divided = sampled(model)
    for one, other in zip(divided, sampled(scene.model), strict=True):
        distance = (one.float() - other.float()).norm() / other.float().norm()
        assert distance < 0.02


def guided(layers: int = 48):
    contexts = Contexts(*(torch.zeros(1, 1, 1) for _ in range(4)))
    return passes(LTX_2_3_DEV, contexts, layers)


def test_the_division_that_the_arithmetic_gives():
    """Cond and perturbed share 28 of 48 blocks: 68 rows of blocks together, 164 with the other two."""
    names = [own.name for own in guided()]
    divided = [[[names[i] for i in group] for group in divide_passes(guided(), count, 48)] for count in (1, 2, 3, 4, 8)]
    assert divided == [
        [["cond", "negative", "perturbed", "isolated"]],
        [["cond", "perturbed"], ["negative", "isolated"]],
        [["cond", "perturbed"], ["negative"], ["isolated"]],
        [["cond"], ["negative"], ["perturbed"], ["isolated"]],
        [["cond"], ["negative"], ["perturbed"], ["isolated"]],
    ]


@given(st.integers(1, 6), st.sets(st.integers(0, 3), min_size=1))
def test_every_pass_is_computed_once(count, which):
    four = guided()
    chosen = [four[i] for i in sorted(which)]
    groups = divide_passes(chosen, count, 48)
    assert sorted(i for group in groups for i in group) == list(range(len(chosen)))
    assert groups[0][0] == 0 and len(groups) <= count and all(groups)
    assert all(a < b for group in groups for a, b in pairwise(group))
