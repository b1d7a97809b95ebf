"""The shipped workflows: canvas and API file say the same, fit the nodes' schemas, and are laid out cleanly."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.variants import Kind, variant_of
from ltx_duo.ltx_core.variants.records import PublishedFiles
from ltx_duo.scripts.demo.workflows import catalogue, model_files
from ltx_duo.scripts.demo.workflows.canvas import to_api as described_api
from ltx_duo.scripts.demo.workflows.canvas import to_canvas

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.name.removesuffix(".api.json") for path in WORKFLOWS.glob("api/*.api.json"))
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
UPLOAD_TYPES = {"IMAGEUPLOAD", "AUDIOUPLOAD", "AUDIO_UI"}  # the front end's own, beside a file's widget
NOTE = "MarkdownNote"
TITLE_HEIGHT = 30
# Where our other loaders look; all that take a checkpoint, core's too, look in checkpoints, but for LTX-2.5's parts.
FOLDERS = {
    "LTXDuoLoraLoader": "loras",
    "LTXDuoUpsamplerLoader": "latent_upscale_models",
    "LoraLoaderModelOnly": "loras",
    "LatentUpscaleModelLoader": "latent_upscale_models",
}
FOLDERS_2_5 = FOLDERS | {
    "LTXDuoModelLoader": "diffusion_models",
    "LTXDuoTextEncoderLoader": "text_encoders",
    "LTXDuoVAELoader": "vae",
    "LTXDuoPromptLength": "model_patches",
}

OFFICIAL = "Lightricks/LTX-2.3/resolve/main"
PLACES = {
    "ltx-2-": "Lightricks/LTX-2/resolve/main",
    "gemma": "Comfy-Org/ltx-2/resolve/main/split_files/text_encoders",
    "fp8": "Lightricks/LTX-2.3-fp8/resolve/main",
    "union-control": "Lightricks/LTX-2.3-22b-IC-LoRA-Union-Control/resolve/main",
    "day-to-night": "Lightricks/LTX-2.3-22b-IC-LoRA-Day-To-Night/resolve/main",
    "in-outpainting": "Lightricks/LTX-2.3-22b-IC-LoRA-In-Outpainting/resolve/main",
    "talkvid": "Comfy-Org/ltx-2.3/resolve/main/split_files/loras",
}


def load(name: str) -> dict:
    return json.loads((WORKFLOWS / name).read_text())


def specifications(info: dict) -> dict[str, list]:
    """All inputs of a node in schema order: name -> [type or choices, options]."""
    found = {}
    for section in ("required", "optional"):
        for name in info["input_order"].get(section, []):
            found[name] = [*info["input"][section][name], {}][:2]
    return found


def is_widget(specification: list) -> bool:
    return isinstance(specification[0], list) or specification[0] in WIDGET_TYPES


def type_of(specification: list) -> str:
    return "COMBO" if isinstance(specification[0], list) else specification[0]


def widget_names(info: dict) -> list[str | None]:
    """What each of a canvas node's widget values is for; None for values that the canvas keeps for itself."""
    names = []
    for name, specification in specifications(info).items():
        if is_widget(specification):
            names.append(name)
            if any(specification[1].get(mark) for mark in ("control_after_generate", "image_upload", "video_upload")):
                names.append(None)
            if specification[1].get("audio_upload"):
                names += [None, None]  # player and button
    return names


def to_api(canvas: dict, object_info: dict) -> dict:
    """What the front end makes of a canvas: inputs per node id, links as [node id, output index]."""
    origin = {link[0]: [str(link[1]), link[2]] for link in canvas["links"]}
    prompt = {}
    for node in canvas["nodes"]:
        if node["type"] == NOTE:
            continue
        info = object_info[node["type"]]
        names = widget_names(info)
        assert len(names) == len(node["widgets_values"]), f"{node['type']} has another number of widgets"
        values = {name: value for name, value in zip(names, node["widgets_values"], strict=True) if name}
        for slot in node["inputs"]:
            if slot.get("link") is not None:
                values[slot["name"]] = origin[slot["link"]]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values}
    return prompt


@pytest.mark.parametrize("workflow", catalogue.WORKFLOWS, ids=lambda workflow: workflow.name)
def test_files_are_what_their_description_gives(workflow, object_info):
    """`python -m demo.workflows` in scripts/ writes them again."""
    assert load(f"{workflow.name}.json") == to_canvas(workflow, object_info)
    assert load(f"api/{workflow.name}.api.json") == described_api(workflow, object_info)


@pytest.mark.parametrize("name", NAMES)
def test_card_is_a_picture(name):
    with Image.open(WORKFLOWS / f"{name}.jpg") as card:
        assert card.size == (720, 540)
        assert np.asarray(card).std() > 20


