"""Preflight on the shipped workflows' graphs: quiet when they are good, and each planted mistake found on its node."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ltx_duo.ltx_core.checkpoint import Component, Variant
from ltx_duo.ltx_core.errors import VariantError
from ltx_duo.nodes.preflight import check
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.preflight.room import Machine, check_room
from ltx_duo.nodes.prompt_graph import PromptGraph

PACK = Path(__file__).resolve().parents[3]
CONFIG = json.loads((PACK / "tests" / "data" / "ltx-2.3-config.json").read_text())
NAMES = sorted(path.name.removesuffix(".api.json") for path in (PACK / "workflows" / "api").glob("*.api.json"))
LARGE = Machine(ram=256 * 10**9, free_ram=200 * 10**9, vram=80 * 10**9, free_disk=10**12)


class OfficialFiles:
    """Official files, as far as headers go; `text_width` and `variant` are those of the second file of a pair."""

    text_width = 4096
    variant = Variant.V2_3
    lora_fits = True
    reference = made_for = None

    def checkpoint(self, loader):
        second = loader.type != "LTXDuoModelLoader"
        widths = {"video_aggregate_embed.bias": self.text_width, "audio_aggregate_embed.bias": 2048}
        return SimpleNamespace(
            path=Path(f"{loader.type}.safetensors"),
            variant=self.variant if second else Variant.V2_3,
            generation=str(self.variant if second else Variant.V2_3),
            config=CONFIG,
            components={Component.TRANSFORMER},
            tensors=lambda part: {name: SimpleNamespace(shape=(width,)) for name, width in widths.items()},
        )

    def paths(self, loader):
        return []

    def lora(self, loader):
        def check(shapes, model):
            if not self.lora_fits:
                raise VariantError("a LoRA of another model")

        return SimpleNamespace(check=check, reference=self.reference, made_for=self.made_for)


class Scene:
    """A workflow to spoil, and what preflight says of it."""

    def __init__(self, name: str):
        self.prompt = json.loads((PACK / "workflows" / "api" / f"{name}.api.json").read_text())
        self.files = OfficialFiles()

    def set(self, node_type: str, /, **inputs) -> "Scene":
        for entry in self.prompt.values():
            if entry["class_type"] == node_type:
                entry["inputs"].update(inputs)
        return self

    def cut(self, node_type: str, slot: str) -> "Scene":
        for entry in self.prompt.values():
            if entry["class_type"] == node_type:
                del entry["inputs"][slot]
        return self

    def report(self, has_gpu: bool = True) -> Report:
        before = copy.deepcopy(self.prompt)
        report = check(PromptGraph(self.prompt), self.files, has_gpu)
        assert self.prompt == before, "preflight changed the prompt"
        return report

    def errors(self) -> dict[str, str]:
        """Messages by the class of the node that they are on."""
        return {self.prompt[node]["class_type"]: text for node, text in self.report().errors.items()}

    def warnings(self) -> dict[str, str]:
        report = self.report()
        assert not report.errors
        return {node.type: text for node, text in report.warnings}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_workflows_have_nothing_to_find(name):
    report = Scene(name).report()
    assert report == Report()
    check_room(PromptGraph(Scene(name).prompt), lambda loader: 46 * 10**9, LARGE, report)
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
    scene.files.made_for = (Variant.V2_0, "its name says so")
    warnings = scene.warnings()
    assert list(warnings) == ["LTXDuoLoraLoader"]
    assert "LTX-2.0 (its name says so)" in warnings["LTXDuoLoraLoader"]
    scene.files.made_for = (Variant.V2_3, "its name says so")
    assert not scene.warnings()


@pytest.mark.parametrize("name", ["text-to-video", "preview-first", "continue-from-preview"])
def test_files_of_two_generations(name):
    scene = Scene(name)
    scene.files.variant = Variant.V2_0
    errors = scene.errors()
    assert {"LTXDuoVAELoader", "LTXDuoTextEncoderLoader"} <= errors.keys() <= {
        "LTXDuoVAELoader", "LTXDuoTextEncoderLoader", "LTXDuoUpsamplerLoader",
    }  # fmt: skip
    assert "LTX-2.0" in errors["LTXDuoVAELoader"] and "LTX-2.3" in errors["LTXDuoVAELoader"]


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


@pytest.mark.parametrize("frame", [121, -122])
def test_image_outside_the_video(frame):
    scene = Scene("image-to-video").set("LTXDuoImageCondition", frame=frame)
    assert str(frame) in scene.errors()["LTXDuoImageCondition"]


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


def test_distilled_lora_in_stage_one_with_cfg():
    scene = Scene("text-to-video").set("LTXDuoLoraLoader", strength_stage_one=1.0)
    assert "stage one" in scene.warnings()["LTXDuoLoraLoader"]
    assert scene.set("LTXDuoGuidance", preset="none").report() == Report()


@pytest.mark.parametrize("change", [{"strength_stage_two": 0.0}, {"lora": "style.safetensors"}])
def test_stage_two_without_distilled_weights(change):
    assert list(Scene("text-to-video").set("LTXDuoLoraLoader", **change).warnings()) == ["LTXDuoStageTwoSampler"]


def test_faulty_upsampler():
    scene = Scene("text-to-video").set("LTXDuoUpsamplerLoader", upsampler="ltx-2.3-spatial-upscaler-x2-1.0.safetensors")
    assert "1.1" in scene.warnings()["LTXDuoUpsamplerLoader"]


def test_latent_that_was_not_upsampled():
    scene = Scene("text-to-video")
    first = next(n for n, entry in scene.prompt.items() if entry["class_type"] == "LTXDuoStageOneSampler")
    assert "half" in scene.set("LTXDuoStageTwoSampler", latent=[first, 0]).warnings()["LTXDuoStageTwoSampler"]


def test_images_in_one_stage_only():
    assert "conditions" in Scene("image-to-video").cut("LTXDuoStageTwoSampler", "conditions").warnings()[
        "LTXDuoStageTwoSampler"
    ]  # fmt: skip


def test_two_frame_rates():
    warning = Scene("mixed-with-native").set("CreateVideo", fps=30.0).warnings()["CreateVideo"]
    assert "24" in warning and "30" in warning


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
