"""The gallery's prompts, and the picture that it makes of films: here of drawn ones."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx_duo.demo_model import write_given
from ltx_duo.demo_model.world import caption, draw_scene, render
from ltx_duo.demo_model.world.tones import PITCHES
from ltx_duo.demo_model.write_given import RATE
from ltx_duo.scripts.demo import command, gallery, media, sound_picture
from ltx_duo.tests.server.drawn import SQUARE, STAR, save_film


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> list[tuple[gallery.Exhibit, Path]]:
    folder = tmp_path_factory.mktemp("films")
    scenes = (STAR, SQUARE, *(draw_scene(random.Random(number)) for number in range(4)))
    return [
        (exhibit, save_film(scene, folder / f"{exhibit.name}.mp4"))
        for exhibit, scene in zip(gallery.EXHIBITS, scenes, strict=True)
    ]


def loudest_hertz(picture: Image.Image) -> float:
    """The frequency of the brightest row of a sound's spectrogram, its marks left out."""
    height = picture.height - round(picture.height * sound_picture.WAVE_SHARE)
    rows = np.asarray(picture.convert("L"), float)[:height, 60:].mean(axis=1)
    place = 1 - int(rows.argmax()) / (height - 1)
    return sound_picture.LOWEST * (sound_picture.HIGHEST / sound_picture.LOWEST) ** place


def wave_heights(picture: Image.Image) -> np.ndarray:
    """(width,): how many pixels of each column the waveform covers."""
    height = round(picture.height * sound_picture.WAVE_SHARE)
    return (np.asarray(picture)[-height:, :, 0] > 150).sum(axis=0)


@pytest.mark.parametrize("frequency", [200.0, 800.0, 5000.0])
def test_spectrogram_shows_a_tone_at_its_height(frequency):
    tone = 0.3 * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)
    picture = sound_picture.draw(np.stack([tone, tone]), RATE, 300, 160)
    assert picture.size == (300, 160)
    assert loudest_hertz(picture) == pytest.approx(frequency, rel=0.06)


def test_waveform_grows_with_the_sound():
    growing = np.linspace(0.2, 0.6, RATE) * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    heights = wave_heights(sound_picture.draw(np.stack([growing, growing]), RATE, 300, 160))
    assert heights[-10:].min() > 2.5 * heights[:10].max()


def test_silence_is_dark_and_flat():
    picture = sound_picture.draw(np.zeros((2, RATE)), RATE, 300, 160)
    assert np.asarray(picture)[:120, 60:].max() < 40
    assert wave_heights(picture).max() == 1


def test_gallery_shows_frames_and_sound_of_each_film_in_its_row(films, tmp_path):
    path = gallery.draw(films, tmp_path / "gallery.jpg")
    assert path.stat().st_size < 400_000
    picture = Image.open(path)
    for row in (0, 1):
        frames = media.read_frames(films[row][1])
        y = gallery.GAP + row * (gallery.FRAME + gallery.CAPTION)
        for column, number in ((0, 0), (gallery.FRAMES - 1, 32)):
            x = gallery.GAP + column * (gallery.FRAME + gallery.GAP)
            shown = picture.crop((x, y, x + gallery.FRAME, y + gallery.FRAME))
            expected = frames[number].resize(shown.size)
            assert np.abs(np.asarray(shown, float) - np.asarray(expected, float)).mean() < 4
        heard = picture.crop((picture.width - gallery.SOUND_WIDTH, y, picture.width - gallery.GAP, y + gallery.FRAME))
        assert loudest_hertz(heard) == pytest.approx(PITCHES[(STAR, SQUARE)[row].shape], rel=0.08)


def test_what_was_given_stands_above_what_was_made(films, tmp_path):
    made = [path for _, path in films[: len(gallery.GIVEN)]]
    path = gallery.draw_given(list(zip(gallery.GIVEN, made, strict=True)), tmp_path / "given.jpg")
    assert path.stat().st_size < 400_000
    picture, size = Image.open(path), gallery.SMALL_FRAME
    for row, (exhibit, film) in enumerate(zip(gallery.GIVEN, made, strict=True)):
        top = gallery.GAP + row * (2 * (size + gallery.GAP) + gallery.CAPTION)
        for y, source in ((top, exhibit.shown), (top + size + gallery.GAP, film)):
            shown = picture.crop((gallery.GAP, y, gallery.GAP + size, y + size))
            frames = media.read_frames(source)
            expected = frames[0].resize(shown.size) if frames else Image.new("RGB", shown.size, gallery.PAPER)
            assert np.abs(np.asarray(shown, float) - np.asarray(expected, float)).mean() < 4
        left = picture.width - gallery.SMALL_SOUND
        silent = np.asarray(picture.crop((left, top, picture.width - gallery.GAP, top + size))).min() > 200
        assert silent == (exhibit.name == "film-sound")


