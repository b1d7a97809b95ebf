"""A queued prompt's way through preflight: to whom warnings go, and that nothing stays from the prompt before."""

from contextvars import copy_context

import folder_paths
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nodes as comfyui_nodes
from ltx_duo.nodes.comfyui import prompt_hook
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.prompt_graph import Node, PromptGraph
from ltx_duo.nodes.validation import placed
from ltx_duo.tests.nodes.trees.preflight_scene import Scene


@pytest.fixture
def shown(monkeypatch, tmp_path, nodes):
    """What browsers were sent: (client, types of the nodes that are warned of)."""
    sent = []
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", {**comfyui_nodes.NODE_CLASS_MAPPINGS, **nodes})
    monkeypatch.setattr(
        prompt_hook, "_show", lambda warnings, client: sent.append((client, [found["node"] for found in warnings]))
    )
    return sent


@pytest.fixture
def scene(names, shown):
    """A workflow on the small files, good as it stands."""

    def make(name: str = "text-to-video") -> Scene:
        made = Scene(name).set("LTXDuoModelLoader", checkpoint=names.checkpoint)
        made.set("LTXDuoVAELoader", checkpoint=names.checkpoint).set("LTXDuoLoraLoader", lora=names.lora)
        made.set("LTXDuoTextEncoderLoader", text_encoder="gemma-3-small", projection=names.checkpoint)
        return made.set("LTXDuoUpsamplerLoader", upsampler=names.upsampler)

    return make


def node_of(scene: Scene, kind: str) -> str:
    return scene.link(f"LTXDuo{kind}")[0]


def queue(scene: Scene) -> None:
    request = {"prompt": scene.prompt, "client_id": "the one who asks"}
    assert prompt_hook.on_prompt(request) is request


def refused() -> dict[str, dict[str, str]]:
    """By node what the prompt now being validated is refused for."""
    found = placed.get()
    return {} if found is None else dict(found.messages)


def at_half_size(scene: Scene) -> Scene:
    return scene.set("LTXDuoStageTwoSampler", latent=scene.link("LTXDuoStageOneSampler"))


def test_warnings_go_to_the_browser_that_queued(scene, shown):
    given = at_half_size(scene())
    queue(given)
    assert shown == [("the one who asks", [node_of(given, "StageTwoSampler")])] and not refused()


def test_a_prompt_that_is_refused_warns_of_nothing(scene, shown):
    given = at_half_size(scene("image-to-video")).set("LTXDuoImageCondition", frame=500)
    queue(given)
    assert refused().keys() == {node_of(given, "ImageCondition")} and not shown


def test_errors_end_with_their_prompt(scene):
    def both() -> dict:
        queue(scene("image-to-video").set("LTXDuoImageCondition", frame=500))
        assert refused()
        prompt_hook.on_prompt({"prompt": {"1": {"class_type": "KSampler", "inputs": {}}}})
        return refused()

    assert not copy_context().run(both)


def test_files_are_not_at_fault_for_a_model_that_its_loader_refuses(scene, models, names, tmp_path, monkeypatch):
    """The model is of LTX-2.5, which its own loader says; the VAE's file of 2.3 is a good one."""
    for kind in ("diffusion_models", "vae"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path)], {".safetensors"}))
    with safe_open(models / "checkpoints" / names.checkpoint, "pt") as file:
        metadata = {**file.metadata(), "model_version": "2.5.0"}
    save_file(load_file(models / "checkpoints" / names.checkpoint), tmp_path / "old.safetensors", metadata)
    given = scene().set("LTXDuoModelLoader", checkpoint="old.safetensors")
    queue(given)
    assert refused().keys() == {node_of(given, "ModelLoader")}
    given = scene().set("LTXDuoVAELoader", checkpoint="old.safetensors")
    queue(given)
    assert refused().keys() == {node_of(given, "VAELoader")}


def test_the_first_error_of_an_input_stays_and_warnings_are_told_once():
    node, report = Node("1", "A", {}), Report()
    report.error(node, "first", "width")
    report.error(node, "second", "width")
    assert report.wrong == {"1": {"width": "first"}}
    for text in ("word", "word", "other"):
        report.warn(node, text)
    assert [text for _, text in report.warnings] == ["word", "other"]


def test_two_rates_in_one_film_are_nobodys():
    """Create Video cannot have the rate of both."""
    scene = Scene("mixed-with-native").set("CreateVideo", fps=30.0)
    assert list(scene.warnings()) == ["CreateVideo"]
    assert not scene.set("CreateVideo", another=scene.add("LTXDuoStageOneSampler", fps=50.0)).warnings()


def test_a_distilled_lora_with_capitals_is_one():
    scene = Scene("text-to-video")
    scene.set("LTXDuoLoraLoader", lora="LTX-2.3-22B-DISTILLED-LORA-384-1.1.SAFETENSORS")
    assert scene.report() == Report()


def test_own_sigmas_in_stage_two_need_no_distilled_weights():
    scene = Scene("text-to-video").set("LTXDuoLoraLoader", strength_stage_two=0.0)
    assert list(scene.warnings()) == ["LTXDuoStageTwoSampler"]
    scene.set("LTXDuoStageTwoSampler", sigmas=scene.add("ManualSigmas", sigmas="0.9, 0.7, 0.4, 0.2, 0"))
    assert not scene.warnings()


def test_a_chain_ends_where_it_comes_round():
    def linked(to: str) -> dict:
        return {"class_type": "A", "inputs": {"model": [to, 0]}}

    graph = PromptGraph({"1": linked("1"), "2": linked("3"), "3": linked("2")})
    assert not list(graph.chain(graph.nodes["1"], "model"))
    assert [node.id for node in graph.chain(graph.nodes["2"], "model")] == ["3"]


def test_an_output_folder_that_is_not_there_yet_stops_no_check(monkeypatch, tmp_path):
    monkeypatch.setattr(prompt_hook.folder_paths, "get_output_directory", lambda: str(tmp_path / "not" / "yet"))
    assert prompt_hook._machine().free_disk > 0
