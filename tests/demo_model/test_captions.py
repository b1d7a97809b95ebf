"""Captions: never a wrong word, the three facts always, the rest sometimes."""

import re

from ltx_duo.demo_model.world import caption, draw_scene
from ltx_duo.demo_model.world.palette import COLOURS, MUTED
from ltx_duo.demo_model.world.scenes import MOTIONS, SHAPES

# What each word of a caption says; a word that is in no list is found by test_every_word_is_known.
SIZE = {"small": "small", "little": "small", "large": "large", "big": "large"}
MOTION = {
    "left": "left leftwards",
    "right": "right rightwards",
    "up": "up upwards rising rises",
    "down": "down downwards sinking sinks descending descends",
    "bouncing": "bouncing bounces falling falls dropping drops",
    "growing": "growing grows bigger larger expanding expands",
    "rotating": "rotating rotates turning turns spinning spins clockwise",
    "still": "still not rest motionless",
}
SAYS_MOTION = {word: motion for motion, words in MOTION.items() for word in words.split()}
DIRECTION = {"vertical", "horizontal"}
LITTLE = (
    "a an and at from in is it its of off on the there to we with every each does against front around "
    "video clip animation short film see background plain gradient tone sound note no silence silent click clicks "
    "bounce floor centre louder getting gets becoming becomes steadily fairly very low deep medium middle high "
    "moving moves move sliding slides gliding glides travelling travels drifting drifts going goes floating floats "
    "standing stands staying stays resting rests"
)
TONE = {"circle": {"low", "deep"}, "square": {"medium", "middle"}, "triangle": {"high"}, "star": {"high"}}
TONES = set().union(*TONE.values())


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _picture_and_sound(text: str) -> tuple[list[str], list[str]]:
    """The sound comes last, after a comma."""
    parts = text.rsplit(", ", 1)
    if len(parts) == 2 and {"tone", "sound", "note", "silence", "silent"} & set(_words(parts[1])):
        return _words(parts[0]), _words(parts[1])
    return _words(text), []


def _captions(lots, number=1500):
    for _ in range(number):
        scene = draw_scene(lots)
        yield scene, caption(scene, lots)


def test_colour_shape_and_motion_are_always_told_and_right(lots):
    for scene, text in _captions(lots):
        words, _ = _picture_and_sound(text)
        assert [word for word in words if word in COLOURS] == [scene.colour], text
        assert [word for word in words if word in SHAPES] == [scene.shape], text
        assert {SAYS_MOTION[word] for word in words if word in SAYS_MOTION} == {scene.motion}, text


def test_size_and_background_are_right_where_told(lots):
    told = 0
    for scene, text in _captions(lots):
        words, _ = _picture_and_sound(text)
        sizes = {SIZE[word] for word in words if word in SIZE}
        ground = [word for word in words if word in MUTED or word in DIRECTION]
        assert sizes <= {scene.size}, text
        assert ground == [word for word in scene.background.split() if word in ground], text
        assert ("gradient" in words) <= (" to " in scene.background), text
        told += bool(sizes) + bool(ground)
    assert 600 < told < 1800


def test_sound_is_right_where_told(lots):
    told = 0
    for scene, text in _captions(lots):
        _, words = _picture_and_sound(text)
        told += bool(words)
        quiet = {"no", "silence", "silent"} & set(words)
        tones = TONES & set(words)
        assert bool(quiet) == (bool(words) and scene.motion == "still"), text
        assert tones <= TONE[scene.shape], text
        assert bool(tones) == (bool(words) and scene.motion != "still"), text
        assert "very" not in words or scene.shape == "star", text
        assert "fairly" not in words or scene.shape == "triangle", text
        assert "louder" not in words or scene.motion == "growing", text
        assert not {"click", "clicks"} & set(words) or scene.motion == "bouncing", text
    assert 500 < told < 1000


def test_every_word_is_known(lots):
    known = set(LITTLE.split()) | set(SAYS_MOTION) | set(SIZE) | DIRECTION | set(COLOURS) | set(MUTED) | set(SHAPES)
    for _, text in _captions(lots):
        assert set(_words(text)) <= known, text


def test_english(lots):
    for _, text in _captions(lots):
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|,,|\.\.", text), text
        assert text[0].isupper() == text.endswith("."), text


def test_captions_vary_and_follow_the_seed(lots):
    scene = draw_scene(lots)
    assert len({caption(scene, lots) for _ in range(300)}) > 100
    state = lots.getstate()
    first = [caption(scene, lots) for _ in range(20)]
    lots.setstate(state)
    assert first == [caption(scene, lots) for _ in range(20)]


def test_each_motion_has_several_words():
    assert set(MOTION) == set(MOTIONS)
