"""Blueprints: a workflow's steps as one node with its few widgets, which opens.  ComfyUI lists what is in `subgraphs/`.

A blueprint is its workflow without the nodes that load and save pictures, sounds and films: these are its sockets.
"""

import uuid
from dataclasses import dataclass, field, replace

from . import catalogue, generations
from .canvas import COLOURS, NAMESPACE, Column, Node, Workflow, draw, few_inputs
from .layout import BADGE, MARGINS, ROW, SLOT, lay_out
from .schemas import specifications

GIVEN = {"LoadImage": "image", "LoadVideo": "film", "LoadAudio": "sound"}
"""Nodes that stay outside, by what they give."""
SAVE, MADE = "SaveVideo", "video"
CATEGORY = "Video generation and editing/LTX Duo"

# The files, each chosen once.  The upsampler has one file only, and stays inside.
FILES = {
    "checkpoint": {
        "LTXDuoModelLoader": "checkpoint",
        "LTXDuoVAELoader": "checkpoint",
        "LTXDuoTextEncoderLoader": "projection",
    },
    "lora": {"LTXDuoLoraLoader": "lora"},
    "text_encoder": {"LTXDuoTextEncoderLoader": "text_encoder"},
}
# Of LTX-2.5, whose parts lie in files of their own; those that have one form only stay inside.
SPLIT_FILES = {
    "checkpoint": {"LTXDuoModelLoader": "checkpoint"},
    "lora": {"LTXDuoLoraLoader": "lora"},
    "text_encoder": {"LTXDuoTextEncoderLoader": ("text_encoder", "projection")},
}

# The front end's ids of the places where a blueprint's own inputs and outputs begin, and how far they are away.
INPUTS, OUTPUTS = -10, -20
ASIDE, PLACE_WIDTH = 60, 140
WIDTH, PROMPT_HEIGHT = 360, 160


@dataclass(frozen=True)
class Blueprint:
    """`title` is the file's name too: the front end shows no other."""

    title: str
    description: str
    workflow: Workflow
    files: dict[str, dict[str, str | tuple[str, ...]]] = field(default_factory=lambda: FILES)


BLUEPRINTS = (
    Blueprint(
        "Image to Video, two stages (LTX Duo)",
        "Makes a film with sound from an image and a prompt with LTX-2.3: at half size, then refined at the full size.",
        catalogue.IMAGE_TO_VIDEO,
    ),
    Blueprint(
        "Text to Video, two stages (LTX Duo)",
        "Makes a film with sound from a prompt with LTX-2.3: at half size, then refined at the full size.",
        catalogue.TEXT_TO_VIDEO,
    ),
    Blueprint(
        "LTX-2.5 Image to Video (LTX Duo)",
        "Makes a film with sound from an image and a prompt with LTX-2.5: at half size, then refined at the full size.",
        generations.IMAGE_TO_VIDEO_2_5,
        SPLIT_FILES,
    ),
    Blueprint(
        "Sound to Video (LTX Duo)",
        "Makes a film with LTX-2.3 to a sound that is given, from an image and a prompt; it is as long as the sound.",
        catalogue.SOUND_TO_VIDEO,
    ),
    Blueprint(
        "Retake (LTX Duo)",
        "Makes a part of a film anew with LTX-2.3, from start to end in seconds; the rest comes out as it is.",
        catalogue.RETAKE,
    ),
    Blueprint(
        "Extend (LTX Duo)",
        "Makes a film longer with LTX-2.3, by seconds after its end or before its start.",
        catalogue.EXTEND,
    ),
)


@dataclass(frozen=True)
class Input:
    """What a blueprint asks for: a socket of type `kind`, or a widget; `targets` are (node, input) inside."""

    name: str
    kind: str
    targets: tuple[tuple[str, str], ...]
    widget: bool


def to_file(blueprint: Blueprint, object_info: dict) -> dict:
    """The blueprint as the front end saves one: a graph of one node, and what is inside."""
    identifier = str(uuid.uuid5(NAMESPACE, blueprint.title))
    inside = _inside(blueprint.workflow)
    inputs = _inputs(blueprint, inside, object_info)
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_node(blueprint, identifier, inputs)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [_subgraph(blueprint, identifier, inside, inputs, object_info)]},
        "extra": {},
    }


def _inside(workflow: Workflow) -> Workflow:
    """The workflow without notes, and without what stays outside."""
    columns = []
    for column in workflow.columns:
        groups = []
        for group in column.groups:
            nodes = tuple(node for node in group.nodes if node.type not in (*GIVEN, SAVE))
            groups += [replace(group, nodes=nodes)] if nodes else []
        columns += [Column(column.width, tuple(groups))] if groups else []
    names = {node.name for column in columns for group in column.groups for node in group.nodes}
    return replace(workflow, columns=tuple(_cut(column, names) for column in columns))


def _cut(column: Column, names: set[str]) -> Column:
    """A column whose nodes are linked with the nodes of these names only."""

    def cut(node: Node) -> Node:
        return replace(node, links={name: link for name, link in node.links.items() if link[0] in names})

    return replace(column, parts=tuple(replace(group, nodes=tuple(map(cut, group.nodes))) for group in column.groups))


