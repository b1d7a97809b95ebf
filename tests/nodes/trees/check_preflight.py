"""Preflight on the shipped workflows' graphs: quiet when they are good, and each planted mistake found on its node."""

import pytest

from ltx_duo.ltx_core.generation import Generation
from ltx_duo.nodes.preflight import check
from ltx_duo.nodes.preflight.possible import check_possible
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.preflight.room import Machine, check_room
from ltx_duo.nodes.prompt_graph import PromptGraph
from ltx_duo.tests.nodes.trees.preflight_scene import PACK, OfficialFiles, Scene

NAMES = sorted(path.name.removesuffix(".api.json") for path in (PACK / "workflows" / "api").glob("*.api.json"))
SMALL = Machine(ram=16 * 10**9, free_ram=4 * 10**9, vram=8 * 10**9, free_disk=10**12)
LARGE = Machine(ram=256 * 10**9, free_ram=200 * 10**9, vram=80 * 10**9, free_disk=10**12)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_workflows_have_nothing_to_find(name):
    report = Scene(name).report()
    assert report == Report()
    check_room(PromptGraph(Scene(name).prompt), lambda loader: 46 * 10**9, LARGE, report)
    check_possible(PromptGraph(Scene(name).prompt), OfficialFiles(), SMALL, report)
    assert report == Report()


def test_lora_of_another_model():
    scene = Scene("text-to-video")
    scene.files.lora_fits = False
    assert list(scene.errors()) == ["LTXDuoLoraLoader"]


def test_ic_lora():
    scene = Scene("text-to-video")
    scene.files.reference = "its metadata has reference_downscale_factor '2'"
    warnings = scene.warnings()
    assert list(warnings) == ["LTXDuoLoraLoader"]
    assert "IC-LoRA because its metadata has reference_downscale_factor '2'" in warnings["LTXDuoLoraLoader"]


def test_lora_of_another_generation_with_the_same_sizes():
    scene = Scene("text-to-video")
    scene.files.made_for = (Generation.V2_0, "its name says so")
    warnings = scene.warnings()
    assert list(warnings) == ["LTXDuoLoraLoader"]
    assert "LTX-2.0 (its name says so)" in warnings["LTXDuoLoraLoader"]
    scene.files.made_for = (Generation.V2_3, "its name says so")
    assert not scene.warnings()


@pytest.mark.parametrize("name", ["text-to-video", "preview-first", "continue-from-preview"])
def test_files_of_two_generations(name):
    scene = Scene(name)
    scene.files.generation = Generation.V2_0
    errors = scene.errors()
    assert {"LTXDuoVAELoader", "LTXDuoTextEncoderLoader"} <= errors.keys() <= {
        "LTXDuoVAELoader", "LTXDuoTextEncoderLoader", "LTXDuoUpsamplerLoader",
    }  # fmt: skip
    assert "LTX-2.0" in errors["LTXDuoVAELoader"] and "LTX-2.3" in errors["LTXDuoVAELoader"]


@pytest.mark.parametrize(
    ("sampler", "slot", "between", "loader"),
    [
        ("LTXDuoStageOneSampler", "vae", None, "LTXDuoVAELoader"),
        ("LTXDuoStageOneSampler", "positive", "LTXDuoTextEncode", "LTXDuoTextEncoderLoader"),
        ("LTXDuoStageOneSampler", "negative", "LTXDuoTextEncode", "LTXDuoTextEncoderLoader"),
        ("LTXDuoStageTwoSampler", "vae", None, "LTXDuoVAELoader"),
        ("LTXDuoStageTwoSampler", "positive", "LTXDuoTextEncode", "LTXDuoTextEncoderLoader"),
        ("LTXDuoStageTwoSampler", "latent", "LTXDuoLatentUpsampler", "LTXDuoUpsamplerLoader"),
    ],
)
def test_every_loader_beside_the_model_is_looked_at(sampler, slot, between, loader):
    """The file of another generation comes in through one socket only."""
    scene = Scene("text-to-video")
    link = scene.add(loader)
    scene.files.old = (link[0],)
    if between:
        inputs = {"text_encoder": link, "upsampler": link, "latent": scene.link("LTXDuoStageOneSampler")}
        link = [scene.add(between, **inputs)[0], 0]
    scene.set(sampler, **{slot: link})
    assert list(scene.report().errors) == list(scene.files.old)


