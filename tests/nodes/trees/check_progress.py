"""One bar for all phases of a node, which only goes forward."""

import comfy.utils
import pytest

from ltx_duo.nodes.comfyui.progress import NodeProgress


@pytest.fixture
def bar(monkeypatch):
    """Every share of the bar that ComfyUI was told, in order."""
    values = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0, raising=False)
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_PERCENT", -100, raising=False)
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview=None, node_id=None: values.append(value / total)
    )
    yield values
    comfy.utils.set_progress_bar_global_hook(None)


def test_phases_share_the_bar_by_their_cost(bar):
    progress = NodeProgress({"reading": 1, "sampling": 3})
    progress.phase("reading").step(1, 1)
    sampling = progress.phase("sampling")
    for done in (1, 2, 3):
        sampling.step(done, 3)
    assert bar == [0.25, 0.5, 0.75, 1.0]


def test_work_that_begins_again_leaves_the_bar_where_it_is(bar):
    """As decoding does that falls back to smaller tiles."""
    progress = NodeProgress({"reading": 1, "decoding": 3})
    decoding = progress.phase("decoding")
    decoding.step(2, 3)
    for done in (1, 4, 8, 10, 12):
        decoding.step(done, 12)
    progress.phase("reading").step(1, 1)
    assert bar == [0.75, 0.75, 0.75, 0.75, 0.875, 1.0, 1.0]