def _inputs(blueprint: Blueprint, inside: Workflow, object_info: dict) -> list[Input]:
    """Sockets for what the nodes outside give, then the few widgets, then the files."""
    whole = blueprint.workflow
    outside = {node.name: node for node in whole.nodes if node.type in GIVEN}
    inputs = []
    for name, node in outside.items():
        targets = tuple(
            (taker.name, slot) for taker in whole.nodes for slot, link in taker.links.items() if link[0] == name
        )
        inputs.append(Input(GIVEN[node.type], object_info[node.type]["output"][0], targets, widget=False))
    asked = [(name, ((node.name, name),)) for node, name in few_inputs(inside)]
    asked += [
        (name, tuple((node.name, own) for node in inside.nodes for own in _names(slots.get(node.type, ()))))
        for name, slots in blueprint.files.items()
    ]
    types = {node.name: node.type for node in inside.nodes}
    for name, targets in asked:
        node, slot = targets[0]
        inputs.append(Input(name, specifications(object_info[types[node]])[slot][0], targets, widget=True))
    return inputs


def _names(slots: str | tuple[str, ...]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else slots


def _node(blueprint: Blueprint, identifier: str, inputs: list[Input]) -> dict:
    """The one node: widgets without values of their own show those inside."""
    colour, body = COLOURS["sampling"]
    widgets = [given for given in inputs if given.widget]
    height = SLOT * (len(inputs) - len(widgets) + 1) + MARGINS + BADGE + PROMPT_HEIGHT + ROW * (len(widgets) - 1)
    return {
        "id": 1,
        "type": identifier,
        "pos": [0, 0],
        "size": [WIDTH, height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {
                **_named(given),
                "type": given.kind,
                **({"widget": {"name": given.name}} if given.widget else {}),
                "link": None,
            }
            for given in inputs
        ],
        "outputs": [{"name": MADE, "type": "VIDEO", "links": []}],
        "title": blueprint.title,
        "properties": {},
        "widgets_values": [],
        "color": colour,
        "bgcolor": body,
    }


def _named(given: Input) -> dict:
    label = given.name.replace("_", " ")
    return {"name": given.name, **({"label": label} if label != given.name else {})}


def _subgraph(blueprint: Blueprint, identifier: str, inside: Workflow, inputs: list[Input], object_info: dict) -> dict:
    layout = lay_out(inside.columns, object_info)
    drawn = draw(inside, layout, object_info)
    ids = inside.ids()
    nodes = {node["id"]: node for node in drawn["nodes"]}
    links = [
        dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
        for link in drawn["links"]
    ]

    def link(origin: int, output: int, target: int, slot: int, kind: str) -> int:
        number = len(links) + 1
        links.append({"id": number, "origin_id": origin, "origin_slot": output, "target_id": target,
                      "target_slot": slot, "type": kind})  # fmt: skip
        return number

    right, bottom = layout.corner()
    left_place = [-ASIDE - PLACE_WIDTH, 0, PLACE_WIDTH, SLOT * (len(inputs) + 2)]
    right_place = [right + ASIDE, 0, PLACE_WIDTH, SLOT * 3]
    asked = []
    for output, given in enumerate(inputs):
        numbers = []
        for name, slot_name in given.targets:
            target = nodes[ids[name]]
            slot = next(index for index, slot in enumerate(target["inputs"]) if slot["name"] == slot_name)
            numbers.append(link(INPUTS, output, ids[name], slot, given.kind))
            target["inputs"][slot]["link"] = numbers[-1]
        place = [left_place[0] + PLACE_WIDTH - SLOT, left_place[1] + SLOT * (output + 1)]
        asked.append({"id": _id(blueprint, given.name), **_named(given), "type": given.kind, "linkIds": numbers,
                      "pos": place})  # fmt: skip
    source, output = _result(blueprint.workflow)
    made = link(ids[source], output, OUTPUTS, 0, "VIDEO")
    nodes[ids[source]]["outputs"][output]["links"].append(made)
    result = {"id": _id(blueprint, MADE), "name": MADE, "type": "VIDEO", "linkIds": [made],
              "pos": [right_place[0] + SLOT, SLOT]}  # fmt: skip
    return {
        "id": identifier,
        "version": 1,
        "state": {"lastGroupId": len(drawn["groups"]), "lastNodeId": len(nodes), "lastLinkId": len(links),
                  "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "description": blueprint.description,
        "category": CATEGORY,
        "inputNode": {"id": INPUTS, "bounding": left_place},
        "outputNode": {"id": OUTPUTS, "bounding": right_place},
        "inputs": asked,
        "outputs": [result],
        "widgets": [],
        "nodes": drawn["nodes"],
        "groups": drawn["groups"],
        "links": links,
        "extra": {},
    }  # fmt: skip


def _result(workflow: Workflow) -> tuple[str, int]:
    """What the workflow saves: (node, its output)."""
    return next(node.links[MADE] for node in workflow.nodes if node.type == SAVE)


def _id(blueprint: Blueprint, name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{blueprint.title}/{name}"))
