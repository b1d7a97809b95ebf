"""Bad input is refused on the node that owns it, in plain words, before weights are read."""

from pathlib import Path

import pytest

from ltx_duo.scripts.demo.client import Client, ExecutionFailed, PromptRejected, set_inputs


def refusal(client: Client, prompt: dict, node_type: str) -> str:
    """What the server says about the only bad node, which must be of `node_type`."""
    with pytest.raises(PromptRejected) as refused:
        client.run(prompt)
    assert [prompt[node]["class_type"] for node in refused.value.node_errors] == [node_type]
    return str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": 100}, ("width", "100", "64")),
        ({"height": 1080}, ("height", "1080", "64")),
        ({"frames": 24}, ("frames", "24", "25")),
        ({"fps": 0.0}, ("fps",)),
    ],
)
def test_sizes_that_the_model_cannot_make(client, prompt, wrong, words):
    set_inputs(prompt, "LTXDuoStageOneSampler", **wrong)
    said = refusal(client, prompt, "LTXDuoStageOneSampler")
    assert all(word in said for word in words), said


def test_size_from_another_node_is_refused_when_it_runs(client, prompt):
    """A linked number is not known when the prompt is queued."""
    prompt["90"] = {"class_type": "PrimitiveInt", "inputs": {"value": 100}}
    set_inputs(prompt, "LTXDuoStageOneSampler", width=["90", 0])
    with pytest.raises(ExecutionFailed) as failed:
        client.run(prompt)
    assert failed.value.node_type == "LTXDuoStageOneSampler"
    assert "100" in str(failed.value)
    assert "64" in str(failed.value)


def broken(kind: str, good: Path) -> bytes:
    content = (good / "model.safetensors" if good.is_dir() else good).read_bytes()
    return {"truncated": content[: len(content) // 2], "not safetensors": b"<html>404</html>", "empty": b""}[kind]


LOADERS = [
    ("LTXDuoModelLoader", "checkpoint", "checkpoint", "checkpoints"),
    ("LTXDuoVAELoader", "checkpoint", "checkpoint", "checkpoints"),
    ("LTXDuoVAELoader", "audio_file", "checkpoint", "checkpoints"),
    ("LTXDuoTextEncoderLoader", "text_encoder", "text encoder", "text_encoders"),
    ("LTXDuoTextEncoderLoader", "projection", "checkpoint", "checkpoints"),
    ("LTXDuoLoraLoader", "lora", "distilled LoRA", "loras"),
    ("LTXDuoUpsamplerLoader", "upsampler", "upsampler", "latent_upscale_models"),
]


@pytest.mark.parametrize(("node_type", "slot", "what", "folder"), LOADERS, ids=lambda value: str(value)[-14:])
class TestFiles:
    def test_missing(self, client, prompt, node_type, slot, what, folder):
        set_inputs(prompt, node_type, **{slot: "gone.safetensors"})
        said = refusal(client, prompt, node_type)
        assert "gone.safetensors" in said
        assert f"models/{folder}" in said

    @pytest.mark.parametrize("kind", ["truncated", "not safetensors", "empty"])
    def test_damaged(self, client, server, prompt, small_model, kind, node_type, slot, what, folder):
        name = f"{kind}.safetensors"
        (server.base / "models" / folder / name).write_bytes(broken(kind, small_model[what]))
        set_inputs(prompt, node_type, **{slot: name})
        assert name in refusal(client, prompt, node_type)


@pytest.mark.parametrize(
    ("node_type", "slot", "what", "folder"),
    [
        ("LTXDuoModelLoader", "checkpoint", "upsampler", "checkpoints"),
        ("LTXDuoVAELoader", "checkpoint", "distilled LoRA", "vae"),
        ("LTXDuoLoraLoader", "lora", "checkpoint", "loras"),
        ("LTXDuoUpsamplerLoader", "upsampler", "checkpoint", "latent_upscale_models"),
        ("LTXDuoTextEncoderLoader", "projection", "upsampler", "checkpoints"),
    ],
)
def test_file_of_another_kind(client, server, prompt, small_model, node_type, slot, what, folder):
    name = f"other-{small_model[what].name}"
    target = server.base / "models" / folder / name
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(small_model[what])
    set_inputs(prompt, node_type, **{slot: name})
    assert name in refusal(client, prompt, node_type)
