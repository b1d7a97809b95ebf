"""What is known of a prompt before it runs: constants as ComfyUI converts them, through links and bare reroutes."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltx_duo.nodes.prompt_graph import PromptGraph
from ltx_duo.tests.nodes.trees.preflight_scene import Scene

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = SCALARS | st.lists(SCALARS, max_size=3) | SCALARS.map(lambda value: {"__value__": value}) | st.just({"a": [1]})


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def node(inputs: dict, **others: tuple[str, dict]):
    """Node 1 of a prompt with those inputs; `others` by id: (type, inputs)."""
    prompt = {"1": {"class_type": "Mine", "inputs": inputs}}
    prompt |= {number[1:]: {"class_type": kind, "inputs": given} for number, (kind, given) in others.items()}
    return PromptGraph(prompt).nodes["1"]


def test_the_frame_rate_of_a_prompts_length_is_known_and_its_frames_are_not():
    length = ("LTXDuoPromptLength", {"fps": 25})
    found = node({"fps": ["2", 1], "frames": ["2", 0]}, n2=length)
    assert found.value("fps", (int, float)) == 25.0 and found.value("frames", int) is None


@pytest.mark.parametrize(
    ("constant", "kind", "value"),
    [
        ("1536", int, 1536),
        (" 1536 ", int, 1536),
        (1536.0, int, 1536),
        (True, int, 1),
        ("24", (int, float), 24.0),
        ("2.4e1", (int, float), 24.0),
        (25, (int, float), 25.0),
        ({"__value__": 5}, int, 5),
        (28, str, "28"),
        ("", bool, False),
        ("24,0", (int, float), None),
        ("", int, None),
        ("1e3", int, None),
        (None, int, None),
        ({}, int, None),
        ([], int, None),
        ([1], int, None),
        ([1, 2, 3], int, None),
        ({"__value__": [1, 2]}, int, None),
        (float("nan"), (int, float), None),
        (float("inf"), (int, float), None),
        ("nan", (int, float), None),
        (float("inf"), int, None),
        ("9" * 5000, int, None),
    ],
)
def test_constants_are_converted_as_comfyui_does(constant, kind, value):
    found = node({"x": constant}).value("x", kind)
    assert found == value and type(found) is type(value)


@unhurried
@given(JSON, st.sampled_from([int, (int, float), str, bool, object]))
def test_any_constant_is_a_value_of_the_kind_or_unknown(constant, kind):
    found = node({"x": constant}).value("x", kind)
    assert found is None or isinstance(found, kind)


@unhurried
@given(st.integers(-(10**20), 10**20) | st.floats(-1e15, 1e15))
def test_numbers_and_their_texts_are_the_same(number):
    as_float = node({"x": str(number)}).value("x", (int, float))
    assert as_float == node({"x": number}).value("x", (int, float)) == float(number)
    assert node({"x": number}).value("x", int) == int(number)


@pytest.mark.parametrize(
    ("kind", "slot", "constant", "output", "asked", "value"),
    [
        ("PrimitiveInt", "value", "121", 0, int, 121),
        ("PrimitiveFloat", "value", 24, 0, (int, float), 24.0),
        ("PrimitiveString", "value", "14", 0, str, "14"),
        ("PrimitiveStringMultiline", "value", "a\nb", 0, str, "a\nb"),
        ("PrimitiveBoolean", "value", True, 0, bool, True),
        ("SeedNode", "seed", 7, 0, int, 7),
        ("CustomCombo", "choice", "gpu", 0, str, "gpu"),
        ("CustomCombo", "index", 3, 1, int, 3),
        ("ComfyNumberConvert", "value", "97", 1, int, 97),
        ("PrimitiveInt", "value", 121, 1, int, None),
        ("PrimitiveInt", "value", "many", 0, int, None),
        ("PrimitiveInt", "other", 121, 0, int, None),
        ("GetImageSize", "image", 121, 0, int, None),
    ],
)
def test_constants_come_through_links(kind, slot, constant, output, asked, value):
    assert node({"x": ["2", output]}, n2=(kind, {slot: constant})).value("x", asked) == value


def test_a_primitive_converts_before_the_input_does():
    """int(24.9) stands in the primitive already."""
    assert node({"x": ["2", 0]}, n2=("PrimitiveInt", {"value": 24.9})).value("x", (int, float)) == 24.0


def test_primitives_feed_primitives():
    linked = {"n2": ("PrimitiveFloat", {"value": ["3", 0]}), "n3": ("PrimitiveInt", {"value": "5"})}
    assert node({"x": ["2", 0]}, **linked).value("x", int) == 5


@pytest.mark.parametrize("switch, number", [(True, 3), ("", 4), (["5", 0], 3), (["6", 0], None)])
def test_reroutes_and_switches_are_seen_through(switch, number):
    mine = node(
        {"model": ["2", 0]},
        n2=("Reroute", {"": ["7", 0]}),
        n7=("ComfySwitchNode", {"switch": switch, "on_true": ["3", 0], "on_false": ["4", 0]}),
        n3=("PrimitiveInt", {"value": 3}),
        n4=("PrimitiveInt", {"value": 4}),
        n5=("PrimitiveBoolean", {"value": True}),
        n6=("SomethingElse", {}),
    )
    assert mine.value("model", int) == number
    found = mine.graph.source(mine, "model")
    assert found.id == ("7" if number is None else str(number))
    assert [other.id for other in mine.graph.chain(mine, "model")] == [found.id]


@pytest.mark.parametrize(
    "others",
    [
        {"n2": ("Reroute", {"": ["2", 0]})},
        {"n2": ("Reroute", {"": ["3", 0]}), "n3": ("Reroute", {"": ["2", 0]})},
        {"n2": ("PrimitiveInt", {"value": ["2", 0]})},
        {"n2": ("ComfySwitchNode", {"switch": ["2", 0], "on_true": ["2", 0], "on_false": ["2", 0]})},
        {"n2": ("ComfySwitchNode", {"switch": True, "on_true": ["2", 0]})},
    ],
)
def test_circles_end(others):
    mine = node({"x": ["2", 0]}, **others)
    assert mine.value("x", int) is None
    list(mine.graph.chain(mine, "x"))
    list(mine.graph.ancestors(mine))


LINKS = st.lists(st.sampled_from(["1", "2", "3", "9", 0, 1]), min_size=2, max_size=2)
TYPES = st.sampled_from(["Reroute", "PrimitiveInt", "ComfySwitchNode", "ComfyNumberConvert", "LTXDuoGuidance"])
INPUTS = st.dictionaries(st.sampled_from(["value", "switch", "on_true", "on_false", "x"]), JSON | LINKS, max_size=4)


@unhurried
@given(st.dictionaries(st.sampled_from("123"), st.tuples(TYPES, INPUTS), min_size=1))
def test_no_graph_hangs_or_breaks(entries):
    graph = PromptGraph({number: {"class_type": kind, "inputs": given} for number, (kind, given) in entries.items()})
    for found in graph.nodes.values():
        list(graph.ancestors(found))
        for name in found.inputs:
            list(graph.chain(found, name))
            for kind in (int, (int, float), str, bool, object):
                found.value(name, kind)


def test_defaults_stand_for_what_is_not_given():
    prompt = json.loads('{"1": {"class_type": "Mine", "inputs": {"x": 1}}}')
    graph = PromptGraph(prompt, {"Mine": {"x": 5, "y": 6}})
    assert (graph.nodes["1"].value("x", int), graph.nodes["1"].value("y", int)) == (1, 6)
    assert not graph.nodes["1"].has("y")


@pytest.mark.parametrize("frame", [121, "121", 121.0, -122, ["70", 0]])
@pytest.mark.parametrize("frames", [121, "121", 121.0, ["71", 0]])
def test_rules_see_values_of_every_form(frame, frames):
    scene = Scene("image-to-video").set("LTXDuoStageOneSampler", frames=frames)
    scene.set("LTXDuoImageCondition", frame=frame)
    scene.prompt["70"] = {"class_type": "PrimitiveInt", "inputs": {"value": "121"}}
    scene.prompt["71"] = {"class_type": "Reroute", "inputs": {"": ["72", 0]}}
    scene.prompt["72"] = {"class_type": "PrimitiveInt", "inputs": {"value": 121}}
    assert list(scene.errors()) == ["LTXDuoImageCondition"]
    scene.set("LTXDuoImageCondition", frame="120")
    assert scene.report().errors == {}
