"""The blueprints: ComfyUI lists them, and each is what its workflow's description gives."""

import json

import pytest

from ltx_duo.scripts.demo.client import Client
from ltx_duo.scripts.demo.server import PACK
from ltx_duo.scripts.demo.workflows import model_files
from ltx_duo.scripts.demo.workflows.blueprints import BLUEPRINTS, GIVEN, INPUTS, OUTPUTS, SAVE, to_file

FOLDER = PACK / "subgraphs"
# The file of each input, and how many inputs inside take it.
FILES = {"checkpoint": (model_files.DEV.name, 3)}
FILES_2_5 = {
    "checkpoint": (model_files.DEV_2_5.name, 1),
    "text_encoder": (model_files.TEXT_ENCODER_2_5.name, 2),
    "lora": (model_files.LORA_2_5.name, 1),
}
TITLES = [blueprint.title for blueprint in BLUEPRINTS]


def read(title: str) -> dict:
    return json.loads((FOLDER / f"{title}.json").read_text())


def inside(title: str) -> dict:
    (subgraph,) = read(title)["definitions"]["subgraphs"]
    return subgraph


@pytest.mark.parametrize("kind", ["server", "oldest_server"])
def test_comfyui_lists_each_with_its_content(kind, request):
    server = request.getfixturevalue(kind)
    client = Client(server.url, server.check_alive)
    listed = client.get("/global_subgraphs")
    ours = {entry["name"]: number for number, entry in listed.items() if entry["info"]["node_pack"].endswith("ltx-duo")}
    assert sorted(ours) == sorted(TITLES) == sorted(path.stem for path in FOLDER.iterdir())
    for title, number in ours.items():
        assert json.loads(client.get(f"/global_subgraphs/{number}")["data"]) == read(title)


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda blueprint: blueprint.title)
def test_file_is_what_its_description_gives(blueprint, object_info):
    """`python -m demo.workflows` in scripts/ writes it again."""
    assert read(blueprint.title) == to_file(blueprint, object_info)


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda blueprint: blueprint.title)
def test_holds_its_workflow_but_for_what_loads_and_saves(blueprint):
    nodes = inside(blueprint.title)["nodes"]
    outside = {*GIVEN, SAVE}
    assert sorted(node["type"] for node in nodes) == sorted(
        node.type for node in blueprint.workflow.nodes if node.type not in outside
    )


@pytest.mark.parametrize("title", TITLES)
def test_every_input_and_output_is_connected_and_every_link_known_at_both_ends(title):
    subgraph = inside(title)
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        if link["origin_id"] == INPUTS:
            given = subgraph["inputs"][link["origin_slot"]]
            assert link["id"] in given["linkIds"] and link["type"] == given["type"]
        else:
            assert link["id"] in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
        if link["target_id"] == OUTPUTS:
            assert [link["id"]] == subgraph["outputs"][link["target_slot"]]["linkIds"]
        else:
            target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert target["link"] == link["id"] and link["type"] in target["type"].split(",")
    assert all(slot["linkIds"] for slot in [*subgraph["inputs"], *subgraph["outputs"]])
    host = read(title)["nodes"][0]
    assert [(slot["name"], slot["type"]) for slot in host["inputs"]] == [
        (slot["name"], slot["type"]) for slot in subgraph["inputs"]
    ]


@pytest.mark.parametrize("title", TITLES)
def test_each_file_goes_to_every_node_that_reads_it(title):
    subgraph = inside(title)
    split = "LTX-2.5" in title
    asked = {slot["name"]: slot["linkIds"] for slot in subgraph["inputs"]}
    for slot, (name, count) in (FILES_2_5 if split else FILES).items():
        targets = [link["target_id"] for link in subgraph["links"] if link["id"] in asked[slot]]
        assert set(targets) == {node["id"] for node in subgraph["nodes"] if name in node["widgets_values"]}
        assert len(targets) == count
