"""Bad values through ComfyUI's own validation: one message, under the input that is wrong, and none is let through."""

import asyncio
import copy
import json
from contextvars import copy_context
from pathlib import Path

import pytest
from comfy_extras import nodes_primitive, nodes_video

import nodes as comfyui_nodes
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import prompt_hook
from ltx_duo.nodes.preflight.room import Machine

PACK = Path(__file__).resolve().parents[3]
WORKFLOW = json.loads((PACK / "workflows" / "api" / "text-to-video.api.json").read_text())
IDS = {node["class_type"].removeprefix("LTXDuo"): number for number, node in WORKFLOW.items()}
MODEL, LORA, VAE, TEXT_FILES, UPSAMPLER, TEXT = (
    IDS[kind]
    for kind in ("ModelLoader", "LoraLoader", "VAELoader", "TextEncoderLoader", "UpsamplerLoader", "TextEncode")
)
ONE, GUIDANCE, TWO, DECODE = (IDS[kind] for kind in ("StageOneSampler", "Guidance", "StageTwoSampler", "AVDecode"))


@pytest.fixture
def registered(nodes, monkeypatch):
    """Our nodes and the primitive ones, as a server has them, without a browser to show warnings to."""
    monkeypatch.setattr(prompt_hook, "_show", lambda *_: None)
    primitive = asyncio.run(nodes_primitive.PrimitivesExtension().get_node_list())
    video = asyncio.run(nodes_video.VideoExtension().get_node_list())
    core = {node.GET_SCHEMA().node_id: node for node in (*primitive, *video)}
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", {**comfyui_nodes.NODE_CLASS_MAPPINGS, **core, **nodes})


@pytest.fixture
def prompt(names, registered):
    """The text-to-video workflow on the small model, good as it stands."""
    prompt = copy.deepcopy(WORKFLOW)
    for node, name, value in (
        (MODEL, "checkpoint", names.checkpoint),
        (LORA, "lora", names.lora),
        (VAE, "checkpoint", names.checkpoint),
        (TEXT_FILES, "text_encoder", "gemma-3-small"),
        (TEXT_FILES, "projection", names.checkpoint),
        (UPSAMPLER, "upsampler", names.upsampler),
        (ONE, "width", 128),
        (ONE, "height", 64),
        (ONE, "frames", 9),
        (GUIDANCE, "preset", "custom"),
    ):
        prompt[node]["inputs"][name] = value
    return prompt


def queue(prompt: dict) -> dict[str, list[tuple[str, str, str]]]:
    """By node: (input, kind of the error, what is said), as POST /prompt answers."""
    import execution

    prompt = copy.deepcopy(prompt)

    def post():
        request = prompt_hook.on_prompt({"prompt": prompt})
        return asyncio.run(execution.validate_prompt("some-id", request["prompt"], None))

    answer = copy_context().run(post)
    return {
        node: [
            (error["extra_info"].get("input_name"), error["type"], f"{error['message']}: {error['details']}")
            for error in found["errors"]
        ]
        for node, found in answer[3].items()
    }


def test_a_good_prompt_is_accepted(prompt):
    assert queue(prompt) == {}


