"""Preflight on a real server: refused before anything runs, on the node that owns it; warnings reach the browser."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from websocket import WebSocket, WebSocketTimeoutException

from ltx_duo.scripts.demo import models
from ltx_duo.scripts.demo.client import Client, PromptRejected, set_inputs


def refusal(client: Client, prompt: dict) -> tuple[list[str], str]:
    """The classes of the bad nodes, and what the server says."""
    with pytest.raises(PromptRejected) as refused:
        client.run(prompt)
    return [prompt[node]["class_type"] for node in refused.value.node_errors], str(refused.value)


def write_lora(path: Path) -> None:
    """A LoRA of another model: its one layer is not there."""
    name = "diffusion_model.transformer_blocks.99.attn1.to_q"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}, path)


def test_lora_of_another_model(client, server, prompt):
    write_lora(server.base / "models" / "loras" / "other-model.safetensors")
    set_inputs(prompt, "LTXDuoLoraLoader", lora="other-model.safetensors")
    executed = server.log().count("Prompt executed")
    bad, said = refusal(client, prompt)
    assert bad == ["LTXDuoLoraLoader"]
    assert "transformer_blocks.99.attn1.to_q" in said and "another model" in said
    assert server.log().count("Prompt executed") == executed


def test_cfg_without_negative_prompt(client, prompt):
    next(n for n in prompt.values() if n["class_type"] == "LTXDuoStageOneSampler")["inputs"].pop("negative")
    bad, said = refusal(client, prompt)
    assert bad == ["LTXDuoStageOneSampler"]
    assert "negative" in said


def test_oldest_comfyui_refuses_too(oldest_server, small_model, prompt):
    models.link(small_model, oldest_server.base / "models")
    write_lora(oldest_server.base / "models" / "loras" / "other-model.safetensors")
    set_inputs(prompt, "LTXDuoLoraLoader", lora="other-model.safetensors")
    bad, said = refusal(Client(oldest_server.url, oldest_server.check_alive), prompt)
    assert bad == ["LTXDuoLoraLoader"]
    assert "another model" in said


def test_errors_of_one_prompt_do_not_stick_to_the_next(client, prompt):
    good = json.loads(json.dumps(prompt))
    next(n for n in prompt.values() if n["class_type"] == "LTXDuoStageOneSampler")["inputs"].pop("negative")
    refusal(client, prompt)
    client.post("/prompt", {"prompt": good, "client_id": client.id})
    client.post("/interrupt", {})


def warnings_of(client: Client, prompt: dict, seconds: float = 20) -> list[dict]:
    """What preflight sends to the browser that queues `prompt`; the run itself is stopped."""
    socket = WebSocket()
    socket.connect(f"{client.url.replace('http', 'ws', 1)}/ws?clientId=preflight-test", timeout=seconds)
    try:
        answer = client.post("/prompt", {"prompt": prompt, "client_id": "preflight-test"})
        client.post("/queue", {"delete": [answer["prompt_id"]]})
        client.post("/interrupt", {})
        while True:
            message = socket.recv()
            if isinstance(message, str) and (event := json.loads(message))["type"] == "ltx_duo.preflight":
                return event["data"]["warnings"]
    except WebSocketTimeoutException:
        return []
    finally:
        socket.close()


def test_distilled_with_cfg_is_told(client, server, prompt, small_model):
    name = "ltx-2.3-small-distilled.safetensors"
    link = server.base / "models" / "checkpoints" / name
    link.unlink(missing_ok=True)
    link.symlink_to(small_model["checkpoint"].resolve())
    set_inputs(prompt, "LTXDuoModelLoader", checkpoint=name)
    set_inputs(prompt, "LTXDuoGuidance", preset="custom")
    told = {prompt[warning["node"]]["class_type"]: warning["text"] for warning in warnings_of(client, prompt)}
    assert "distilled" in told["LTXDuoGuidance"]
    assert "LTX Guidance (node" in server.log()


def connect(prompt: dict, slot: str, node_type: str, **inputs) -> None:
    """Links a new node to an open input of stage one."""
    prompt["new"] = {"class_type": node_type, "inputs": inputs}
    sampler = next(node for node in prompt.values() if node["class_type"] == "LTXDuoStageOneSampler")
    sampler["inputs"][slot] = ["new", 0]


def test_sigmas_that_leave_noise_are_told(client, prompt):
    connect(prompt, "sigmas", "ManualSigmas", sigmas="1, 0.5, 0.25")
    told = {prompt[warning["node"]]["class_type"]: warning["text"] for warning in warnings_of(client, prompt)}
    assert "end at 0.25" in told["LTXDuoStageOneSampler"]


def test_batch_is_refused_before_anything_runs(client, prompt):
    connect(prompt, "latent", "EmptyLTXVLatentVideo", width=64, height=64, length=9, batch_size=4)
    bad, said = refusal(client, prompt)
    assert bad == ["LTXDuoStageOneSampler"]
    assert "batch of 4" in said and "LatentFromBatch" in said


def test_extension_is_served(client):
    assert "/extensions/ltx-duo/preflight.js" in client.get("/extensions")
