"""What the training with something given draws: masks as the engine makes them, relatives, what is kept and counts."""

import pytest
import torch

from ltx_duo.demo_model.training import given_masks
from ltx_duo.demo_model.training.families import (
    NO_MOTION,
    NO_SHAPE,
    WHOLE,
    WHOLE_CAPTIONS,
    Families,
    captions,
    families,
)
from ltx_duo.demo_model.training.flow import Kind
from ltx_duo.demo_model.training.given_flow import draw_batch, draw_clips, flow_loss, inputs
from ltx_duo.demo_model.training.given_masks import (
    BOX,
    FILM,
    IMAGE,
    SHARES,
    SOUND,
    WINDOW,
    draw_boxes,
    draw_masks,
    draw_tasks,
    draw_windows,
    in_boxes,
    in_windows,
)
from ltx_duo.demo_model.training.latents import geometry
from ltx_duo.demo_model.training.network import Ropes
from ltx_duo.demo_model.training.run import Run, new_run
from ltx_duo.demo_model.training.text_features import TextPool
from ltx_duo.demo_model.world.scenes import FPS, FRAMES
from ltx_duo.ltx_core.sampling.conditions import GivenFilm

SIZE = 128


def film(windows: torch.Tensor | None = None, box: tuple[int, int, int, int] | None = None) -> GivenFilm:
    mask = None
    if box is not None:
        mask = torch.zeros(1, SIZE, SIZE)
        mask[:, box[1] : box[3], box[0] : box[2]] = 1
    window = (0.0, float("inf")) if windows is None else tuple(windows.tolist())
    return GivenFilm(torch.zeros(FRAMES, SIZE, SIZE, 3), FPS, windows=(window,), mask=mask)


def test_windows_are_masked_as_the_engine_masks_them(rng):
    windows = draw_windows(40, rng)
    picture, heard = in_windows(windows, SIZE)
    for own, video, audio in zip(windows, picture, heard, strict=True):
        given = film(own.double())
        assert torch.equal(video.float(), given.video_mask(geometry(SIZE)).flatten())
        assert torch.equal(audio.float(), given.audio_mask(geometry(SIZE))[0])
    begins, ends = windows.unbind(1)
    assert (begins < 0).float().mean() > 0.05 and ends.isinf().float().mean() > 0.05


def test_boxes_are_masked_as_the_engine_masks_them(rng):
    pixels = (draw_boxes(40, rng) * SIZE).round()
    for own, mask in zip(pixels, in_boxes(pixels / SIZE, SIZE), strict=True):
        given = film(box=tuple(own.int().tolist()))
        assert torch.equal(mask.float(), given.video_mask(geometry(SIZE)).flatten())


def test_every_task_has_its_share(rng):
    counts = torch.bincount(draw_tasks(1000, rng), minlength=5) / 1000
    assert counts.tolist() == pytest.approx(SHARES, abs=0.002)


def test_each_task_keeps_what_is_given(rng):
    tasks = torch.arange(5).repeat_interleave(200)
    boxes = torch.tensor([0.3, 0.3, 0.6, 0.6]).expand(len(tasks), 4, 4)
    masks = draw_masks(tasks, boxes, SIZE, rng)
    first = geometry(SIZE).frame_tokens
    of = {task: tasks == task for task in (IMAGE, SOUND, FILM, WINDOW, BOX)}
    for task in (IMAGE, SOUND):
        assert masks.video[of[task], first:].all() and (masks.other[of[task]] == 0).all()
        with_image = masks.low[of[task]] < 1
        assert torch.equal(~masks.video[of[task], :first].any(1), with_image) and 0 < with_image.sum() < 200
    assert masks.audio[of[IMAGE] | of[FILM]].all() and not masks.audio[of[SOUND]].any()
    assert not masks.video[of[FILM]].any()
    assert (masks.low[~of[IMAGE] & ~of[SOUND]] == 0).all()
    picture, heard = (mask[of[WINDOW]].any(1).float().mean() for mask in (masks.video, masks.audio))
    assert picture == pytest.approx(1 - given_masks.SOUND_ONLY, abs=0.1)
    assert heard == pytest.approx(1 - given_masks.PICTURE_ONLY, abs=0.1)
    assert masks.video[of[BOX]].any(1).all() and not masks.video[of[BOX] & (masks.other > 0)].all(1).any()
    around = of[BOX] & (masks.other > 0) & masks.video.unflatten(1, (5, -1)).any(2).all(1)  # in every latent frame
    assert around.sum() > 50 and masks.video[around][:, 5:7].all()  # the cells in which the shape comes
    for task in (WINDOW, BOX):
        assert set(masks.other[of[task]].tolist()) == {0, 1, 2, 3}


@pytest.fixture
def run(tmp_path) -> Run:
    return new_run(tmp_path, "cpu", small=True)