ROWS = [
    # node, inputs, the input that is wrong, words that are said
    (ONE, {"width": 1000}, "width", ("1000", "64")),
    (ONE, {"width": "1000"}, "width", ("1000", "64")),
    (ONE, {"width": 1000.0}, "width", ("1000", "64")),
    (ONE, {"width": 6_400_000}, "width", ("6400000", "8192")),
    (ONE, {"width": 0}, "width", ("0", "64")),
    (ONE, {"width": "24,0"}, "width", ("24,0",)),
    (ONE, {"width": ""}, "width", ("convert",)),
    (ONE, {"width": None}, "width", ("convert",)),
    (ONE, {"width": [1, 2, 3]}, "width", ("length-2",)),
    (ONE, {"width": {"__value__": [1, 2]}}, "width", ("convert",)),
    (ONE, {"width": float("nan")}, "width", ("convert",)),
    (ONE, {"height": 1080}, "height", ("1080", "64")),
    (ONE, {"frames": 24}, "frames", ("24", "8n+1", "25")),
    (ONE, {"frames": 1, "fps": 240.0}, "frames", ("too short",)),
    (ONE, {"fps": 0.001}, "fps", ("0.001", "1")),
    (ONE, {"fps": 1e-300}, "fps", ("1e-300",)),
    (ONE, {"fps": float("nan")}, "fps", ("nan",)),
    (ONE, {"fps": float("inf")}, "fps", ("inf",)),
    (ONE, {"fps": "24,0"}, "fps", ("24,0",)),
    (ONE, {"seed": -1}, "seed", ("-1",)),
    (ONE, {"seed": 10**30}, "seed", ("bigger",)),
    (ONE, {"steps": 0}, "steps", ("smaller",)),
    (ONE, {"noise_device": "tpu"}, "noise_device", ("'tpu'", "'cpu'")),
    (DECODE, {"tiling": "nonsense"}, "tiling", ("nonsense", "'auto'")),
    (DECODE, {"tiling": None}, "tiling", ("None", "'auto'")),
    (DECODE, {"tile_size": 10**30}, "tile_size", ("bigger",)),
    (DECODE, {"tiling": "custom", "tile_size": 10**30}, "tile_size", ("bigger",)),
    (DECODE, {"tiling": "custom", "tile_size": 100}, "tile_size", ("100", "32")),
    (DECODE, {"tiling": "custom", "tile_size": 64, "tile_overlap": 64}, "tile_overlap", ("64", "below")),
    (DECODE, {"tiling": "custom", "tile_frame_overlap": 80}, "tile_frame_overlap", ("80", "below")),
    (GUIDANCE, {"preset": "best"}, "preset", ("'best'", "'custom'")),
    (GUIDANCE, {"video_cfg": float("nan")}, "video_cfg", ("nan", "30")),
    (GUIDANCE, {"audio_rescale": 1.5}, "audio_rescale", ("1.5", "1")),
    (GUIDANCE, {"stg_blocks": ""}, "stg_blocks", ("empty", "video_stg")),
    (GUIDANCE, {"stg_blocks": "7" * 5000}, "stg_blocks", ("777", "'auto'")),
    (GUIDANCE, {"stg_blocks": 48}, "stg_blocks", ("48", "blocks 0 to 3")),
    (GUIDANCE, {"stg_blocks": "twenty"}, "stg_blocks", ("twenty",)),
    (LORA, {"strength_stage_one": float("nan")}, "strength_stage_one", ("nan", "-10", "10")),
    (LORA, {"strength_stage_two": 11}, "strength_stage_two", ("11", "10")),
    (LORA, {"lora": None}, "lora", ("None", "file")),
    (LORA, {"lora": 3}, "lora", ("3", "file")),
    (LORA, {"lora": {"a": 1}}, "lora", ("file",)),
    (LORA, {"lora": {"__value__": ["x"]}}, "lora", ("'x'", "file")),
    (LORA, {"lora": ["a", "b", "c"]}, "lora", ("length-2",)),
    (LORA, {"lora": "gone.safetensors"}, "lora", ("gone.safetensors", "models/loras")),
    (LORA, {"lora": "x\0.safetensors"}, "lora", ("models/loras",)),
    (LORA, {"lora": "x" * 5000}, "lora", ("models/loras",)),
    (VAE, {"checkpoint": None}, "checkpoint", ("None",)),
    (VAE, {"audio_file": None}, "audio_file", ("None", "file")),
    (VAE, {"audio_file": "gone.safetensors"}, "audio_file", ("gone.safetensors", "models/vae")),
    (VAE, {"checkpoint": "gone.safetensors"}, "checkpoint", ("gone.safetensors", "models/vae")),
    (MODEL, {"weight_dtype": "fp4"}, "weight_dtype", ("fp4", "'bf16'")),
    (MODEL, {"checkpoint": []}, "checkpoint", ("length-2",)),
    (TEXT_FILES, {"text_encoder": "gone"}, "text_encoder", ("'gone'", "models/text_encoders")),
    (TEXT_FILES, {"projection": "gone"}, "projection", ("'gone'", "models/checkpoints")),
    (TEXT_FILES, {"text_encoder": None}, "text_encoder", ("None",)),
    (UPSAMPLER, {"upsampler": True}, "upsampler", ("True",)),
    (TWO, {"audio": "none"}, "audio", ("'none'", "'stage one'")),
    (TWO, {"noise_device": "cpu", "noise": 1}, "noise", ("1", "'new seed'")),
]