def test_text_projection_of_another_width():
    scene = Scene("text-to-video")
    scene.files.text_width = 3840
    errors = scene.errors()
    assert list(errors) == ["LTXDuoTextEncoderLoader"]
    assert "3840" in errors["LTXDuoTextEncoderLoader"] and "4096" in errors["LTXDuoTextEncoderLoader"]


@pytest.mark.parametrize("preset", ["from the model", "custom"])
def test_cfg_without_negative_prompt(preset):
    scene = Scene("text-to-video").cut("LTXDuoStageOneSampler", "negative").set("LTXDuoGuidance", preset=preset)
    assert "negative" in scene.errors()["LTXDuoStageOneSampler"]


@pytest.mark.parametrize(
    ("scales", "needed"),
    [((3.0, 1.0), True), ((1.0, 7.0), True), ((1.0, 1.05), True), ((0.0, 1.0), True), ((1, 1), False)],
)
def test_cfg_of_picture_and_of_sound_needs_a_negative_prompt(scales, needed):
    scene = Scene("text-to-video").cut("LTXDuoStageOneSampler", "negative")
    scene.set("LTXDuoGuidance", preset="custom", video_cfg=scales[0], audio_cfg=scales[1])
    assert (list(scene.errors()) == ["LTXDuoStageOneSampler"]) == needed


def test_no_negative_prompt_without_cfg():
    scene = Scene("text-to-video").cut("LTXDuoStageOneSampler", "negative")
    assert scene.set("LTXDuoGuidance", preset="none").report() == Report()
    scene.set("LTXDuoGuidance", preset="custom", video_cfg=1.0, audio_cfg=1.0)
    assert scene.report() == Report()


def test_empty_negative_prompt_with_cfg():
    scene = Scene("text-to-video").set("LTXDuoTextEncode", negative_prompt="  ")
    assert list(scene.warnings()) == ["LTXDuoTextEncode"]


def test_stg_blocks_that_the_model_lacks():
    scene = Scene("text-to-video").set("LTXDuoGuidance", preset="custom", stg_blocks="28, 48")
    assert "48" in scene.errors()["LTXDuoGuidance"]


def test_noise_that_cannot_continue():
    scene = Scene("text-to-video").set("LTXDuoStageOneSampler", noise_device="cpu")
    assert "noise_device" in scene.errors()["LTXDuoStageTwoSampler"]
    assert scene.report(has_gpu=False) == Report()
    assert scene.set("LTXDuoStageTwoSampler", noise="new seed").report() == Report()


def test_distilled_model_with_cfg():
    scene = Scene("text-to-video").set("LTXDuoModelLoader", checkpoint="ltx-2.3-22b-distilled.safetensors")
    scene.set("LTXDuoGuidance", preset="custom")
    warnings = scene.warnings()
    assert "distilled" in warnings["LTXDuoGuidance"]
    assert "distilled already" in warnings["LTXDuoLoraLoader"]


@pytest.mark.parametrize(
    ("loader", "distilled"),
    [
        ({"checkpoint": "ltx-2.3-distil.safetensors"}, True),
        ({"checkpoint": "ltx-2.3-undistilled.safetensors"}, False),
        ({"checkpoint": "distilled/ltx-2.3-22b-dev.safetensors"}, False),
        ({"kind": "distilled"}, True),
        ({"checkpoint": "ltx-2.3-22b-distilled.safetensors", "kind": "dev"}, False),
        ({"checkpoint": "ltx-2.3-22b-distilled.safetensors", "kind": "auto"}, True),
    ],
)
def test_dev_or_distilled_as_the_loader_takes_it(loader, distilled):
    scene = Scene("text-to-video").set("LTXDuoModelLoader", **loader)
    told = scene.warnings()
    assert ("distilled already" in told.get("LTXDuoLoraLoader", "")) == distilled
    # Guidance 'from the model' is none for a distilled model, which then needs no negative prompt.
    scene.cut("LTXDuoStageOneSampler", "negative")
    assert (scene.report().errors == {}) == distilled


