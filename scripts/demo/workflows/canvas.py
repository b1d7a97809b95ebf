"""From a workflow's description to what ComfyUI's front end saves of it: the canvas, and the prompt in API format."""

import json
import uuid
from dataclasses import dataclass, field

from . import model_files
from .layout import Layout, Placed, lay_out
from .schemas import is_widget, specifications

NOTE = "MarkdownNote"
# What the front end adds to a node that takes an uploaded file, by the mark on its list: widgets, and their values.
UPLOADS = {
    "image_upload": ((("upload", "IMAGEUPLOAD"),), ("image",)),
    "video_upload": ((("upload", "IMAGEUPLOAD"),), ("image",)),
    "audio_upload": ((("audioUI", "AUDIO_UI"), ("upload", "AUDIOUPLOAD")), (None, None)),
}
NAMESPACE = uuid.UUID("8d8f6c5e-4d2c-4c0b-9d1a-3a6b1f0e2300")

# (title bar, body) by what a node is about.
COLOURS = {
    "models": ("#223", "#335"),
    "inputs": ("#232", "#353"),
    "sampling": ("#323", "#535"),
    "result": ("#233", "#355"),
    "core": ("#2a363b", "#3f5159"),
    "note": ("#3a2f1c", "#221e16"),  # Nodes 2.0 writes in grey
}

# What the front end's app mode asks for, in this order, and whose result it shows.
APP_INPUTS = {
    "LoadVideo": ("file",),
    "LoadImage": ("image",),
    "LoadAudio": ("audio",),
    "LTXDuoLoadLatent": ("file",),
    "LTXDuoTextEncode": ("prompt",),
    "CLIPTextEncode": ("text",),
    "LTXDuoRetake": ("start", "end", "remake"),
    "LTXDuoExtend": ("after", "before"),
    "LTXDuoPromptLength": ("longest",),
    "ImagePadForOutpaint": ("left", "top", "right", "bottom"),
    "LTXDuoStageOneSampler": ("width", "height", "frames", "seed"),
    "LTXDuoSoundSampler": ("seconds", "seed"),
}
APP_OUTPUTS = ("SaveVideo", "SaveAudioAdvanced")

_UPLOAD_TYPES = {kind for slots, _ in UPLOADS.values() for _, kind in slots}


@dataclass(frozen=True)
class Node:
    """A node: `values` of widgets that differ from their defaults, `links` from inputs to (name of a node, output).

    `height` None: as tall as its slots, widgets and what it shows ask for.  `report`: it tells of its work after a run;
    `preview`: it shows pictures while it runs.  `control`: what becomes of its seed after a run.  `title` where the
    front end has another name than the node.
    """

    name: str
    type: str
    colour: str
    values: dict = field(default_factory=dict)
    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    height: int | None = None
    report: bool = False
    preview: bool = False
    control: str = "fixed"
    title: str | None = None


@dataclass(frozen=True)
class Group:
    """Nodes under a title, one below the other."""

    title: str
    colour: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Note:
    title: str
    text: str
    height: int


