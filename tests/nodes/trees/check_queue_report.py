"""A queued prompt's way through preflight: to whom warnings go, and that nothing stays from the prompt before."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.nodes.comfyui import preflight
from ltx_duo.nodes.preflight import check
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.prompt_graph import Node, PromptGraph

WORKFLOWS = Path(__file__).resolve().parents[3] / "workflows" / "api"


class NoFiles:
    """As if no file could be opened."""

    def checkpoint(self, loader):
        return None

    def lora(self, loader):
        return None


def prompt(name: str = "text-to-video") -> dict:
    return json.loads((WORKFLOWS / f"{name}.api.json").read_text())


def only(given: dict, kind: str) -> dict:
    """The inputs of the one node of a kind."""
    [entry] = [entry for entry in given.values() if entry["class_type"] == f"LTXDuo{kind}"]
    return entry["inputs"]


def number(given: dict, kind: str) -> str:
    return next(number for number, entry in given.items() if entry["class_type"] == f"LTXDuo{kind}")


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What browsers were sent: (client, titles of the nodes that are warned of)."""
    sent = []

    def send(event, data, client):
        sent.append((client, [warning["title"] for warning in data["warnings"]]))

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    running = SimpleNamespace(instance=SimpleNamespace(send_sync=send))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=running))
    return sent


def queue(given: dict) -> None:
    request = {"prompt": given, "client_id": "the one who asks"}
    assert preflight.on_prompt(request) is request


def spoilt() -> dict:
    """An image outside of the video: an error."""
    given = prompt("image-to-video")
    only(given, "ImageCondition")["frame"] = 500
    return given


def doubtful() -> dict:
    """A picture that stays at half of its size: a warning."""
    given = prompt()
    only(given, "StageTwoSampler")["latent"] = [number(given, "StageOneSampler"), 0]
    return given


def test_warnings_go_to_the_browser_that_queued(shown):
    queue(doubtful())
    [(client, titles)] = shown
    assert client == "the one who asks"
    assert any("Stage" in title and "Two" in title for title in titles)


def test_a_prompt_that_is_refused_warns_of_nothing(shown):
    given = spoilt()
    only(given, "StageTwoSampler")["latent"] = [number(given, "StageOneSampler"), 0]
    queue(given)
    assert preflight.error_of(number(given, "ImageCondition")) and not shown


def test_errors_end_with_their_prompt(shown):
    given = spoilt()
    queue(given)
    assert preflight.error_of(number(given, "ImageCondition"))
    queue({"1": {"class_type": "KSampler", "inputs": {}}})
    assert preflight.error_of(number(given, "ImageCondition")) is None


def test_the_first_error_of_a_node_stays_and_warnings_are_told_once():
    node, report = Node("1", "A", {}), Report()
    report.error(node, "first")
    report.error(node, "second")
    report.warn(node, "word")
    report.warn(node, "word")
    report.warn(node, "other")
    assert report.errors == {"1": "first"} and [text for _, text in report.warnings] == ["word", "other"]


def test_two_rates_in_one_film_are_nobodys():
    """Create Video cannot have the rate of both."""
    given = prompt("mixed-with-native")
    [film] = [entry for entry in given.values() if entry["class_type"] == "CreateVideo"]
    first = number(given, "StageOneSampler")
    given["other"] = json.loads(json.dumps(given[first]))
    given["other"]["inputs"]["fps"] = 50.0
    film["inputs"]["another"] = ["other", 0]
    report = check(PromptGraph(given), NoFiles(), True)
    assert not [text for node, text in report.warnings if node.type == "CreateVideo"]


def test_a_distilled_lora_with_capitals_is_one():
    given = prompt()
    lora = only(given, "LoraLoader")
    lora["lora"] = lora["lora"].upper()
    assert check(PromptGraph(given), NoFiles(), True) == Report()


def test_own_sigmas_in_stage_two_need_no_distilled_weights():
    given = prompt()
    only(given, "LoraLoader")["strength_stage_two"] = 0.0
    report = check(PromptGraph(given), NoFiles(), True)
    assert [node.type for node, _ in report.warnings] == ["LTXDuoStageTwoSampler"]
    given["sigmas"] = {"class_type": "ManualSigmas", "inputs": {"sigmas": "0.9, 0.7, 0.4, 0.2, 0"}}
    only(given, "StageTwoSampler")["sigmas"] = ["sigmas", 0]
    assert not check(PromptGraph(given), NoFiles(), True).warnings


def test_a_chain_ends_where_it_comes_round():
    def linked(to: str) -> dict:
        return {"class_type": "A", "inputs": {"model": [to, 0]}}

    graph = PromptGraph({"1": linked("1"), "2": linked("3"), "3": linked("2")})
    assert not list(graph.chain(graph.nodes["1"], "model"))
    assert [node.id for node in graph.chain(graph.nodes["2"], "model")] == ["3"]


def test_files_are_not_at_fault_for_a_model_that_its_loader_refuses(shown, models, names, tmp_path, monkeypatch):
    """The model is of LTX-2.0, which its own loader says; the VAE's file of 2.3 is a good one."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "diffusion_models", ([str(tmp_path)], {".safetensors"}))
    with safe_open(models / "checkpoints" / names.checkpoint, "pt") as file:
        metadata = {**file.metadata(), "model_version": "2.0.0"}
    save_file(load_file(models / "checkpoints" / names.checkpoint), tmp_path / "old.safetensors", metadata)
    given = prompt()
    only(given, "ModelLoader")["checkpoint"] = "old.safetensors"
    only(given, "VAELoader")["checkpoint"] = names.checkpoint
    only(given, "LoraLoader")["lora"] = names.lora
    queue(given)
    assert preflight.error_of(number(given, "VAELoader")) is None
    only(given, "ModelLoader")["checkpoint"] = names.checkpoint
    only(given, "VAELoader")["checkpoint"] = "old.safetensors"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae", ([str(tmp_path)], {".safetensors"}))
    queue(given)
    assert "LTX-2.0" in preflight.error_of(number(given, "VAELoader"))