def test_nothing_is_said_of_a_model_that_is_not_known_yet():
    for unknown in ({"kind": ["99", 0]}, {"checkpoint": ["99", 0]}):
        scene = Scene("text-to-video").set("LTXDuoModelLoader", **unknown).set("LTXDuoLoraLoader", lora="style")
        assert scene.report() == Report()


def test_distilled_lora_in_stage_one_with_cfg():
    scene = Scene("text-to-video").set("LTXDuoLoraLoader", strength_stage_one=1.0)
    assert "stage one" in scene.warnings()["LTXDuoLoraLoader"]
    assert scene.set("LTXDuoGuidance", preset="none").report() == Report()


@pytest.mark.parametrize(("strength", "strong"), [(0.5, True), (0.49, False), (0.0, False), (2, True)])
def test_how_strong_a_distilled_lora_disturbs_cfg(strength, strong):
    scene = Scene("text-to-video").set("LTXDuoLoraLoader", strength_stage_one=strength)
    assert ("LTXDuoLoraLoader" in scene.warnings()) == strong


@pytest.mark.parametrize(("blocks", "fit"), [("0, 47", True), ("48", False)])
def test_last_block_of_the_model(blocks, fit):
    scene = Scene("text-to-video").set("LTXDuoGuidance", preset="custom", stg_blocks=blocks)
    assert (scene.report().errors == {}) == fit


@pytest.mark.parametrize("change", [{"strength_stage_two": 0.0}, {"lora": "style.safetensors"}])
def test_stage_two_without_distilled_weights(change):
    assert list(Scene("text-to-video").set("LTXDuoLoraLoader", **change).warnings()) == ["LTXDuoStageTwoSampler"]


def test_faulty_upsampler():
    scene = Scene("text-to-video").set("LTXDuoUpsamplerLoader", upsampler="ltx-2.3-spatial-upscaler-x2-1.0.safetensors")
    assert "1.1" in scene.warnings()["LTXDuoUpsamplerLoader"]


def test_images_in_one_stage_only():
    assert "conditions" in Scene("image-to-video").cut("LTXDuoStageTwoSampler", "conditions").warnings()[
        "LTXDuoStageTwoSampler"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "node_type"),
    [
        (Machine(32 * 10**9, 30 * 10**9, 12 * 10**9, 10**12), "LTXDuoModelLoader"),
        (Machine(256 * 10**9, 10**9, 80 * 10**9, 10**12), "LTXDuoStageOneSampler"),
        (Machine(256 * 10**9, 200 * 10**9, 80 * 10**9, 10**6), "LTXDuoStageOneSampler"),
    ],
)
def test_room_in_memory_and_on_disk(machine, node_type):
    report = Report()
    check_room(PromptGraph(Scene("text-to-video").prompt), lambda loader: 46 * 10**9, machine, report)
    assert [node.type for node, _ in report.warnings] == [node_type]


@pytest.mark.parametrize(("ram", "vram", "fits"), [(40, 8, True), (8, 40, True), (40, 0, False), (37, 8, False)])
def test_weights_lie_in_ram_and_vram_together(ram, vram, fits):
    """A checkpoint of 46 GB; everything else fits."""
    machine = Machine(ram * 10**9, 200 * 10**9, vram * 10**9, 10**12)
    report = Report()
    check_room(PromptGraph(Scene("text-to-video").prompt), lambda loader: 46 * 10**9, machine, report)
    warned = [(node.type, text) for node, text in report.warnings]
    assert [kind for kind, _ in warned] == ([] if fits else ["LTXDuoModelLoader"])
    assert fits or f"{ram}.0 GB of RAM and {vram}.0 GB of VRAM" in warned[0][1]


