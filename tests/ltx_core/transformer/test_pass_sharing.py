"""The sharing plan, simulated symbolically: every pass must see exactly its own history, and no history twice."""

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.transformer.inputs import GuidancePass
from ltx_duo.ltx_core.transformer.pass_sharing import plan_passes

LAYERS = 5
CONTEXTS = [(torch.zeros(1), torch.zeros(1)) for _ in range(3)]

passes_strategy = st.lists(
    st.builds(
        lambda context, video, audio, isolated: GuidancePass(
            "any", *CONTEXTS[context], frozenset(video), frozenset(audio), isolated
        ),
        st.integers(0, 2),
        st.sets(st.integers(0, LAYERS - 1), max_size=2),
        st.sets(st.integers(0, LAYERS - 1), max_size=2),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def history_of(guidance_pass: GuidancePass) -> tuple:
    """What happens to one pass that runs alone."""
    steps = []
    for layer in range(LAYERS):
        bypass = (layer in guidance_pass.perturbed_video_blocks, layer in guidance_pass.perturbed_audio_blocks)
        steps += [bypass, id(guidance_pass.video_context), not guidance_pass.isolated]
    return tuple(steps)


def simulate(passes: list[GuidancePass]) -> tuple[list[tuple], int]:
    """Follows the plan with histories in place of tensors; also counts the rows that self-attention runs."""
    plan = plan_passes(passes, LAYERS)
    rows, evaluations = [()], 0
    for block in plan.blocks:
        rows = rows if block.split_self is None else [rows[i] for i in block.split_self]
        evaluations += len(rows)
        assert len(block.video_bypass) == len(block.audio_bypass) == len(rows)
        bypass = zip(block.video_bypass, block.audio_bypass, strict=True)
        rows = [(*row, both) for row, both in zip(rows, bypass, strict=True)]
        rows = rows if block.split_text is None else [rows[i] for i in block.split_text]
        contexts = (0,) * len(rows) if block.contexts is None else block.contexts
        ids = [id(passes[plan.context_passes[context]].video_context) for context in contexts]
        rows = [(*row, context) for row, context in zip(rows, ids, strict=True)]
        rows = rows if block.split_cross is None else [rows[i] for i in block.split_cross]
        joined = tuple(range(len(rows))) if block.joined is None else block.joined
        assert joined == tuple(range(len(joined))), "rows with audio-video attention are not the first ones"
        rows = [(*row, number in joined) for number, row in enumerate(rows)]
        assert len(set(rows)) == len(rows), "two rows with the same history: work is done twice"
    return [rows[row] for row in plan.row_of_pass], evaluations


@given(passes_strategy)
def test_every_pass_sees_its_own_history(passes):
    results, _ = simulate(passes)
    assert results == [history_of(guidance_pass) for guidance_pass in passes]


def test_the_perturbed_pass_is_free_before_its_block():
    positive, negative = CONTEXTS[:2]
    passes = [
        GuidancePass("cond", *positive),
        GuidancePass("negative", *negative),
        GuidancePass("perturbed", *positive, frozenset({3}), frozenset({3})),
        GuidancePass("isolated", *positive, isolated=True),
    ]
    _, evaluations = simulate(passes)
    # The first block's self-attention is common to all; then three histories, four from the perturbed block on.
    assert evaluations == 1 + 3 + 3 + 4 + 4


def test_rows_that_share_a_context_are_neighbours():
    """From then on one attention serves them all."""
    positive, negative = CONTEXTS[:2]
    plan = plan_passes(
        [
            GuidancePass("cond", *positive),
            GuidancePass("negative", *negative),
            GuidancePass("perturbed", *positive, frozenset({3}), frozenset({3})),
            GuidancePass("isolated", *positive, isolated=True),
        ],
        LAYERS,
    )
    runs = [[context for context, _ in itertools.groupby(block.contexts)] for block in plan.blocks]
    assert runs == [[1, 0]] * LAYERS


def test_equal_passes_cost_one():
    _, evaluations = simulate([GuidancePass("cond", *CONTEXTS[0])] * 3)
    assert evaluations == LAYERS
