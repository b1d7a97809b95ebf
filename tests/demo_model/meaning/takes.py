"""What is asked for: prompts with what must be seen and heard, and first frames whose clip is determined."""

import random
from dataclasses import dataclass, replace

from ltx_duo.demo_model.world import Scene, draw_scene


@dataclass(frozen=True)
class Take:
    """A prompt and the scene that it describes.  `image`: the scene's first frame is given too, so that the drawn clip
    is the only right one.  `sound_told`: the prompt says what is heard.  `sound`: the scene's sound is given too."""

    name: str
    prompt: str
    scene: Scene
    seed: int
    image: bool = False
    sound_told: bool = False
    sound: bool = False


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