@pytest.mark.parametrize(("node", "inputs", "wrong", "words"), ROWS, ids=lambda value: str(value)[:40])
def test_one_message_under_the_input_that_is_wrong(prompt, node, inputs, wrong, words):
    prompt[node]["inputs"].update(inputs)
    said = queue(prompt)
    assert list(said) == [node]
    ((name, _, text),) = said[node]
    assert name == wrong
    assert all(word in text for word in words), text
    assert "join" not in text and "Traceback" not in text and "Error" not in text
    assert len(text) < 600


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"width": 6_400_000}, "value_bigger_than_max"),
        ({"width": 64, "height": 32}, "value_smaller_than_min"),
        ({"width": ""}, "invalid_input_type"),
        ({"seed": "ten"}, "invalid_input_type"),
    ],
)
def test_what_comfyui_checks_it_says_itself(prompt, inputs, kind):
    prompt[ONE]["inputs"].update(inputs)
    assert [error[1] for error in queue(prompt)[ONE]] == [kind]


def test_several_errors_of_a_node_stand_under_their_own_inputs(prompt):
    prompt[ONE]["inputs"].update(width=1000, frames=24, fps=float("nan"), steps=0)
    prompt[DECODE]["inputs"].update(tiling="custom", tile_overlap=768, tile_frame_overlap=80)
    prompt[VAE]["inputs"].update(checkpoint="gone-1", audio_file="gone-2")
    said = {node: {name: text for name, _, text in found} for node, found in queue(prompt).items()}
    assert {node: set(found) for node, found in said.items()} == {
        ONE: {"width", "frames", "fps", "steps"},
        DECODE: {"tile_overlap", "tile_frame_overlap"},
        VAE: {"checkpoint", "audio_file"},
    }
    assert "1000" in said[ONE]["width"] and "8n+1" in said[ONE]["frames"] and "nan" in said[ONE]["fps"]
    assert "tile_overlap is 768" in said[DECODE]["tile_overlap"]
    assert "tile_frame_overlap is 80" in said[DECODE]["tile_frame_overlap"]
    assert "gone-1" in said[VAE]["checkpoint"] and "gone-2" in said[VAE]["audio_file"]


def second(prompt: dict, node: str) -> str:
    """Adds a copy of a node that the good one's user takes as well, under an output of its own."""
    prompt["90"] = copy.deepcopy(prompt[node])
    if node == LORA:
        prompt[LORA]["inputs"]["model"] = ["90", 0]
    return "90"


def test_two_nodes_of_a_kind_with_the_same_input_wrong(prompt):
    other = second(prompt, LORA)
    prompt[LORA]["inputs"]["lora"], prompt[other]["inputs"]["lora"] = "gone-1", "gone-2"
    said = queue(prompt)
    assert {node: [name for name, _, _ in found] for node, found in said.items()} == {LORA: ["lora"], other: ["lora"]}
    assert "gone-1" in said[LORA][0][2] and "gone-2" in said[other][0][2]


def test_two_nodes_of_a_kind_with_different_inputs_wrong_say_each_thing_once(prompt):
    other = second(prompt, LORA)
    prompt[LORA]["inputs"]["lora"] = "gone-1"
    prompt[other]["inputs"].update(strength_stage_one=float("nan"), strength_stage_two=99)
    said = queue(prompt)
    assert said.keys() == {LORA, other}
    assert len(said[LORA]) == 1 and "gone-1" in said[LORA][0][2]
    texts = " ".join(text for _, _, text in said[other])
    assert texts.count("strength_stage_one") == 1 + (said[other][0][0] == "strength_stage_one") and "99" in texts


def test_a_good_node_beside_a_bad_one_keeps_comfyuis_checks(prompt):
    other = second(prompt, LORA)
    prompt[LORA]["inputs"]["strength_stage_one"] = float("nan")
    prompt[other]["inputs"]["strength_stage_one"] = 99
    said = {node: [(name, text) for name, _, text in found] for node, found in queue(prompt).items()}
    assert [name for name, _ in said[LORA]] == [name for name, _ in said[other]] == ["strength_stage_one"]
    assert "nan" in said[LORA][0][1] and "99" in said[other][0][1]


def test_whole_prompt_errors_stand_once_too(prompt):
    prompt[ONE]["inputs"].pop("negative")
    assert [name for name, _, _ in queue(prompt)[ONE]] == ["positive"]


def test_a_rule_that_fails_costs_its_own_findings_alone(prompt, monkeypatch, caplog):
    def fail(*_):
        raise KeyError("a fault of ours")

    monkeypatch.setattr(prompt_hook, "check_possible", fail)
    prompt[GUIDANCE]["inputs"]["stg_blocks"] = "twenty"
    assert [(name, "twenty" in text) for name, _, text in queue(prompt)[GUIDANCE]] == [("stg_blocks", True)]
    assert "could not be checked as a whole" in caplog.text


