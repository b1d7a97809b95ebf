"""Estimates count what they have to: every kind of work adds at least the tensors that it cannot do without."""

import json
from pathlib import Path

import pytest

from ltx_duo.ltx_core.execution import memory_estimates
from ltx_duo.ltx_core.sampling.geometry import LatentGeometry, SoundGeometry
from ltx_duo.ltx_core.transformer.params import TransformerParams
from ltx_duo.ltx_core.video_vae.params import VideoVAEParams

CONFIG = json.loads((Path(__file__).parents[2] / "data" / "ltx-2.3-config.json").read_text())
PARAMS = TransformerParams.from_config(CONFIG)
VAE = VideoVAEParams.from_config(CONFIG)
FILM = LatentGeometry(768, 512, 121, 24.0)
SIZES = [1, 4]


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("chunks", SIZES)
def test_images_behind_the_film_are_tokens_like_its_own(rows, chunks):
    plain, keyframes = (memory_estimates.transformer(PARAMS, FILM, rows, extra, chunks=chunks) for extra in (0, 2))
    stream = rows * 2 * FILM.frame_tokens * PARAMS.video.width * 2
    assert keyframes - plain >= 6 * stream
    # Two images of a frame each cost what two more latent frames do, up to sound.
    longer = LatentGeometry(768, 512, 121 + 16, 24.0 * 137 / 121)
    assert keyframes == pytest.approx(memory_estimates.transformer(PARAMS, longer, rows, chunks=chunks), rel=1e-3)


@pytest.mark.parametrize("rows", SIZES)
def test_sound_is_a_stream_too(rows):
    """The same picture played slowly has more sound."""
    slow = LatentGeometry(768, 512, 121, 1.0)
    more = slow.audio_frames - FILM.audio_frames
    assert more > 2000
    grown = memory_estimates.transformer(PARAMS, slow, rows) - memory_estimates.transformer(PARAMS, FILM, rows)
    stream = rows * more * PARAMS.audio.width * 2
    assert 4 * stream <= grown <= 10 * stream


@pytest.mark.parametrize("rows", SIZES)
def test_a_reference_voice_is_sound(rows):
    plain, voice = (memory_estimates.transformer(PARAMS, FILM, rows, extra_audio=extra) for extra in (0, 125))
    stream = rows * 125 * PARAMS.audio.width * 2
    assert 4 * stream <= voice - plain <= 10 * stream


@pytest.mark.parametrize("rows", SIZES)
def test_a_sound_alone_grows_with_its_length(rows):
    """Beside the text, which is as long for every sound; a voice behind it counts as its own tokens."""
    short, long = (SoundGeometry(latents) for latents in (1000, 1375))

    def need(geometry, **how):
        return memory_estimates.sound_transformer(PARAMS, geometry, rows, **how)

    stream = rows * 375 * PARAMS.audio.width * 2
    assert 6 * stream <= need(long) - need(short) <= 14 * stream
    assert need(short, extra=375) == need(long) > need(long, chunks=4) and need(long, fp8=True) > need(long)
    assert need(long) < memory_estimates.transformer(PARAMS, FILM, rows) / 5


@pytest.mark.parametrize("size", [(768, 512), (1536, 1024)])
def test_a_bias_has_a_number_for_each_pair_of_tokens(size):
    """Once for all passes, and once more where a graph has a copy of its own: which few tokens have."""
    film = LatentGeometry(*size, 121, 24.0)
    for rows in SIZES:
        plain, biased = (memory_estimates.transformer(PARAMS, film, rows, 4, biased=biased) for biased in (False, True))
        pairs = (film.video_tokens + 4 * film.frame_tokens) ** 2 * 2
        assert biased - plain == (2 if size[0] == 768 else 1) * pairs


def test_decoding_sound_grows_with_it():
    """A second is 48000 samples of two channels, and layers before them are wider."""
    assert memory_estimates.audio_decoder(250) - memory_estimates.audio_decoder(125) > 100 * 5 * 48000 * 4


@pytest.mark.parametrize("tile_frames", [16, 48, 121])
def test_tiles_are_laid_into_whole_frames(tile_frames):
    """Beside the tile at work lie whole frames of its span of time, and part of the tiles before; never more than all.

    In float32, three channels a pixel.
    """
    size, tile = (121, 1024, 1536), (tile_frames, 256, 384)
    beside = memory_estimates.tiled_decoder(VAE, size, tile) - memory_estimates.video_decoder(VAE, *tile)
    frame = 1024 * 1536 * 3 * 4
    assert tile_frames * frame <= beside <= min(2 * tile_frames, 121) * frame


def test_a_stage_holds_its_tokens_three_times():
    plain, keyframes = (memory_estimates.sampling_state(FILM, extra) for extra in (0, 1))
    tokens = FILM.video_tokens + FILM.audio_frames
    assert plain == tokens * (3 * 128 * 2 + 64)
    assert keyframes - plain == FILM.frame_tokens * (3 * 128 * 2 + 64)
