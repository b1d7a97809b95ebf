"""What ComfyUI's front end is told about the nodes: schemas, tooltips, help pages, translations."""

import asyncio
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import ltx_duo

PACK = Path(ltx_duo.__file__).parent

FILM = ["VIDEO", "LTXDUO_CONDITIONS", "LTXDUO_VAE,VAE"]
FILM_OUTPUTS = ["LTXDUO_CONDITIONS", "INT", "INT", "INT", "FLOAT"]
TABLE = {
    "LTXDuoModelLoader": ([], ["LTXDUO_MODEL"]),
    "LTXDuoLoraLoader": (["LTXDUO_MODEL,MODEL"], ["LTXDUO_MODEL"]),
    "LTXDuoVAELoader": ([], ["LTXDUO_VAE"]),
    "LTXDuoTextEncoderLoader": ([], ["LTXDUO_TEXT_ENCODER"]),
    "LTXDuoTextEncode": (["LTXDUO_TEXT_ENCODER"], ["CONDITIONING", "CONDITIONING"]),
    "LTXDuoPromptLength": (["LTXDUO_MODEL,MODEL", "CONDITIONING"], ["INT", "FLOAT", "FLOAT"]),
    "LTXDuoImageCondition": (["IMAGE", "LTXDUO_CONDITIONS"], ["LTXDUO_CONDITIONS"]),
    "LTXDuoSoundCondition": (["AUDIO", "LTXDUO_CONDITIONS", "LTXDUO_VAE,VAE"], ["LTXDUO_CONDITIONS", "INT"]),
    "LTXDuoFilmSound": (FILM, FILM_OUTPUTS),
    "LTXDuoRetake": (FILM, FILM_OUTPUTS),
    "LTXDuoExtend": (FILM, FILM_OUTPUTS),
    "LTXDuoRegion": (["VIDEO", "MASK", "LTXDUO_CONDITIONS", "LTXDUO_VAE,VAE"], FILM_OUTPUTS),
    "LTXDuoReferenceVideo": (["VIDEO", "LTXDUO_CONDITIONS", "MASK"], FILM_OUTPUTS),
    "LTXDuoReferenceVoice": (["AUDIO", "LTXDUO_CONDITIONS", "LTXDUO_VAE,VAE"], ["LTXDUO_CONDITIONS"]),
    "LTXDuoGuidance": ([], ["LTXDUO_GUIDANCE"]),
    "LTXDuoStageOneSampler": (
        [
            "LTXDUO_MODEL,MODEL",
            "LTXDUO_VAE,VAE",
            "CONDITIONING",
            "CONDITIONING",
            "LTXDUO_CONDITIONS",
            "LTXDUO_GUIDANCE",
            "SIGMAS",
            "LATENT",
        ],
        ["LATENT"],
    ),
    "LTXDuoUpsamplerLoader": ([], ["LTXDUO_UPSAMPLER"]),
    "LTXDuoLatentUpsampler": (["LATENT", "LTXDUO_UPSAMPLER,LATENT_UPSCALE_MODEL", "LTXDUO_VAE,VAE"], ["LATENT"]),
    "LTXDuoStageTwoSampler": (
        ["LTXDUO_MODEL,MODEL", "LTXDUO_VAE,VAE", "CONDITIONING", "LATENT", "LTXDUO_CONDITIONS", "SIGMAS"],
        ["LATENT"],
    ),
    "LTXDuoAVDecode": (["LATENT", "LTXDUO_VAE,VAE", "LTXDUO_VAE,VAE"], ["VIDEO", "IMAGE", "AUDIO"]),
    "LTXDuoSoundSampler": (
        [
            "LTXDUO_MODEL,MODEL",
            "CONDITIONING",
            "CONDITIONING",
            "LTXDUO_CONDITIONS",
            "LTXDUO_GUIDANCE",
            "SIGMAS",
        ],
        ["LATENT"],
    ),
    "LTXDuoSoundDecode": (["LATENT", "LTXDUO_VAE,VAE"], ["AUDIO"]),
    "LTXDuoSaveLatent": (["LATENT"], ["LATENT"]),
    "LTXDuoLoadLatent": ([], ["LATENT"]),
    "LTXDuoSeveralGPUs": (["LTXDUO_MODEL,MODEL"], ["LTXDUO_MODEL"]),
}
WIDGETS = {"COMBO", "INT", "FLOAT", "STRING", "BOOLEAN"}


