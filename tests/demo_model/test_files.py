"""The trained model's files: small enough for a repository, and to the engine and to ComfyUI an LTX-2.3."""

import re

import pytest

from ltx_duo.demo_model.training import preview
from ltx_duo.demo_model.training.sizes import MODEL_VERSION, model_config, upsampler_config
from ltx_duo.demo_model.training.write import FILES
from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.inspect import main
from ltx_duo.ltx_core.loading import load_component
from ltx_duo.ltx_core.lora import LoRA
from ltx_duo.scripts.demo.models import TRAINED

PATHS = {name: TRAINED / path for name, path in FILES.items()}
OFFICIAL = {  # of which the official names are known
    Component.TRANSFORMER: "transformer",
    Component.VIDEO_CONNECTOR: "video_connector",
    Component.AUDIO_CONNECTOR: "audio_connector",
    Component.VIDEO_ENCODER: "vae_encoder",
    Component.VIDEO_DECODER: "vae_decoder",
    Component.AUDIO_ENCODER: "audio_encoder",
    Component.AUDIO_DECODER: "audio_decoder",
    Component.VOCODER: "vocoder",
    Component.UPSAMPLER: "ups_x2",
}


def without_numbers(names) -> set[str]:
    """Names of which the numbers of blocks and layers are left out."""
    return {re.sub(r"(?<=\.)\d+(?=\.)", "N", name) for name in names}


def test_nothing_else_is_there_and_all_is_small():
    assert {path for path in TRAINED.rglob("*") if path.is_file()} == {*PATHS.values(), TRAINED / preview.FILE}
    sizes = {name: path.stat().st_size for name, path in PATHS.items()}
    assert sizes.pop("ic-lora") <= 1.1e6
    assert sum(sizes.values()) <= 40e6


def test_inspect_finds_nothing_wrong_and_nothing_missing_but_the_text_encoder(capsys):
    assert main([str(path) for path in PATHS.values()]) == 0
    out = capsys.readouterr().out
    needed = out.split("you also need:")[1].split("\n\n")[0]
    assert re.findall(r"^  (\S.*?)  ", needed, re.MULTILINE) == ["Gemma text encoder", "tokenizer"]


def test_every_component_is_there_and_every_tensor_is_known():
    checkpoints = [Checkpoint.open(path) for path in PATHS.values()]
    elsewhere = {Component.GEMMA, Component.TOKENIZER}
    only_2_5 = {Component.DIFFUSION_DECODER, Component.DURATION_HEAD}
    assert set(Component) - elsewhere - only_2_5 == set().union(*(c.components for c in checkpoints))
    assert not [name for checkpoint in checkpoints for name in checkpoint.unrecognised]


@pytest.mark.parametrize("component", OFFICIAL, ids=lambda component: component.value)
def test_tensors_have_official_names(component, official_tensors):
    file = "upsampler" if component is Component.UPSAMPLER else "checkpoint"
    names = without_numbers(Checkpoint.open(PATHS[file]).tensors(component))
    assert names and names <= without_numbers(official_tensors(OFFICIAL[component]))


def test_metadata_is_what_the_training_writes_today():
    checkpoint = Checkpoint.open(PATHS["checkpoint"])
    assert checkpoint.metadata["model_version"] == MODEL_VERSION
    assert checkpoint.config == model_config()
    assert Checkpoint.open(PATHS["upsampler"]).config == upsampler_config()


def test_loras_fit_every_layer_that_they_name_and_the_outlines_are_half_as_large():
    model = load_component(Checkpoint.open(PATHS["checkpoint"]), Component.TRANSFORMER)
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    for name, factor in (("lora", None), ("ic-lora", "2")):
        lora = LoRA.open(PATHS[name]).fitted(shapes)
        assert not lora.unused
        assert Checkpoint.open(PATHS[name]).metadata.get("reference_downscale_factor") == factor
