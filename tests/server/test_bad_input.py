"""Bad input is refused on the node that owns it, in plain words, before weights are read."""

from pathlib import Path

import pytest

from ltx_duo.scripts.demo import models
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


TABLE = [
    ("LTXDuoStageOneSampler", "width", 6_400_000, "bigger than max of 8192"),
    ("LTXDuoStageOneSampler", "width", "1000", "960 or 1024"),
    ("LTXDuoStageOneSampler", "height", None, "Failed to convert"),
    ("LTXDuoStageOneSampler", "frames", "24,0", "Failed to convert"),
    ("LTXDuoStageOneSampler", "frames", [1, 2, 3], "length-2"),
    ("LTXDuoStageOneSampler", "fps", 0.001, "smaller than min of 1"),
    ("LTXDuoStageOneSampler", "fps", float("nan"), "nan"),
    ("LTXDuoStageOneSampler", "noise_device", "tpu", "'gpu', 'cpu'"),
    ("LTXDuoLoraLoader", "strength_stage_two", float("nan"), "nan"),
    ("LTXDuoLoraLoader", "lora", {"__value__": ["a"]}, "file"),
    ("LTXDuoVAELoader", "audio_file", None, "file"),
    ("LTXDuoAVDecode", "tiling", "nonsense", "'auto', 'off', 'custom'"),
    ("LTXDuoAVDecode", "tile_size", 10**30, "bigger than max of 8192"),
    ("LTXDuoGuidance", "stg_blocks", "", "empty"),
    ("LTXDuoGuidance", "stg_blocks", "7" * 5000, "'auto'"),
]


@pytest.fixture(params=["newest", "oldest"])
def either_client(request, small_model) -> Client:
    """A client of the newest and of the oldest supported ComfyUI."""
    server = request.getfixturevalue("server" if request.param == "newest" else "oldest_server")
    models.link(small_model, server.base / "models")
    return Client(server.url, server.check_alive)


@pytest.mark.parametrize(("node_type", "name", "value", "words"), TABLE, ids=lambda value: str(value)[:20])
def test_one_error_on_the_input_that_is_wrong(either_client, prompt, node_type, name, value, words):
    set_inputs(prompt, "LTXDuoGuidance", preset="custom")
    set_inputs(prompt, node_type, **{name: value})
    with pytest.raises(PromptRejected) as refused:
        either_client.run(prompt)
    ((node, found),) = refused.value.node_errors.items()
    assert prompt[node]["class_type"] == node_type
    (error,) = found["errors"]
    assert error["extra_info"]["input_name"] == name
    assert words in f"{error['message']}: {error['details']}"


@pytest.mark.parametrize(("width", "words"), [(100, "64"), (6_400_000, "8192")])
def test_constant_of_another_node_is_refused_at_once(client, prompt, width, words):
    prompt["90"] = {"class_type": "PrimitiveInt", "inputs": {"value": width}}
    set_inputs(prompt, "LTXDuoStageOneSampler", width=["90", 0])
    said = refusal(client, prompt, "LTXDuoStageOneSampler")
    assert str(width) in said and words in said


@pytest.mark.parametrize(("width", "words"), [(100, "64"), (16, "from 64 to 8192")])
def test_size_from_another_node_is_refused_when_it_runs(client, prompt, width, words):
    """A number that is made as the prompt runs is not known when it is queued."""
    prompt["90"] = {"class_type": "EmptyImage", "inputs": {"width": width, "height": 8, "batch_size": 1, "color": 0}}
    prompt["91"] = {"class_type": "GetImageSize", "inputs": {"image": ["90", 0]}}
    set_inputs(prompt, "LTXDuoStageOneSampler", width=["91", 0])
    with pytest.raises(ExecutionFailed) as failed:
        client.run(prompt)
    assert failed.value.node_type == "LTXDuoStageOneSampler"
    assert str(width) in str(failed.value) and words in str(failed.value)


def test_advanced_inputs_may_be_left_out(client, prompt):
    """Files for the API of today name them all; those that leave them out run with the defaults."""
    left_out = {
        "LTXDuoTextEncoderLoader": ["device"],
        "LTXDuoGuidance": ["skip_step", "reuse_guidance"],
        "LTXDuoStageOneSampler": ["noise_device"],
        "LTXDuoStageTwoSampler": ["noise_device"],
        "LTXDuoAVDecode": ["tile_size", "tile_overlap", "tile_frames", "tile_frame_overlap"],
    }
    for entry in prompt.values():
        for name in left_out.get(entry["class_type"], ()):
            del entry["inputs"][name]
    assert client.run(prompt).outputs


def test_a_link_to_nowhere_among_the_saved_latents_changes_nothing(client, server):
    link = server.base / "output" / "nowhere.latent"
    link.symlink_to(server.base / "output" / "gone")
    try:
        assert "LTXDuoLoadLatent" in client.get("/object_info")
    finally:
        link.unlink()


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
