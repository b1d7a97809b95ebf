"""One clip as plain values, and how a scene is drawn by lot so that its shape stays inside the picture."""

import random
from dataclasses import dataclass, fields
from math import cos, pi

from .palette import BACKGROUNDS, COLOURS

FPS = 24.0
FRAMES = 33


@dataclass(frozen=True)
class Outline:
    """How a shape is drawn: `corners` tips at `reach` radii, notches between them at `notch` of that."""

    reach: float
    corners: int
    notch: float
    turn: float  # degrees clockwise from upright, of the first tip
    below: float  # radii from the centre down to the lowest point


def _polygon(reach: float, corners: int, turn: float, below: float) -> Outline:
    return Outline(reach, corners, cos(pi / corners), turn, reach * below)


# A circle is a polygon of so many corners that no picture shows them.
SHAPES = {
    "circle": _polygon(1.0, 360, 0.0, 1.0),
    "square": _polygon(1.2, 4, 45.0, cos(pi / 4)),
    "triangle": _polygon(1.3, 3, 0.0, 0.5),
    "star": Outline(1.3, 5, 0.42, 0.0, 1.3 * cos(pi / 5)),
}
SIZES = {"small": 0.11, "large": 0.17}  # radius, in picture heights
MOTIONS = ("left", "right", "up", "down", "bouncing", "growing", "rotating", "still")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}  # x to the right, y downwards

# The same for all scenes, so that first frame and motion determine the clip.
SPEED = 0.3  # picture heights a second
GROWTH = 0.5  # of the first radius, a second
SPIN = 120.0  # degrees a second, clockwise
GRAVITY = 4.0  # picture heights a second squared
FLOOR = 0.96  # where a bouncing shape's lowest point turns back
RESTITUTION = 0.75  # speed after a bounce to speed before it
DROPS = (0.30, 0.45)  # heights of the first fall: each gives two bounces within a clip of 33 frames
MARGIN = 0.03  # between the shape and the picture's border


@dataclass(frozen=True)
class Scene:
    """One clip.  x, y: the shape's first centre in 0..1, y downwards; angle: its first turn, degrees clockwise."""

    shape: str
    colour: str
    background: str
    motion: str
    size: str
    x: float
    y: float
    angle: float

    def __post_init__(self):
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise ValueError(f"{field} {getattr(self, field)!r}: must be one of {', '.join(known)}")
        if self.shape == "circle" and self.motion == "rotating":
            raise ValueError("a rotating circle looks like one that stands still: choose another shape or motion")


CHOICES = {
    "shape": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "motion": MOTIONS,
    "size": tuple(SIZES),
}


def draw_scene(generator: random.Random, **fixed) -> Scene:
    """A random scene; `fixed` sets fields, e.g. shape="star".  ValueError for an unknown field or value.

    Half of the backgrounds are plain.  Shapes stand upright, except that a rotating one starts at any angle.
    """
    unknown = set(fixed) - {field.name for field in fields(Scene)}
    if unknown:
        raise ValueError(f"a scene has no {', '.join(sorted(unknown))}")
    motions = [motion for motion in MOTIONS if (fixed.get("shape"), motion) != ("circle", "rotating")]
    motion = fixed.get("motion", generator.choice(motions))
    shapes = [shape for shape in SHAPES if (shape, motion) != ("circle", "rotating")]
    shape = fixed.get("shape", generator.choice(shapes))
    size = fixed.get("size", generator.choice(list(SIZES)))
    plain = generator.random() < 0.5
    values = {
        "shape": shape,
        "motion": motion,
        "size": size,
        "colour": generator.choice(list(COLOURS)),
        "background": generator.choice([name for name, run in BACKGROUNDS.items() if (run[0] == "plain") == plain]),
        "angle": generator.uniform(0.0, 360.0) if motion == "rotating" else 0.0,
        "x": 0.5,
        "y": 0.5,
    }
    scene = Scene(**(values | fixed))
    (left, right), (top, bottom) = _room(scene)
    return Scene(**(values | {"x": generator.uniform(left, right), "y": generator.uniform(top, bottom)} | fixed))


def _room(scene: Scene) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the first centre may lie, (least, most) for x and y, so that the shape never leaves the picture."""
    duration = FRAMES / FPS
    outline = SHAPES[scene.shape]
    radius = SIZES[scene.size] * (1 + GROWTH * duration if scene.motion == "growing" else 1)
    border = radius * outline.reach + MARGIN
    room = []
    for step in DIRECTIONS.get(scene.motion, (0, 0)):
        path = step * SPEED * duration
        room.append((border - min(path, 0), 1 - border - max(path, 0)))
    if scene.motion == "bouncing":
        ground = floor(scene)
        room[1] = (ground - DROPS[1], ground - DROPS[0])
    return room[0], room[1]


def floor(scene: Scene) -> float:
    """The y of the centre at which a bouncing scene's upright shape touches the floor."""
    return FLOOR - SIZES[scene.size] * SHAPES[scene.shape].below
