"""What a person would say of a scene, in varied plain English: sometimes less than all, never a wrong word."""

import random

from .palette import BACKGROUNDS
from .scenes import Scene

OPENINGS = ("", "", "", "a video of ", "a clip of ", "an animation of ", "a short film of ", "we see ", "there is ")
SIZE_WORDS = {"small": ("small", "small", "little"), "large": ("large", "large", "big")}

# How it moves, after a noun ("a star moving left") and as a sentence ("a star moves left").
MOVING = {
    "left": (
        ("moving to the left", "moves to the left"),
        ("moving left", "moves left"),
        ("sliding to the left", "slides to the left"),
        ("gliding left", "glides left"),
        ("travelling to the left", "travels to the left"),
        ("drifting leftwards", "drifts leftwards"),
    ),
    "right": (
        ("moving to the right", "moves to the right"),
        ("moving right", "moves right"),
        ("sliding to the right", "slides to the right"),
        ("gliding right", "glides right"),
        ("travelling to the right", "travels to the right"),
        ("drifting rightwards", "drifts rightwards"),
    ),
    "up": (
        ("moving up", "moves up"),
        ("moving upwards", "moves upwards"),
        ("rising", "rises"),
        ("going up", "goes up"),
        ("floating upwards", "floats upwards"),
        ("gliding up", "glides up"),
    ),
    "down": (
        ("moving down", "moves down"),
        ("moving downwards", "moves downwards"),
        ("sinking", "sinks"),
        ("going down", "goes down"),
        ("descending", "descends"),
        ("gliding down", "glides down"),
    ),
    "bouncing": (
        ("bouncing", "bounces"),
        ("bouncing on the floor", "bounces on the floor"),
        ("bouncing off the floor", "bounces off the floor"),
        ("falling and bouncing", "falls and bounces"),
        ("dropping and bouncing", "drops and bounces"),
    ),
    "growing": (
        ("growing", "grows"),
        ("growing steadily", "grows steadily"),
        ("getting bigger", "gets bigger"),
        ("becoming larger", "becomes larger"),
        ("expanding", "expands"),
    ),
    "rotating": (
        ("rotating", "rotates"),
        ("rotating clockwise", "rotates clockwise"),
        ("turning", "turns"),
        ("spinning", "spins"),
        ("spinning around its centre", "spins around its centre"),
    ),
    "still": (
        ("standing still", "stands still"),
        ("staying still", "stays still"),
        ("not moving", "does not move"),
        ("at rest", "is at rest"),
        ("resting motionless", "rests motionless"),
    ),
}
TONES = {
    "circle": ("low", "deep"),
    "square": ("medium", "middle"),
    "triangle": ("high", "fairly high"),
    "star": ("very high", "very high", "high"),
}
SILENT = ("no sound", "silence", "silent")
UNNAMED = ("thing", "object", "shape")  # for a shape that is not told
CLICKS = ("clicks", "a click at each bounce", "a click at every bounce")
LOUDER = ("getting louder", "growing louder")


def caption(scene: Scene, generator: random.Random, *, shape: bool = True, motion: bool = True) -> str:
    """One line that always tells colour, shape and motion, and sometimes size, background and sound.

    Without `shape` or `motion` it does not tell that, nor the sound, which would tell it too.
    """
    size = f"{generator.choice(SIZE_WORDS[scene.size])} " if generator.random() < 0.4 else ""
    noun = f"{size}{scene.colour} {scene.shape if shape else generator.choice(UNNAMED)}"
    article = "an" if noun[0] in "aeiou" else "a"
    after, sentence = generator.choice(MOVING[scene.motion])
    opening = generator.choice(OPENINGS)
    moving = sentence if not opening and generator.random() < 0.4 else after
    text = f"{opening}{article} {noun} {moving}" if motion else f"{opening}{article} {noun}"
    if generator.random() < 0.4:
        place = _background(scene, generator)
        text = f"{place}, {text}" if not opening and generator.random() < 0.3 else f"{text} {place}"
    if shape and motion and generator.random() < 0.5:
        text = f"{text}, {_sound(scene, generator)}"
    return f"{text[0].upper()}{text[1:]}." if generator.random() < 0.5 else text


def _background(scene: Scene, generator: random.Random) -> str:
    before = generator.choice(("on", "against", "in front of"))
    direction = BACKGROUNDS[scene.background][0]
    if direction == "plain":
        name = generator.choice((scene.background, f"plain {scene.background}"))
        return f"{before} a {name} background"
    first, second = scene.background.removeprefix(f"{direction} ").split(" to ")
    words = (
        f"a {direction} gradient",
        f"a gradient background of {first} and {second}",
        f"a {direction} gradient from {first} to {second}",
    )
    return f"{before} {generator.choice(words)}"


def _sound(scene: Scene, generator: random.Random) -> str:
    if scene.motion == "still":
        return generator.choice(SILENT)
    tone = f"{generator.choice(TONES[scene.shape])} {generator.choice(('tone', 'sound', 'note'))}"
    tone = generator.choice((tone, f"a {tone}", f"with a {tone}"))
    if scene.motion == "bouncing" and generator.random() < 0.6:
        return f"{tone} and {generator.choice(CLICKS)}"
    if scene.motion == "growing" and generator.random() < 0.5:
        return f"{tone} {generator.choice(LOUDER)}"
    return tone
