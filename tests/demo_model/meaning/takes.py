"""What is asked for: prompts with what must be seen and heard, and first frames whose clip is determined."""

import random
from dataclasses import dataclass, replace
from math import inf

from ltx_duo.demo_model.world import Scene, draw_scene
from ltx_duo.demo_model.world.scenes import FRAMES


@dataclass(frozen=True)
class Part:
    """What is made anew of a drawn film of `scene`, which is given.

    frames: how many of the film are given; the others are added to it.  window: seconds.  box: left, top, right, bottom
    in 0..1.  picture: whether it is made anew; if not, the film is silent and gets a sound.
    """

    scene: Scene
    frames: int = FRAMES
    window: tuple[float, float] = (0.0, inf)
    box: tuple[float, float, float, float] | None = None
    picture: bool = True


@dataclass(frozen=True)
class Take:
    """A prompt and the scene that it describes.  `image`: the scene's first frame is given too, so that the drawn clip
    is the only right one.  `sound_told`: the prompt says what is heard.  `sound`: the scene's sound is given too.
    `part`: a film is given, of which that is made anew."""

    name: str
    prompt: str
    scene: Scene
    seed: int
    image: bool = False
    sound_told: bool = False
    sound: bool = False
    part: Part | None = None


def _take(number: int, words: str, prompt: str, image: bool = False) -> Take:
    colour, shape, motion = words.split()
    scene = draw_scene(random.Random(number), colour=colour, shape=shape, motion=motion)
    told = any(word in prompt for word in ("tone", "sound", "note", "silence"))
    return Take(words, prompt, scene, seed=number, image=image, sound_told=told)


TEXTS = tuple(
    _take(number, words, prompt)
    for number, (words, prompt) in enumerate(
        (
            ("red star left", "a red star moving to the left, high tone"),
            ("blue square right", "A large blue square glides to the right."),
            ("green circle up", "a video of a green circle rising"),
            ("yellow triangle down", "a yellow triangle sinking, fairly high sound"),
            ("orange circle bouncing", "an orange circle bouncing, a low tone and a click at each bounce"),
            ("purple star bouncing", "A purple star bounces on the floor."),
            ("white square growing", "a clip of a small white square growing, a medium note getting louder"),
            ("blue triangle rotating", "a blue triangle spinning on a grey background"),
            ("red circle up", "a red circle moves up, deep note"),
            ("black star down", "an animation of a black star descending"),
            ("green square right", "There is a green square drifting rightwards against a beige background."),
            ("yellow square bouncing", "a yellow square falling and bouncing, with a medium tone and clicks"),
            ("orange star growing", "a small orange star expanding, very high tone"),
            ("purple triangle left", "a purple triangle travelling to the left"),
            ("white circle still", "we see a white circle standing still, silence"),
            ("black triangle growing", "A black triangle becoming larger."),
        )
    )
)

IMAGES = tuple(
    _take(number, words, prompt, image=True)
    for number, (words, prompt) in enumerate(
        (
            ("blue square right", "a blue square moving to the right"),
            ("yellow star up", "a yellow star rises, very high tone"),
            ("green triangle bouncing", "a green triangle bouncing off the floor"),
            ("red circle growing", "a red circle getting bigger, a low tone"),
        ),
        start=100,
    )
)

# One prompt and one seed; only the given sound says when the circle bounces: it falls from 0.30 and from 0.45 of the
# picture's height.
SOUNDS = tuple(
    replace(_take(number, "orange circle bouncing", "an orange circle bouncing"), name=name, seed=1, sound=True)
    for number, name in ((50, "early bounces"), (39, "late bounces"))
)

# The sound alone says which shape it is.
UNNAMED = tuple(
    replace(_take(number, words, prompt), sound=True)
    for number, (words, prompt) in enumerate(
        (
            ("red star left", "a red thing moving to the left"),
            ("blue circle right", "a blue object moving to the right"),
            ("green square up", "a green shape rising"),
            ("yellow triangle down", "a yellow thing sinking"),
            ("orange square growing", "an orange object getting bigger"),
            ("purple circle bouncing", "a purple thing bouncing"),
            ("white star right", "a white shape gliding right"),
            ("blue triangle left", "a blue object sliding to the left"),
        ),
        start=200,
    )
)

# A silent film is given, and the prompt does not say what its shape is.
SILENT = tuple(
    replace(take, part=Part(take.scene, picture=False))
    for take in (
        _take(300, "green star left", "a green thing moving to the left"),
        _take(301, "orange circle bouncing", "an orange thing bouncing"),
        _take(302, "blue square growing", "a blue object growing"),
        _take(303, "red triangle bouncing", "a red object falling and bouncing"),
    )
)


def _anew(number: int, prompt: str, scene: Scene, given: Scene, **part) -> Take:
    name = f"{given.colour} {given.shape} {given.motion}"
    return Take(name, prompt, scene, seed=number, part=Part(given, **part))


_STAR = Scene("star", "red", "grey", "left", "large", x=0.7, y=0.5, angle=0.0)
_SQUARE = Scene("square", "green", "slate", "up", "large", x=0.5, y=0.72, angle=0.0)
RETAKES = (
    _anew(400, "a blue star moving to the left", replace(_STAR, colour="blue"), _STAR, window=(0.4, 1.0)),
    _anew(401, "a yellow square moving up", replace(_SQUARE, colour="yellow"), _SQUARE, window=(0.4, 1.0)),
)

LONGER = tuple(
    _anew(number, prompt, scene, scene, frames=25)
    for number, (prompt, scene) in enumerate(
        (
            (
                "a blue square moving to the right",
                Scene("square", "blue", "beige", "right", "large", x=0.25, y=0.5, angle=0.0),
            ),
            (
                "a red circle moving to the left",
                Scene("circle", "red", "grey", "left", "large", x=0.72, y=0.5, angle=0.0),
            ),
            (
                "a yellow triangle rising",
                Scene("triangle", "yellow", "slate", "up", "large", x=0.5, y=0.7, angle=0.0),
            ),
        ),
        start=410,
    )
)

_GROWING = Scene("star", "green", "grey", "growing", "small", x=0.5, y=0.5, angle=0.0)
_MIDDLE = (0.25, 0.25, 0.75, 0.75)
REGIONS = (
    _anew(
        420, "a small orange square growing",
        replace(_GROWING, shape="square", colour="orange"), _GROWING, box=_MIDDLE,
    ),
    _anew(
        422, "a white circle getting bigger",
        replace(_GROWING, shape="circle", colour="white"), _GROWING, box=_MIDDLE,
    ),
)  # fmt: skip
PARTS = {"retake": RETAKES, "longer": LONGER, "region": REGIONS}
