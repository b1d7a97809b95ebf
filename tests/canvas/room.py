"""What is wrong with the layout of a workflow on the canvas, in words: nothing covers or leaves anything."""

from itertools import combinations

from ltx_duo.tests.canvas.canvas import SCREEN, Box, Canvas

NOTE = "MarkdownNote"


def faults(canvas: Canvas) -> list[str]:
    nodes, groups, bars = canvas.boxes(), canvas.groups(), canvas.bars()
    notes = {name: box for name, box in nodes.items() if name.startswith(NOTE)}
    outer = {**groups, **notes}
    found = [f"{a} covers {b}" for a, b in combinations(nodes, 2) if nodes[a].overlaps(nodes[b])]
    found += [f"{a} covers {b}" for a, b in combinations(outer, 2) if outer[a].overlaps(outer[b])]
    found += [f"{bar} covers {name}" for bar in bars for name in outer if bars[bar].overlaps(outer[name])]
    for name in nodes.keys() - notes.keys():
        if not any(nodes[name].inside(group) for group in groups.values()):
            beyond = min(_beyond(nodes[name], group) for group in groups.values())
            found.append(f"{name} sticks {beyond:.0f} pixels out of its group")
    screen = Box(0, 0, SCREEN["width"], SCREEN["height"])
    found += [f"{name} leaves the screen" for name, box in outer.items() if not box.inside(screen)]
    return found + [f"{name} is cut off" for name in canvas.cut_notes()]


def _beyond(box: Box, group: Box) -> float:
    return max(group.left - box.left, group.top - box.top, box.right - group.right, box.bottom - group.bottom)
