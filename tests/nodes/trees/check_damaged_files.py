"""Files that are something else, or change while they are in use: named with what they are, as early as can be."""

import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.nodes.comfyui import files
from ltx_duo.nodes.comfyui.prompt_hook import OpenedFiles
from ltx_duo.nodes.preflight.downloads import check_downloads
from ltx_duo.nodes.preflight.report import Report
from ltx_duo.nodes.prompt_graph import PromptGraph

CHECKPOINT = "ltx-2.3-small-dev.safetensors"
LORA = "ltx-2.3-small-distilled-lora.safetensors"
UPSAMPLER = "ltx-2.3-small-spatial-upscaler-x2.safetensors"


def refusal(nodes, name: str, **inputs) -> str:
    """The message with which the queue refuses a loader's inputs."""
    message = nodes[f"LTXDuo{name}"].validate_inputs(**inputs)
    assert isinstance(message, str), "was accepted"
    return message


STUBS = {
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 46139\n",
    "web page": b"<!DOCTYPE html>\n<html>404</html>\n",
}


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", STUBS)
def test_stub_in_a_text_encoders_folder(nodes, models, folder, name, kind):
    target = folder("text_encoders") / "stub"
    shutil.copytree(models / "text_encoders" / "gemma-3-small", target)
    (target / name).write_bytes(STUBS[kind])
    message = refusal(nodes, "TextEncoderLoader", text_encoder="stub", projection=CHECKPOINT)
    assert str(target / name) in message and kind in message
    assert STUBS[kind].splitlines()[0].decode() in message


@pytest.mark.parametrize(
    "node, slot, kind",
    [
        ("ModelLoader", "checkpoint", "checkpoints"),
        ("LoraLoader", "lora", "loras"),
        ("UpsamplerLoader", "upsampler", "latent_upscale_models"),
    ],
)
def test_stub_in_place_of_weights(nodes, folder, node, slot, kind):
    (folder(kind) / "stub.safetensors").write_bytes(STUBS["Git LFS pointer"])
    message = refusal(nodes, node, **{slot: "stub.safetensors"})
    assert "Git LFS pointer" in message and "'version https://git-lfs.github.com/spec/v1'" in message


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool], ids=str)
def test_lora_of_other_numbers(nodes, folder, part, dtype):
    pair = {"a.lora_A.weight": torch.ones(2, 4), "a.lora_B.weight": torch.ones(4, 2)}
    save_file(pair | {f"a.{part}.weight": pair[f"a.{part}.weight"].to(dtype)}, folder("loras") / "x.safetensors")
    message = refusal(nodes, "LoraLoader", lora="x.safetensors")
    assert f"stores a.{part}.weight as" in message and "expected bf16" in message


@pytest.mark.parametrize(
    "missing, kind, names",
    [
        ("audio_vae.", "audio", "mean-of-means or latents_mean"),
        ("audio_vae.per_channel_statistics.std", "audio", "std-of-means or latents_std"),
        ("vae.", "video", "mean-of-means"),
        ("vae.per_channel_statistics.std", "video", "std-of-means"),
    ],
)
def test_vae_without_statistics(nodes, rewritten, missing, kind, names):
    def change(tensors, _):
        for key in [key for key in tensors if key.startswith(missing) and "per_channel_statistics" in key]:
            del tensors[key]

    name = rewritten("checkpoints", CHECKPOINT, change)
    message = refusal(nodes, "VAELoader", checkpoint=name, audio_file="same file")
    assert f"The {kind} VAE in" in message and name in message
    assert f"has no latent statistics: expected a tensor per_channel_statistics.{names}" in message


@pytest.mark.parametrize("kind", ["vae", "audio_vae"])
@pytest.mark.parametrize("name, value", [("std", 0.0), ("std", -1.0), ("std", float("nan")), ("mean", float("inf"))])
def test_statistics_that_nothing_can_be_decoded_with(nodes, rewritten, kind, name, value):
    def change(tensors, _):
        tensors[f"{kind}.per_channel_statistics.{name}-of-means"][-1] = value

    file = rewritten("checkpoints", CHECKPOINT, change)
    message = refusal(nodes, "VAELoader", checkpoint=file, audio_file="same file")
    assert f"latent statistics per_channel_statistics.{name}-of-means" in message and file in message