@dataclass(frozen=True)
class Column:
    """Groups and notes one below the other, their nodes as wide as `width`."""

    width: int
    parts: tuple[Group | Note, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(part for part in self.parts if isinstance(part, Group))


@dataclass(frozen=True)
class Workflow:
    name: str
    columns: tuple[Column, ...]

    @property
    def nodes(self) -> list[Node]:
        return [node for column in self.columns for group in column.groups for node in group.nodes]

    def ids(self) -> dict[str, int]:
        return {node.name: number for number, node in enumerate(self.nodes, start=1)}


def to_text(content: dict) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def to_api(workflow: Workflow, object_info: dict) -> dict:
    """The prompt as the front end sends it: every widget's value, and links as [node id, output index]."""
    ids, prompt = workflow.ids(), {}
    for node in workflow.nodes:
        info = object_info[node.type]
        inputs = {}
        for name, specification in specifications(info).items():
            if name in node.links:
                source, output = node.links[name]
                inputs[name] = [str(ids[source]), output]
            elif is_widget(specification):
                inputs[name] = _value(node, name, specification)
        unknown = {*node.values, *node.links} - inputs.keys()
        if unknown:
            raise KeyError(f"{workflow.name}: {node.type} has no input {', '.join(sorted(unknown))}")
        title = node.title or info["display_name"] or node.type
        prompt[str(ids[node.name])] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": title}}
    return prompt


def to_canvas(workflow: Workflow, object_info: dict) -> dict:
    """The graph as the front end saves it."""
    layout = lay_out(workflow.columns, object_info)
    drawn = draw(workflow, layout, object_info)
    return {
        "id": str(uuid.uuid5(NAMESPACE, workflow.name)),
        "revision": 0,
        "last_node_id": len(drawn["nodes"]),
        "last_link_id": len(drawn["links"]),
        **drawn,
        "config": {},
        "extra": {"ds": layout.view(), "linearData": _app(workflow)},
        "version": 0.4,
    }


def draw(workflow: Workflow, layout: Layout, object_info: dict) -> dict[str, list]:
    """Nodes with their notes, links as [link id, source node, its output, target node, its slot, type], and groups."""
    ids = workflow.ids()
    links = _links(workflow, object_info)
    nodes = [_draw(place, ids[place.item.name], links, object_info[place.item.type]) for place in layout.nodes]
    nodes += [_draw_note(place, number) for number, place in enumerate(layout.notes, start=len(nodes) + 1)]
    for order, node in enumerate(nodes):
        node["order"] = order
    groups = [_frame(place, number) for number, place in enumerate(layout.groups, start=1)]
    return {"nodes": nodes, "links": links, "groups": groups}


def _app(workflow: Workflow) -> dict:
    """The front end's app: what it asks for as [node id, input], and the ids of the nodes whose results it shows."""
    ids = workflow.ids()
    inputs = [[ids[node.name], name] for node, name in few_inputs(workflow)]
    return {"inputs": inputs, "outputs": [ids[node.name] for node in workflow.nodes if node.type in APP_OUTPUTS]}


def few_inputs(workflow: Workflow) -> list[tuple[Node, str]]:
    """What is asked of somebody who does not look at the graph."""
    return [
        (node, name)
        for kind, names in APP_INPUTS.items()
        for node in workflow.nodes
        if node.type == kind
        for name in names
        if name not in node.links
    ]


def _links(workflow: Workflow, object_info: dict) -> list[list]:
    ids, types = workflow.ids(), {node.name: node.type for node in workflow.nodes}
    links = []
    for node in workflow.nodes:
        slots = [name for name, _ in _slots(object_info[node.type])]
        for name, (source, output) in node.links.items():
            kind = object_info[types[source]]["output"][output]
            links.append([len(links) + 1, ids[source], output, ids[node.name], slots.index(name), kind])
    return links


def _draw(place: Placed, number: int, links: list[list], info: dict) -> dict:
    node = place.item
    slots = _slots(info)
    incoming = {link[4]: link[0] for link in links if link[3] == number}
    inputs = []
    for index, (name, specification) in enumerate(slots):
        slot = {"name": name, "type": _type(specification)}
        if is_widget(specification) or slot["type"] in _UPLOAD_TYPES:
            slot["widget"] = {"name": name}
        elif name in info["input"].get("optional", {}):
            slot["shape"] = 7
        inputs.append({**slot, "link": incoming.get(index)})
    outputs = [
        {"name": name, "type": kind, "links": [link[0] for link in links if link[1] == number and link[2] == index]}
        for index, (name, kind) in enumerate(zip(info["output_name"], info["output"], strict=True))
    ]
    values = _widget_values(node, info)
    offered = model_files.offers(values)
    colour, body = COLOURS[node.colour]
    return {
        "id": number,
        "type": node.type,
        "pos": [place.x, place.y],
        "size": [place.width, place.height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        **({"title": node.title} if node.title else {}),
        "properties": {"Node name for S&R": node.type, **({"models": offered} if offered else {})},
        "widgets_values": values,
        "color": colour,
        "bgcolor": body,
    }


def _draw_note(place: Placed, number: int) -> dict:
    colour, body = COLOURS["note"]
    return {
        "id": number,
        "type": NOTE,
        "pos": [place.x, place.y],
        "size": [place.width, place.height],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": place.item.title,
        "properties": {},
        "widgets_values": [place.item.text],
        "color": colour,
        "bgcolor": body,
    }


def _frame(place: Placed, number: int) -> dict:
    bounding = [place.x, place.y, place.width, place.height]
    return {"id": number, "title": place.item.title, "bounding": bounding, "color": place.item.colour,
            "font_size": 22, "flags": {}}  # fmt: skip


def _slots(info: dict) -> list[tuple[str, list]]:
    """Inputs in the order of the canvas: sockets first, then widgets; what belongs to uploads follows."""
    specs = specifications(info)
    sockets = [item for item in specs.items() if not is_widget(item[1])]
    widgets = [item for item in specs.items() if is_widget(item[1])]
    added = [slot for _, spec in widgets for mark, (slots, _) in UPLOADS.items() if spec[1].get(mark) for slot in slots]
    uploads = [(name, [kind, {}]) for name, kind in added]
    return sockets + widgets + uploads


def _widget_values(node: Node, info: dict) -> list:
    values = []
    for name, specification in specifications(info).items():
        if is_widget(specification):
            values.append(_value(node, name, specification))
            if specification[1].get("control_after_generate"):
                values.append(node.control)
            for mark, (_, added) in UPLOADS.items():
                values += added if specification[1].get(mark) else ()
    return values


def _value(node: Node, name: str, specification: list):
    """A widget's value: the description's, else the schema's default, else the first choice."""
    kind, options = specification
    if name in node.values:
        return node.values[name]
    if "default" in options:
        return options["default"]
    if isinstance(kind, list):
        return kind[0]
    if options.get("options"):
        first = options["options"][0]
        return first["key"] if isinstance(first, dict) else first
    raise KeyError(f"{node.type} needs a value for {name}")


def _type(specification: list) -> str:
    return "COMBO" if isinstance(specification[0], list) else specification[0]