def test_there_is_a_canvas_an_api_file_and_a_thumbnail_for_each():
    assert sorted(workflow.name for workflow in catalogue.WORKFLOWS) == NAMES
    shown = {f"{name}{ending}" for name in NAMES for ending in (".json", ".jpg")}
    # What lies beside them ComfyUI would list as templates.
    assert {path.name for path in WORKFLOWS.iterdir()} == shown | {"api"}
    assert {path.name for path in (WORKFLOWS / "api").iterdir()} == {f"{name}.api.json" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_canvas_and_api_file_agree(name, object_info):
    api = load(f"api/{name}.api.json")
    titles = {node: entry.pop("_meta")["title"] for node, entry in api.items()}
    assert to_api(load(f"{name}.json"), object_info) == api
    for node, title in titles.items():
        kind = api[node]["class_type"]
        assert title == (object_info[kind]["display_name"] or kind)


@pytest.mark.parametrize("name", NAMES)
def test_canvas_slots_and_links_fit_the_schemas(name, object_info):
    canvas = load(f"{name}.json")
    nodes = {node["id"]: node for node in canvas["nodes"]}
    for node in canvas["nodes"]:
        if node["type"] == NOTE:
            continue
        info = object_info[node["type"]]
        expected = {slot: type_of(spec) for slot, spec in specifications(info).items()}
        slots = {slot["name"]: slot["type"] for slot in node["inputs"] if slot["type"] not in UPLOAD_TYPES}
        assert slots == expected
        assert [(o["name"], o["type"]) for o in node["outputs"]] == list(
            zip(info["output_name"], info["output"], strict=True)
        )
    for link, source, output, target, slot, link_type in canvas["links"]:
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == link
        assert nodes[source]["outputs"][output]["type"] == link_type
        assert link_type in nodes[target]["inputs"][slot]["type"].split(",")


@pytest.mark.parametrize("name", NAMES)
def test_api_file_gives_every_required_input_a_valid_value(name, object_info):
    for entry in load(f"api/{name}.api.json").values():
        info = object_info[entry["class_type"]]
        specs = specifications(info)
        assert info["input"]["required"].keys() <= entry["inputs"].keys() <= specs.keys()
        for slot, value in entry["inputs"].items():
            options = specs[slot][1]
            if isinstance(value, list):  # a link
                continue
            if specs[slot][0] in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"]
            if specs[slot][0] == "COMBO" and entry["class_type"].startswith("LTXDuo") and "default" in options:
                assert value in options["options"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_overlaps_and_every_node_lies_in_a_group(name):
    canvas = load(f"{name}.json")
    boxes = {}
    for node in canvas["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        boxes[node["id"]] = (x, y - TITLE_HEIGHT, x + width, y + height)
        if node["type"] != NOTE:
            groups = [group["bounding"] for group in canvas["groups"]]
            assert any(
                gx <= x and gy <= y - TITLE_HEIGHT and x + width <= gx + gw and y + height <= gy + gh
                for gx, gy, gw, gh in groups
            ), f"{node['type']} lies in no group"
    for (first, a), (second, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"nodes {first} and {second} overlap"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_offered_where_its_node_looks(name):
    for node in load(f"{name}.json")["nodes"]:
        files = [value for value in node.get("widgets_values", []) if str(value).endswith(".safetensors")]
        offered = node["properties"].get("models", [])
        assert {model["name"] for model in offered} == set(files), node["type"]
        for model in offered:
            if "ltx-2.5" in model["name"]:
                folder = FOLDERS_2_5[node["type"]]
                place = f"Lightricks/LTX-2.5/resolve/main/{folder}"
                assert model["url"] == f"https://huggingface.co/{place}/{model['name']}"
                assert model["directory"] == folder
                continue
            gemma = model["name"].startswith("gemma")
            place = next((place for word, place in PLACES.items() if word in model["name"]), OFFICIAL)
            assert model["url"] == f"https://huggingface.co/{place}/{model['name']}"
            folder = "text_encoders" if gemma else FOLDERS.get(node["type"], "checkpoints")
            assert model["directory"] == folder


def test_files_are_called_as_the_models_record_says():
    files = variant_of(Kind.DEV).files
    assert files == PublishedFiles(
        model_files.DEV_BF16.name, model_files.LORA.name, model_files.UPSAMPLER.name, model_files.GEMMA_FOLDER
    )
    assert variant_of(Kind.DEV, Generation.V2_0).files == PublishedFiles(
        model_files.DEV_BF16_2_0.name, model_files.LORA_2_0.name, model_files.UPSAMPLER_2_0.name,
        model_files.GEMMA_FOLDER,
    )  # fmt: skip
    assert variant_of(Kind.DEV, Generation.V2_5).files == PublishedFiles(
        *(
            getattr(model_files, f"{name}_2_5").name
            for name in (
                "DEV_BF16",
                "LORA",
                "UPSAMPLER",
                "TEXT_ENCODER_BF16",
                "VIDEO_VAE",
                "DIFFUSION_VAE",
                "AUDIO_VAE",
            )
        ),
        model_files.DURATION_HEAD.name,
    )
    distilled = variant_of(Kind.DISTILLED, Generation.V2_5).files
    assert distilled.checkpoint == model_files.DISTILLED_BF16_2_5.name


def test_server_offers_them_as_templates(client):
    offered = client.get("/workflow_templates")
    assert set(NAMES) <= set(offered["ltx-duo"])
