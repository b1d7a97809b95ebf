"""A recording serves the evaluations it was made of, and no others: whatever differs is recorded for itself."""

from dataclasses import replace

import pytest
import torch

from ltx_duo.ltx_core.execution.splitting import TokenChunks
from ltx_duo.tests.ltx_core.execution.test_graphs import PIECES, block_graphs, check, recorded, recorder  # noqa: F401
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE, Scene  # noqa: F401 - DEVICE makes them GPU tests


def blocks_of_another_model(rng):
    return Scene(rng), Scene(rng)


def another_perturbed_block(rng):
    scene = Scene(rng)
    passes = [
        replace(p, perturbed_video_blocks=frozenset({3})) if p.perturbed_video_blocks else p for p in scene.passes()
    ]
    return scene, (scene, passes)


def one_timestep_for_all_tokens(rng):
    scene = Scene(rng)
    return scene, (scene, None, False)


@pytest.fixture
def asks(request, rng):
    """Evaluates a scene with passes of its own in graphs that all share; gives what was recorded and replayed."""
    log, graphs = request.getfixturevalue("recorded"), request.getfixturevalue("block_graphs")()

    def ask(kind, arrangement=None) -> list[str]:
        scene, passes, held = (*kind, True)[:3] if isinstance(kind, tuple) else (kind, None, True)
        del log[:]
        check(scene, graphs, scene.inputs(0.7, held), passes, arrangement)
        return list(log)

    return ask


RECORDED, REPLAYED = ["record"] * PIECES, ["replay"] * PIECES
# One twice, the other twice, and each once more.
EXPECTED = [RECORDED, REPLAYED, RECORDED, REPLAYED, REPLAYED, REPLAYED]


@pytest.mark.parametrize("kinds", [blocks_of_another_model, another_perturbed_block, one_timestep_for_all_tokens])
def test_other_work_has_recordings_of_its_own(rng, asks, kinds):
    with torch.no_grad():
        one, other = kinds(rng)
        assert [asks(kind) for kind in (one, one, other, other, one, other)] == EXPECTED


def test_other_pieces_have_recordings_of_their_own(rng, asks):
    """Chunks are chosen for want of memory: what was recorded without them takes what is not there."""
    with torch.no_grad():
        scene, found = Scene(rng), []
        for count in (None, None, 4, 4, None, 4):
            found.append(asks(scene, count and TokenChunks(count)))
    assert found == EXPECTED


def test_inference_mode_has_recordings_of_its_own(rng, asks):
    """Outside of it the tensors of one made inside may not be written."""
    with torch.no_grad():
        scene, found = Scene(rng), []
    for mode in (False, False, True, True, False, True):
        with torch.inference_mode(mode), torch.no_grad():  # inference_mode(False) switches gradients on
            found.append(asks(scene))
    assert found == EXPECTED