def test_shipped_films_and_sounds_are_drawn_as_the_world_draws_them(tmp_path):
    write_given.main(tmp_path)
    names = {path.name for path in gallery.GIVEN_FILES.iterdir()}
    assert names == {path.name for path in tmp_path.iterdir()}
    used = [path for exhibit in gallery.GIVEN for inputs in exhibit.files.values() for path in inputs.values()]
    assert names == {path.name for path in used}
    for name in names:
        shipped, drawn = (
            [np.asarray(frame, float) for frame in media.read_frames(folder / name)]
            for folder in (gallery.GIVEN_FILES, tmp_path)
        )
        assert len(shipped) == len(drawn)
        assert all(np.abs(one - other).mean() < 1 for one, other in zip(shipped, drawn, strict=True))
        if not name.endswith(".png"):
            (one, rate), (other, _) = (media.read_sound(folder / name) for folder in (gallery.GIVEN_FILES, tmp_path))
            assert one.shape == other.shape and (not one.size or np.abs(one - other).max() < 0.01)


def test_the_given_sound_is_as_long_as_drawn_and_no_louder():
    sound, rate = media.read_sound(gallery.GIVEN_FILES / "bounces.flac")
    drawn = write_given.sound_of(write_given.BALL)
    assert rate == RATE and sound.shape == drawn.shape and np.abs(sound - drawn).max() < 2 / 32767  # 16 bits


def test_moving_gallery_shows_every_film_at_its_own_pace(films, tmp_path):
    path = gallery.draw_moving(films, tmp_path / "gallery.webp")
    assert path.stat().st_size < 1_500_000
    picture = Image.open(path)
    assert picture.n_frames == 33 and picture.info["loop"] == 0
    all_frames = [media.read_frames(film) for _, film in films]
    for number in (0, 15, 32):
        picture.seek(number)
        picture.load()
        assert picture.info["duration"] == round(1000 / media.probe(films[0][1]).fps)
        for index, frames in enumerate(all_frames):
            x = gallery.GAP + index % gallery.ACROSS * (gallery.CELL + gallery.GAP)
            y = gallery.GAP + index // gallery.ACROSS * (gallery.CELL + gallery.WORDS)
            shown = picture.convert("RGB").crop((x, y, x + gallery.CELL, y + gallery.CELL))
            expected = frames[number].resize(shown.size)
            assert np.abs(np.asarray(shown, float) - np.asarray(expected, float)).mean() < 4


def test_contact_sheet_ends_with_the_sound(films, tmp_path):
    sheet = Image.open(media.contact_sheet(films[0][1], tmp_path / "sheet.png"))
    strip = sheet.crop((0, sheet.height - media.SOUND_HEIGHT - media.MARGIN, sheet.width, sheet.height - media.MARGIN))
    assert loudest_hertz(strip) == pytest.approx(PITCHES["star"], rel=0.08)


def test_prompts_are_in_words_of_the_training():
    lots = random.Random(0)
    captions = [caption(draw_scene(lots), lots) for _ in range(6000)]
    known = set(re.findall(r"\w+", " ".join(captions).lower()))
    prompts = [command.PROMPT, *(exhibit.prompt for exhibit in (*gallery.EXHIBITS, *gallery.GIVEN))]
    assert set(re.findall(r"\w+", " ".join(prompts).lower())) <= known


def test_exhibits_show_different_things():
    assert len({exhibit.name for exhibit in gallery.EXHIBITS}) == len(gallery.EXHIBITS) == 6
    assert sum(exhibit.image is not None for exhibit in gallery.EXHIBITS) == 1


def test_shipped_blue_square_is_drawn_as_the_world_draws_it():
    drawn = ((render([SQUARE], 256, 256, frames=1)[0, :, 0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    assert np.array_equal(np.asarray(Image.open(gallery.BLUE_SQUARE)), drawn)