def nodes() -> dict[str, type]:
    extension = asyncio.run(ltx_duo.comfy_entrypoint())
    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}


def test_sockets_are_those_of_the_design():
    found = {}
    for name, node in nodes().items():
        info = node.GET_NODE_INFO_V1()
        inputs = [spec[0] for part in ("required", "optional") for spec in info["input"].get(part, {}).values()]
        found[name] = ([kind for kind in inputs if kind not in WIDGETS], info["output"])
    assert found == TABLE


@pytest.mark.parametrize("name", TABLE)
def test_every_input_and_output_explains_itself(name):
    schema = nodes()[name].GET_SCHEMA()
    for part in [*schema.inputs, *schema.outputs]:
        assert part.tooltip and len(part.tooltip) > 10, part.id
    assert schema.description
    assert schema.display_name.startswith("LTX ") and schema.category == "LTX Duo"


def rows_of_inputs(page: str) -> dict[str, str]:
    """Of a help page's table: the row by input; some rows are of two."""
    table = page.split("| Input | Range | Effect |", 1)[1].split("\n\n", 1)[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")]
    return {name: row for row in rows for name in re.findall(r"\w+(?=[^|]*\|)", row.split("|", 2)[1] + "|")}


@pytest.mark.parametrize("name", TABLE)
def test_help_page_names_every_input(name):
    page = (PACK / "web" / "docs" / f"{name}.md").read_text()
    schema = nodes()[name].GET_SCHEMA()
    assert page.startswith(f"# {schema.display_name}\n")
    assert "| Input | Range | Effect |" in page
    rows = rows_of_inputs(page)
    for part in schema.inputs:
        assert part.id in rows, part.id
        # They are folded away on the canvas: who reads of one has to know.
        assert ("advanced" in rows[part.id].lower()) == part.extra_dict.get("advanced", False), part.id
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (PACK / "web" / "docs" / picture).is_file(), picture


@pytest.mark.parametrize("name", TABLE)
def test_help_page_begins_with_what_to_do_and_ends_with_its_node(name):
    folder = PACK / "web" / "docs"
    _, begin, *_, end = (folder / f"{name}.md").read_text().strip().split("\n\n")
    assert begin.split()[0] in {"Choose", "Connect", "Leave", "Press", "Put", "Write"}
    alt, picture = re.fullmatch(r"!\[(.*?)\]\((.*?)\)", end).groups()
    assert alt.startswith(nodes()[name].GET_SCHEMA().display_name)
    assert picture == f"nodes/{name}.jpg"
    with Image.open(folder / picture) as image:
        assert image.width >= 400 and image.height >= 150
        darkest, brightest = image.convert("L").getextrema()
    assert brightest - darkest > 150, "blank: light text on a dark node is expected"
    assert (folder / picture).stat().st_size <= 40_000


def test_english_texts_are_the_schemas_own():
    texts = json.loads((PACK / "locales" / "en" / "nodeDefs.json").read_text())
    expected = {}
    for name, node in nodes().items():
        schema = node.GET_SCHEMA()
        expected[name] = {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {i.id: {"name": i.id.replace("_", " "), "tooltip": i.tooltip} for i in schema.inputs},
            "outputs": {str(n): {"name": o.display_name, "tooltip": o.tooltip} for n, o in enumerate(schema.outputs)},
        }
    assert texts == expected


def test_the_entry_point_imports_neither_engine_nor_comfyui():
    code = (
        "import importlib.util, sys; "
        f"s = importlib.util.spec_from_file_location('pack', r'{PACK / '__init__.py'}', "
        f"submodule_search_locations=[r'{PACK}']); m = importlib.util.module_from_spec(s); s.loader.exec_module(m); "
        "print([n for n in sys.modules if n.split('.')[0] in ('torch', 'comfy', 'comfy_api', 'transformers')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


SIZE = {"width": 1536, "height": 1024, "frames": 121, "fps": 24.0}


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"width": 1000}, ["width", "1000", "64", "960 or 1024"]),
        ({"height": 32}, ["height", "32", "64"]),
        ({"frames": 120}, ["frames", "120", "8n+1", "113 or 121"]),
        ({"frames": 0}, ["frames", "0"]),
        ({"fps": 0.0}, ["fps", "0"]),
        ({"fps": float("nan")}, ["fps", "nan"]),
    ],
)
def test_sizes_that_cannot_be_made_are_refused_at_once(wrong, words):
    sampler = nodes()["LTXDuoStageOneSampler"]
    assert sampler.validate_inputs(**SIZE) is True
    message = sampler.validate_inputs(**{**SIZE, **wrong})
    assert isinstance(message, str) and all(word in message for word in words), message
    # A linked input is not known yet, and not what is wrong.
    assert sampler.validate_inputs(**{**SIZE, **dict.fromkeys(wrong)}) is True


