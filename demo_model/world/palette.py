"""Colours as RGB in 0..1: the shapes' are far from one another, the backgrounds' are muted and far from every shape."""

RGB = tuple[float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (0.90, 0.08, 0.10),
    "green": (0.08, 0.70, 0.18),
    "blue": (0.10, 0.22, 0.92),
    "yellow": (0.98, 0.90, 0.08),
    "orange": (1.00, 0.50, 0.00),
    "purple": (0.60, 0.08, 0.78),
    "white": (0.98, 0.98, 0.98),
    "black": (0.02, 0.02, 0.02),
}

MUTED: dict[str, RGB] = {
    "grey": (0.50, 0.50, 0.50),
    "beige": (0.74, 0.68, 0.56),
    "slate": (0.28, 0.33, 0.42),
    "brown": (0.42, 0.33, 0.26),
}


def _backgrounds() -> dict[str, tuple[str, RGB, RGB]]:
    plain = {name: ("plain", rgb, rgb) for name, rgb in MUTED.items()}
    gradients = {
        f"{direction} {first} to {second}": (direction, MUTED[first], MUTED[second])
        for direction in ("vertical", "horizontal")
        for first in MUTED
        for second in MUTED
        if first != second
    }
    return plain | gradients


# "grey" or "vertical grey to slate" -> how it runs, the colour at the top (left), the colour at the bottom (right).
BACKGROUNDS = _backgrounds()
