"""Where things lie on the canvas: columns of groups and notes, as tall as both of ComfyUI's styles need them.

Classic draws nodes, Nodes 2.0 builds them of page elements; a node that is taller than its file says pushes nothing
aside, it covers what lies below.  So each is given the room that it takes at most: with its bar of errors, its report
and its preview.
"""

from dataclasses import dataclass

from .schemas import is_widget, specifications

TITLE = 30
SLOT = 20

# Classic.
WIDGET, WIDGETS_MARGIN, SLOTS_MARGIN = 24, 8, 6
DRAWN_REPORT, DRAWN_PREVIEW = 58, 220

# Nodes 2.0.  The bar at the bottom is for advanced inputs, errors, or both.
ROW, TEXT_ROW, MARGINS, BADGE, BAR = 28, 36, 18, 20, 24
BUILT_REPORT, BUILT_PREVIEW = 68, 244

BETWEEN_NODES = 28  # classic draws a badge above each title
BETWEEN_COLUMNS = 12
GROUP_MARGIN, GROUP_HEAD = 12, 44

# The part of a screen of 1440x900 that ComfyUI's bars leave free, in pixels.
FREE_LEFT, FREE_TOP, FREE_RIGHT, FREE_BOTTOM = 75, 97, 1430, 892
LARGEST_SCALE = 0.62


@dataclass(frozen=True)
class Placed:
    """A node, note or group and its rectangle; a node's does not hold its title bar."""

    item: object
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Layout:
    nodes: tuple[Placed, ...]
    groups: tuple[Placed, ...]
    notes: tuple[Placed, ...]

    def corner(self) -> tuple[int, int]:
        """The lower right of everything."""
        places = [*self.groups, *self.notes]
        return max(place.x + place.width for place in places), max(place.y + place.height for place in places)

    def view(self) -> dict:
        """The front end's scale and offset at which all of it is in view."""
        # Group frames are the outermost, but for columns of notes alone.
        places = [*self.groups, *self.notes]
        left, top = min(place.x for place in places), min(place.y for place in self.groups)
        right, bottom = self.corner()
        across, down = (FREE_RIGHT - FREE_LEFT) / (right - left), (FREE_BOTTOM - FREE_TOP) / (bottom - top)
        scale = min(LARGEST_SCALE, int(1000 * min(across, down)) / 1000)
        return {"scale": scale, "offset": [round(FREE_LEFT / scale - left), round(FREE_TOP / scale - top)]}


def lay_out(columns, object_info: dict) -> Layout:
    """Places every column right of the one before; see catalogue.py for what columns hold."""
    nodes, groups, notes = [], [], []
    x = 0
    for column in columns:
        # Where a column has no group, its notes are as wide as it is.
        inset = GROUP_MARGIN if column.groups else 0
        y = 0
        for part in column.parts:
            if part in column.groups:
                inside, height = _inside(part, x + inset, y + GROUP_HEAD, column.width, object_info)
                nodes += inside
                groups.append(Placed(part, x, y, column.width + 2 * GROUP_MARGIN, height))
            else:
                height = TITLE + part.height
                notes.append(Placed(part, x + inset, y + TITLE, column.width, part.height))
            y += height + BETWEEN_COLUMNS
        x += column.width + 2 * inset + BETWEEN_COLUMNS
    return Layout(tuple(nodes), tuple(groups), tuple(notes))


def _inside(group, x: int, top: int, width: int, object_info: dict) -> tuple[list[Placed], int]:
    """A group's nodes, and the height of the group's frame."""
    placed, y = [], top
    for node in group.nodes:
        height = height_of(node, object_info[node.type])
        placed.append(Placed(node, x, y + TITLE, width, height))
        y += TITLE + height + BETWEEN_NODES
    return placed, GROUP_HEAD + y - BETWEEN_NODES - top + GROUP_MARGIN


def height_of(node, info: dict) -> int:
    """What a node takes below its title in the style that needs more room."""
    if node.height is not None:
        return node.height
    widgets = [spec for spec in specifications(info).values() if is_widget(spec)]
    sockets = len(specifications(info)) - len(widgets)
    rows = SLOT * max(sockets, len(info["output"]))
    drawn = rows + SLOTS_MARGIN
    if widgets:
        seeds = sum(bool(options.get("control_after_generate")) for _, options in widgets)
        drawn += WIDGET * (len(widgets) + seeds) + WIDGETS_MARGIN
    built = rows + MARGINS + BADGE + BAR + sum(_row(spec) for spec in widgets)
    drawn += node.report * DRAWN_REPORT + node.preview * DRAWN_PREVIEW
    built += node.report * BUILT_REPORT + node.preview * BUILT_PREVIEW
    return max(drawn, built)


def _row(specification: list) -> int:
    """The height of a widget in Nodes 2.0, which folds advanced ones away."""
    kind, options = specification
    if options.get("advanced"):
        return 0
    return TEXT_ROW if kind == "STRING" else ROW