@pytest.mark.parametrize("link", [["2", [0]], ["2", {}], [["2"], 0], ["2", None]])
def test_a_link_that_is_none_breaks_no_check(prompt, link, caplog):
    prompt[ONE]["inputs"]["fps"] = link
    queue(prompt)
    assert "could not be checked as a whole" not in caplog.text


def test_messages_of_one_prompt_do_not_reach_the_next_in_the_same_context(prompt):
    bad = copy.deepcopy(prompt)
    bad[ONE]["inputs"]["width"] = 1000

    def both():
        import execution

        for one, errors in ((bad, 1), (prompt, 0), ({"1": {}}, 0)):
            request = prompt_hook.on_prompt({"prompt": copy.deepcopy(one)})
            answer = asyncio.run(execution.validate_prompt("some-id", request["prompt"], None))
            assert len(answer[3]) == errors

    copy_context().run(both)


PRIMITIVES = [
    # the kind of node, its value, the input that it feeds, words; None where all is well
    ("PrimitiveInt", 100, (ONE, "width"), ("100", "64")),
    ("PrimitiveInt", "1000", (ONE, "width"), ("1000", "64")),
    ("PrimitiveInt", 6_400_000, (ONE, "width"), ("6400000", "8192")),
    ("PrimitiveInt", 128, (ONE, "width"), None),
    ("PrimitiveInt", 24, (ONE, "frames"), ("24", "8n+1")),
    ("PrimitiveFloat", 0.001, (ONE, "fps"), ("0.001", "240")),
    ("PrimitiveFloat", float("nan"), (LORA, "strength_stage_one"), ("nan", "10")),
    ("PrimitiveString", "", (GUIDANCE, "stg_blocks"), ("empty",)),
    ("PrimitiveString", "48", (GUIDANCE, "stg_blocks"), ("48", "blocks 0 to 3")),
    ("PrimitiveStringMultiline", "9 x", (GUIDANCE, "stg_blocks"), ("9 x",)),
    ("PrimitiveString", "1", (GUIDANCE, "stg_blocks"), None),
]


@pytest.mark.parametrize(("kind", "value", "target", "words"), PRIMITIVES, ids=lambda value: str(value)[:40])
def test_constants_of_other_nodes_are_followed(prompt, kind, value, target, words):
    prompt["91"] = {"class_type": kind, "inputs": {"value": value}}
    node, name = target
    prompt[node]["inputs"][name] = ["91", 0]
    said = queue(prompt)
    if words is None:
        assert said == {}
        return
    assert list(said) == [node]
    ((wrong, _, text),) = said[node]
    assert wrong == name and all(word in text for word in words), text


RUN = [
    ("Guidance", {"preset": "custom", "video_cfg": float("nan")}, "video_cfg"),
    ("Guidance", {"preset": "custom", "audio_rescale": 2.0}, "audio_rescale"),
    ("Guidance", {"preset": "custom", "stg_blocks": None}, "stg_blocks"),
    ("Guidance", {"preset": "best"}, "preset"),
    ("Guidance", {"preset": "custom", "skip_step": 1.5}, "skip_step"),
    ("Guidance", {"preset": "custom", "skip_step": "many"}, "skip_step"),
    ("VAELoader", {"checkpoint": "CHECKPOINT", "audio_file": None}, "audio_file"),
    ("VAELoader", {"checkpoint": ["a"], "audio_file": "same file"}, "checkpoint"),
    ("LoadLatent", {"file": None}, "file"),
    ("ImageCondition", {"image": None, "frame": 0, "strength": float("nan"), "crf": -1}, "strength"),
    ("ImageCondition", {"image": None, "frame": 0, "strength": 1.0, "crf": 99}, "crf"),
    ("StageOneSampler", {"width": 6_400_000}, "width"),
    ("StageOneSampler", {"fps": 0.001}, "fps"),
    ("StageTwoSampler", {"noise": "mine"}, "noise"),
    ("StageTwoSampler", {"clean_background": "yes"}, "clean_background"),
    ("AVDecode", {"latent": None, "vae": None, "tiling": "nonsense"}, "tiling"),
    ("AVDecode", {"latent": None, "vae": None, "tiling": "custom", "tile_size": 10**30}, "tile_size"),
    ("TextEncode", {"text_encoder": None, "prompt": None, "negative_prompt": ""}, "prompt"),
]


@pytest.mark.parametrize(("name", "inputs", "wrong"), RUN, ids=lambda value: str(value)[:40])
def test_what_another_node_delivers_is_refused_when_it_runs(run, nodes, names, name, inputs, wrong):
    inputs = {key: names.checkpoint if value == "CHECKPOINT" else value for key, value in inputs.items()}
    with pytest.raises(LTXError, match=f"^{wrong} is .*expected"):
        run(name, **inputs)