def test_relatives_lie_and_move_alike(run):
    groups = families(run, 6, 3)
    assert len(groups) == 24
    for number, group in enumerate(groups):
        first = group[0]
        for other, changed in ((1, {"colour"}), (2, {"shape"}), (3, {"colour", "shape"})):
            beside = groups[number ^ other][0]
            differs = {name for name in vars(first) if getattr(first, name) != getattr(beside, name)}
            assert differs - {"y"} == changed
            assert ("y" in differs) <= (first.motion == "bouncing")
        assert {(s.shape, s.colour, s.motion) for s in group} == {(first.shape, first.colour, first.motion)}
    assert families(run, 6, 1) == [group[:1] for group in groups]  # the captions' scenes do not depend on the clips


def test_captions_leave_out_what_they_are_to(run):
    for group, told in zip(groups := families(run, 6, 1), captions(run, groups), strict=True):
        scene = group[0]
        assert len(told) == WHOLE_CAPTIONS + 3
        assert all(scene.shape in text and scene.colour in text for text in map(str.lower, told[:WHOLE_CAPTIONS]))
        no_shape, no_motion = (told[WHOLE_CAPTIONS - 1 + kind] for kind in (NO_SHAPE, NO_MOTION))
        assert scene.shape not in no_shape.lower() and scene.shape in no_motion.lower()


@pytest.fixture
def data(rng) -> Families:
    """Eight groups of three clips at 32 pixels; every token of a clip tells its group and number."""
    marks = torch.arange(8)[:, None] * 10 + torch.arange(3) + 1.0
    lengths = torch.full((8 * 7 + 2,), 2)
    text = TextPool(torch.randn(len(lengths) * 2, 4, generator=rng), lengths.cumsum(0) - lengths, lengths)
    told = torch.arange(8 * 7).view(8, 7)
    return Families(
        {32: marks[..., None, None].expand(-1, -1, 5, 128)}, marks[..., None, None].expand(-1, -1, 34, 128),
        torch.tensor([0.2, 0.2, 0.8, 0.8]).expand(8, 3, 4), text, told, torch.tensor([56, 57]),
    )  # fmt: skip


def test_kept_and_made_anew_are_of_one_family(data, rng):
    clips = draw_clips(data, Kind(32, 40, 2, 128), 0.0, rng)
    groups, others, numbers = clips.numbers
    assert torch.equal(groups // 4, others // 4) and (groups != others).any()
    for tokens, mask in ((clips.video, clips.video_mask), (clips.audio, clips.audio_mask)):
        expected = torch.where(mask, groups[:, None], others[:, None]) * 10 + numbers[:, None] + 1
        assert torch.equal(tokens[..., 0], expected.float())
    assert torch.equal(clips.captions.repeat_interleave(2) // 7, groups)  # the caption tells what is made anew


def test_what_is_kept_is_clean_and_its_timestep_is_0(data, rng):
    kind = Kind(32, 40, 2, 128)
    batch = draw_batch(data, kind, 0.0, rng)
    empty = Ropes(None, None, None, None)
    video, audio = inputs(batch, empty)
    for stream, mask, target, sigmas in (
        (video, batch.video_mask, batch.video_target, batch.video_sigmas),
        (audio, batch.audio_mask, batch.audio_target, batch.audio_sigmas),
    ):
        levels = stream.timesteps.index.spread(stream.timesteps.values[:, None])[..., 0]
        clean = stream.tokens - levels[..., None] * target
        torch.testing.assert_close(clean[..., 0], clean[..., 0].round(), rtol=0, atol=1e-3)  # the clips' own marks
        assert torch.equal(stream.tokens[levels == 0], clean[levels == 0])
        assert (levels[mask] > 0).all()
        assert torch.equal(sigmas == 0, ~mask.any(1))  # a stream that is given as a whole is told no noise
    assert (audio.timesteps.index.spread(audio.timesteps.values[:, None])[..., 0][~batch.audio_mask] == 0).all()


def test_what_is_kept_counts_for_no_loss(data, rng):
    batch = draw_batch(data, Kind(32, 40, 2, 128), 0.0, rng)
    video = batch.video_target.clone()
    audio = batch.audio_target.clone()
    kept = ~batch.video_mask & (batch.video_levels[:, :1] == 0)
    video[kept] += 100
    audio[~batch.audio_mask] += 100
    assert kept.any() and [float(term) for term in flow_loss((video, audio), batch)] == [0.0, 0.0]
    video[batch.video_mask] += 1
    assert flow_loss((video, audio), batch)[0] > 0.5


def test_captions_by_what_they_tell(data, rng):
    groups = torch.arange(8).repeat(50)
    for telling, columns in ((WHOLE, {0, 1, 2, 3}), (NO_SHAPE, {4}), (NO_MOTION, {5})):
        numbers = data.captions(groups, torch.full_like(groups, telling), rng, 0.0)
        assert torch.equal(numbers // 7, groups) and set((numbers % 7).tolist()) == columns
    assert set(data.captions(groups, torch.zeros_like(groups), rng, 1.0).tolist()) == {56, 57}