def test_custom_tiles_are_checked():
    decode = nodes()["LTXDuoAVDecode"]
    good = {"tile_size": 512, "tile_overlap": 64, "tile_frames": 64, "tile_frame_overlap": 24}
    assert decode.validate_inputs(tiling="custom", **good) is True
    message = decode.validate_inputs(tiling="custom", **{**good, "tile_overlap": 512})
    assert "tile_overlap is 512" in message and "tile_size (512)" in message
    assert decode.validate_inputs(tiling="auto", **{**good, "tile_overlap": 512}) is True


@pytest.mark.parametrize("text, blocks", [("auto", None), ("28", (28,)), (" 19, 14 ", (14, 19)), ("14 14", (14,))])
def test_blocks_are_read(text, blocks):
    from ltx_duo.nodes.guidance import parse_blocks

    assert parse_blocks(text) == blocks


def test_blocks_that_are_no_numbers_are_refused():
    assert "twenty" in nodes()["LTXDuoGuidance"].validate_inputs(stg_blocks="twenty")


@pytest.mark.parametrize("name", TABLE)
def test_execute_names_every_input(name):
    node = nodes()[name]
    parameters = inspect.signature(node.execute).parameters.values()
    assert {part.id for part in node.GET_SCHEMA().inputs} == {parameter.name for parameter in parameters}
    assert not {parameter.kind for parameter in parameters} & {inspect.Parameter.VAR_KEYWORD}
    # `declared` gives widgets their defaults; a socket that may stay open has none but its own.
    sockets = {part.id for part in node.GET_SCHEMA().inputs if part.optional and part.get_io_type() not in WIDGETS}
    assert sockets <= {parameter.name for parameter in parameters if parameter.default is not inspect.Parameter.empty}


def test_guidance_values_reach_the_engine():
    node = nodes()["LTXDuoGuidance"]
    names = ("cfg", "stg", "modality", "rescale")
    scales = {f"{m}_{n}": i / 8 for i, (m, n) in enumerate((m, n) for m in ("video", "audio") for n in names)}
    made = node.execute(preset="custom", stg_blocks="3", skip_step=2, **scales).args[0]
    assert not made.reuse
    assert node.execute(preset="custom", stg_blocks="3", reuse_guidance=True, **scales).args[0].reuse
    assert [getattr(made.video, name) for name in names] == [0, 1 / 8, 2 / 8, 3 / 8]
    assert [getattr(made.audio, name) for name in names] == [4 / 8, 5 / 8, 6 / 8, 7 / 8]
    assert made.stg_blocks == (3,) and made.skip_step == 2
    assert node.execute(preset="from the model", stg_blocks="3", skip_step=2, **scales).args[0] is None
    off = node.execute(preset="none", stg_blocks="3", skip_step=2, **scales).args[0]
    assert not (off.video.needs_negative or off.video.needs_perturbed or off.audio.needs_isolated)