def test_whole_numbers_of_another_type_are_taken(run):
    scales = {f"{m}_{n}": 1 for m in ("video", "audio") for n in ("cfg", "stg", "modality", "rescale")}
    made = run("Guidance", preset="custom", stg_blocks="1", skip_step=2.0, **scales)
    assert made.skip_step == 2 and isinstance(made.skip_step, int) and isinstance(made.video.cfg, float)


ADVANCED = {
    "LTXDuoTextEncoderLoader": ["device"],
    "LTXDuoGuidance": ["skip_step", "reuse_guidance"],
    "LTXDuoStageOneSampler": ["noise_device"],
    "LTXDuoStageTwoSampler": ["noise_device"],
    "LTXDuoAVDecode": ["tile_size", "tile_overlap", "tile_frames", "tile_frame_overlap"],
}


def test_advanced_inputs_may_be_left_out(prompt, nodes):
    for entry in prompt.values():
        for name in ADVANCED.get(entry["class_type"], ()):
            assert nodes[entry["class_type"]].INPUT_TYPES()["optional"][name][1]["default"] is not None
            entry["inputs"].pop(name, None)
    assert queue(prompt) == {}


def test_what_is_left_out_runs_with_its_default(run, names, model, vae, texts, same):
    scales = {f"{m}_{n}": 1.0 for m in ("video", "audio") for n in ("cfg", "stg", "modality", "rescale")}
    assert run("Guidance", preset="custom", stg_blocks="auto", **scales).skip_step == 0
    encoder = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=names.checkpoint)
    assert encoder.device == "default"
    inputs = {"model": model, "vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1, **names.size}
    latent = run("StageOneSampler", **inputs)
    assert same(latent, run("StageOneSampler", **inputs, noise_device="gpu"))
    assert run("AVDecode", latent=latent, vae=vae, tiling="off")[1].shape[0] == names.size["frames"]


def test_a_default_counts_for_the_whole_prompt(prompt, monkeypatch):
    """Stage one on the CPU, stage two on what it does not say: the GPU."""
    monkeypatch.setattr(prompt_hook, "_machine", lambda: Machine(256 * 10**9, 200 * 10**9, 80 * 10**9, 10**12))
    monkeypatch.setattr(prompt_hook.mm, "is_device_cpu", lambda device: False)
    prompt[TWO]["inputs"].pop("noise_device")
    prompt[ONE]["inputs"]["noise_device"] = "cpu"
    ((_, _, text),) = queue(prompt)[TWO]
    assert "Stage one draws its noise on 'cpu', this stage would continue on 'gpu'" in text


@pytest.mark.parametrize("name", ["LTXDuoStageOneSampler", "LTXDuoStageTwoSampler", "LTXDuoGuidance", "LTXDuoAVDecode"])
def test_widgets_keep_their_order(nodes, name):
    """Canvas files store widgets by position: required ones come first in the front end, then optional ones."""
    types = nodes[name].INPUT_TYPES()
    shown = [*types["required"], *types.get("optional", {})]
    kinds = {part.id: part.get_io_type() for part in nodes[name].define_schema().inputs}
    widget = [part for part in kinds if kinds[part] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")]
    assert [part for part in shown if part in widget] == widget


@pytest.mark.parametrize(
    ("inputs", "wrong", "words"),
    [
        ({"seconds": 0}, "seconds", ("0", "0.1")),
        ({"seconds": 1000.0}, "seconds", ("1000", "300")),
        ({"seconds": float("nan")}, "seconds", ("nan", "0.1 to 300")),
        ({"seconds": "long"}, "seconds", ("long",)),
        ({"schedule": "by size"}, "schedule", ("by size", "distilled")),
        ({"negative": None}, "positive", ("needs a negative prompt",)),
    ],
)
def test_of_a_sound_alone(prompt, inputs, wrong, words):
    good = {"model": [MODEL, 0], "positive": [TEXT, 0], "negative": [TEXT, 1], "seconds": 1.0, "steps": 2, "seed": 1}
    prompt["91"] = {"class_type": "LTXDuoSoundSampler", "inputs": {**good, **inputs}}
    prompt["92"] = {"class_type": "SaveLatent", "inputs": {"samples": ["91", 0], "filename_prefix": "sound"}}
    ((name, _, text),) = queue(prompt)["91"]
    assert name == wrong and all(word in text for word in words), text
    prompt["91"]["inputs"] = good
    assert queue(prompt) == {}