@pytest.mark.parametrize(
    ("size", "stage"),
    [
        ({"width": 8192, "height": 8192, "frames": 8193}, "Stage one at 4096x4096, 8193 frames and 24 fps"),
        ({"width": 8192, "height": 8192, "frames": 121}, "Stage two at 8192x8192"),
    ],
)
def test_sizes_that_no_memory_holds(size, stage):
    """On the sampler that asks for them, with what is needed, what is there and what to do."""
    graph = PromptGraph(Scene("text-to-video").set("LTXDuoStageOneSampler", **size).prompt)
    report = Report()
    check_possible(graph, OfficialFiles(), SMALL, report)
    ((node, text),) = report.errors.items()
    assert graph.nodes[node].type == "LTXDuoStageOneSampler"
    assert text.startswith(stage) and "has 24 GB in all" in text and "smaller size or fewer frames" in text


@pytest.mark.parametrize(
    "inputs", [{"height": ["7", 0]}, {"frames": "many"}, {"width": 100}, {"fps": 0}, {"fps": 1e-6}]
)
def test_sizes_that_are_not_known_or_refused_elsewhere_are_left_alone(inputs):
    report = Report()
    graph = PromptGraph(
        Scene("text-to-video").set("LTXDuoStageOneSampler", **{"width": 8192, "frames": 8193, **inputs}).prompt
    )
    check_possible(graph, OfficialFiles(), Machine(1, 1, 1, 1), report)
    assert report == Report()


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        [],
        {"1": None, "2": {}, "3": {"class_type": 4, "inputs": {}}},
        {"1": {"class_type": "LTXDuoStageTwoSampler", "inputs": {"model": ["1", 0], "latent": ["9", 0]}}},
        {"1": {"class_type": "LTXDuoStageOneSampler", "inputs": {"model": [], "frames": "many", "negative": ["1", 0]}}},
        {"1": {"class_type": "LTXDuoUpsamplerLoader", "inputs": {"upsampler": 3}}},
    ],
)
def test_strange_prompts_do_no_harm(prompt):
    assert check(PromptGraph(prompt), OfficialFiles(), True).errors == {}


def with_core_loader(name: str = "text-to-video", file: str = "ltx-2.3-22b-dev.safetensors") -> Scene:
    """The workflow with ComfyUI's loader and its LoRA loader in the place of ours."""
    scene = Scene(name)
    loader = scene.add("CheckpointLoaderSimple", ckpt_name=file)
    lora = scene.add("LoraLoaderModelOnly", model=loader, lora_name="distilled.safetensors", strength_model=1.0)
    scene.set("LTXDuoStageOneSampler", model=loader)
    scene.set("LTXDuoStageTwoSampler", model=lora)
    for kind in ("LTXDuoLoraLoader", "LTXDuoModelLoader"):
        del scene.prompt[scene.link(kind)[0]]
    return scene


def test_comfyuis_loaders_have_nothing_to_find():
    assert with_core_loader().report() == Report()


def test_comfyuis_loader_of_another_generation():
    scene = with_core_loader()
    scene.files.generation = Generation.V2_5
    assert list(scene.errors()) == ["LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"]
    assert "CheckpointLoaderSimple, is of LTX-2.5" in scene.errors()["LTXDuoStageTwoSampler"]


def test_comfyuis_loader_of_a_file_without_connectors():
    """ComfyUI leaves them as its memory was; ours takes them from another file."""
    scene = with_core_loader()
    scene.files.connected = False
    assert list(scene.errors()) == ["LTXDuoStageOneSampler", "LTXDuoStageTwoSampler"]
    assert "lacks text connectors" in scene.errors()["LTXDuoStageOneSampler"]
    ours = Scene("text-to-video")
    ours.files.connected = False
    assert not ours.errors()


def test_comfyuis_loader_of_scales_without_a_format():
    scene = with_core_loader()
    scene.files.more = {"transformer_blocks.0.attn1.to_q.weight_scale": ()}
    assert "leave the scales out" in scene.warnings()["LTXDuoStageOneSampler"]
    scene.files.more |= {"transformer_blocks.0.attn1.to_q.comfy_quant": (20,)}
    assert not scene.warnings()


def test_cfg_of_comfyuis_model_without_a_negative_prompt():
    scene = with_core_loader().cut("LTXDuoStageOneSampler", "negative")
    assert "needs a negative prompt" in scene.errors()["LTXDuoStageOneSampler"]
    assert (
        not with_core_loader(file="ltx-2.3-22b-distilled.safetensors").cut("LTXDuoStageOneSampler", "negative").errors()
    )