LOADERS = {
    "LTXDuoModelLoader": {"checkpoint": ("checkpoints", "diffusion_models")},
    "LTXDuoLoraLoader": {"lora": ("loras",)},
    "LTXDuoVAELoader": {"checkpoint": ("vae",), "audio_file": ("vae",)},
    "LTXDuoTextEncoderLoader": {"text_encoder": ("text_encoders",), "projection": ("text_encoders",)},
    "LTXDuoUpsamplerLoader": {"upsampler": ("latent_upscale_models",)},
}
INPUTS = [(node, slot, kind) for node, slots in LOADERS.items() for slot, kinds in slots.items() for kind in kinds]


@pytest.mark.parametrize("node, slot, kind", INPUTS)
def test_downloads_that_are_not_finished_are_told_on_their_loader(folder, node, slot, kind):
    path = folder(kind) / "new.safetensors"
    save_file({"a": torch.ones(2)}, path)
    others = dict.fromkeys(LOADERS[node], "same file")
    prompt = {"1": {"class_type": node, "inputs": {**others, slot: path.name}}}

    def told():
        report = Report()
        check_downloads(PromptGraph(prompt), OpenedFiles(), report)
        assert not report.errors
        return [(found.id, text) for found, text in report.warnings]

    assert told() == []
    path.with_suffix(".safetensors.crdownload").touch()
    ((owner, text),) = told()
    assert owner == "1" and "new.safetensors.crdownload lies beside it" in text


def test_a_shard_that_is_not_finished(models, folder):
    target = folder("text_encoders") / "gemma"
    shutil.copytree(models / "text_encoders" / "gemma-3-small", target)
    shard = next(target.glob("*.safetensors"))
    shard.with_name(shard.name + ".aria2").touch()
    inputs = {"text_encoder": "gemma", "projection": ["2", 0]}
    report = Report()
    graph = PromptGraph({"1": {"class_type": "LTXDuoTextEncoderLoader", "inputs": inputs}})
    check_downloads(graph, OpenedFiles(), report)
    assert [shard.name in text for _, text in report.warnings] == [True]


@pytest.fixture
def copies(models, folder):
    """Copies of the small model's files, to write over; their paths by what they are."""
    found = {}
    for what, kind, name in (
        ("model", "checkpoints", CHECKPOINT),
        ("lora", "loras", LORA),
        ("upsampler", "latent_upscale_models", UPSAMPLER),
    ):
        found[what] = folder(kind) / f"copy-{what}.safetensors"
        shutil.copy(models / kind / name, found[what])
    return found


@pytest.fixture
def uses(run, copies):
    """By node, what reads weights of its file: loads them, or uses them again where they are loaded."""
    name = copies["model"].name
    model = run("ModelLoader", checkpoint=name, weight_dtype="auto")
    lora = copies["lora"].name
    adapted = run("LoraLoader", model=model, lora=lora, strength_stage_one=0.0, strength_stage_two=1.0)
    vae = run("VAELoader", checkpoint=name, audio_file="same file")
    text = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=name, device="default")
    upsampler = run("UpsamplerLoader", upsampler=copies["upsampler"].name)
    return {
        "model": lambda: model.stage(1),
        "lora": lambda: adapted.stage(2),
        "picture": vae.video_decoder,
        "sound": vae.audio_decoder,
        "text": text.component,
        "upsampler": upsampler.component,
    }


WHERE = {"picture": "model", "sound": "model", "text": "model"}


@pytest.mark.parametrize("what", ["model", "lora", "picture", "sound", "text", "upsampler"])
class TestWhileInUse:
    """What a mapping reads beyond a file's end is no exception: the system kills the server."""

    @pytest.fixture
    def path(self, copies, what):
        return copies[WHERE.get(what, what)]

    def test_written_over(self, uses, path, what):
        uses[what]()
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(CheckpointError, match="was written over while it was in use") as error:
            uses[what]()
        assert str(path) in str(error.value) and "queue again" in str(error.value)

    def test_written_over_before_it_is_read(self, uses, path, what):
        path.write_bytes(path.read_bytes())
        with pytest.raises(CheckpointError) as error:
            uses[what]()
        assert str(path) in str(error.value)

    def test_deleted_before_it_is_read(self, uses, path, what):
        path.unlink()
        files._mapped.clear()
        with pytest.raises(CheckpointError) as error:
            uses[what]()
        assert str(path) in str(error.value) and "cannot be read" in str(error.value)

    def test_deleted_or_replaced_by_another_file(self, uses, path, what):
        """What is mapped stays."""
        component = uses[what]()
        other = path.with_suffix(".new")
        other.write_bytes(b"x")
        os.replace(other, path)
        assert uses[what]() is component
        path.unlink()
        assert uses[what]() is component
