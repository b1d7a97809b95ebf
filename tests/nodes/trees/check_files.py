"""Choosing files: what the lists show, and what is refused before any weight is read."""

import asyncio
import json
import os
import shutil

import folder_paths
import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.nodes.comfyui import files
from ltx_duo.nodes.comfyui.open_files import open_model

CHECKPOINT = "ltx-2.3-small-dev.safetensors"
LORA = "ltx-2.3-small-distilled-lora.safetensors"
UPSAMPLER = "ltx-2.3-small-spatial-upscaler-x2.safetensors"


def drop(*prefixes):
    def change(tensors, _):
        for key in [key for key in tensors if key.startswith(prefixes)]:
            del tensors[key]

    return change


def mark(version: str):
    def change(_, metadata):
        metadata["model_version"] = version

    return change


def refusal(nodes, name: str, **inputs) -> str:
    """The message with which the queue refuses a loader's inputs."""
    message = nodes[f"LTXDuo{name}"].validate_inputs(**inputs)
    assert isinstance(message, str), "was accepted"
    return message


def test_lists_show_weight_files_and_whole_folders_once(models, folder):
    extra = folder("text_encoders")
    (extra / "a.safetensors").touch()
    (extra / "b.gguf").touch()
    (extra / "c.pt").touch()
    deep = extra / "sub" / "gemma"
    deep.mkdir(parents=True)
    (deep / "config.json").write_text("{}")
    (deep / "model-00001-of-00002.safetensors").touch()
    (deep / "model-00002-of-00002.safetensors").touch()
    listed = files.names("text_encoders")
    assert listed == sorted(
        {
            "a.safetensors",
            "b.gguf",
            "gemma-3-small",
            "gemma-3-small.safetensors",
            "gemma4-with-proj-ltx-2.5-small.safetensors",
            os.path.join("sub", "gemma"),
        }
    )
    assert files.path(os.path.join("sub", "gemma"), ("text_encoders",)) == str(deep)


def test_new_files_show_up_without_a_restart(nodes, models, folder):
    def listed():
        return nodes["LTXDuoUpsamplerLoader"].INPUT_TYPES()["required"]["upsampler"][1]["options"]

    extra = folder("latent_upscale_models")
    before = listed()
    shutil.copy(models / "latent_upscale_models" / UPSAMPLER, extra / "new.safetensors")
    assert set(listed()) == {*before, "new.safetensors"}


def test_upsampler_folder_is_added_to_an_older_comfyui(monkeypatch):
    known = dict(folder_paths.folder_names_and_paths)
    del known["latent_upscale_models"]
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    files.register_folders()
    assert UPSAMPLER in files.names("latent_upscale_models")


@pytest.mark.parametrize("name", ["../checkpoints/" + CHECKPOINT, "/etc/passwd", "gone.safetensors", ""])
def test_paths_do_not_leave_the_folders(name):
    with pytest.raises(CheckpointError, match="models/loras"):
        files.path(name, ("loras",))


@pytest.mark.parametrize("folders", ["", "sub\\", "sub/"])
def test_a_published_file_that_is_missing_is_named_with_its_address(nodes, folders):
    name = "ltx-2.3-22b-distilled-lora-384-1.1.safetensors"
    message = refusal(nodes, "LoraLoader", lora=folders + name)
    assert "not found. Put it into models/loras, press r" in message
    assert message.endswith(f" Its address: https://huggingface.co/Lightricks/LTX-2.3/blob/main/{name}")
    of_2_5 = "ltx-2.5-video-vae-conv-bf16.safetensors"
    assert message_of(of_2_5).endswith(f"https://huggingface.co/Lightricks/LTX-2.5/blob/main/vae/{of_2_5}")
    assert message_of("mine.safetensors").endswith("choose it again.")


def message_of(name: str) -> str:
    with pytest.raises(CheckpointError) as refused:
        files.path(name, ("checkpoints", "vae"))
    return str(refused.value)


def test_other_formats_are_refused(folder):
    (folder("checkpoints") / "model.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="model.ckpt is not a .safetensors"):
        files.path("model.ckpt", ("checkpoints",))


def test_fingerprint_follows_the_file(models, folder, nodes):
    path = folder("loras") / "x.safetensors"
    shutil.copy(models / "loras" / LORA, path)

    def fingerprint():
        return nodes["LTXDuoLoraLoader"].fingerprint_inputs(lora="x.safetensors", strength_stage_one=1.0)

    first = fingerprint()
    assert fingerprint() == first
    os.utime(path, ns=(1, 1))
    assert fingerprint() != first
    path.unlink()
    assert fingerprint() is None


def test_fingerprint_of_a_vae_follows_both_of_its_files(models, folder, nodes):
    target = folder("vae")
    for name in ("video.safetensors", "sound.safetensors"):
        shutil.copy(models / "checkpoints" / CHECKPOINT, target / name)

    def fingerprint(audio_file="sound.safetensors"):
        return nodes["LTXDuoVAELoader"].fingerprint_inputs(checkpoint="video.safetensors", audio_file=audio_file)

    seen = [fingerprint(), fingerprint("same file")]
    for name in ("sound.safetensors", "video.safetensors"):
        os.utime(target / name, ns=(1, 1))
        seen.append(fingerprint())
    assert len({repr(found) for found in seen}) == 4


def test_fingerprint_of_a_folder_follows_each_of_its_files(models, folder, nodes):
    target = folder("text_encoders") / "gemma"
    shutil.copytree(models / "text_encoders" / "gemma-3-small", target)

    def fingerprint():
        found = nodes["LTXDuoTextEncoderLoader"].fingerprint_inputs(text_encoder="gemma", projection=CHECKPOINT)
        return repr(found)

    seen = [fingerprint()]
    for path in sorted(target.iterdir()):
        os.utime(path, ns=(1, 1))
        seen.append(fingerprint())
    assert len(seen) > 3 and len(set(seen)) == len(seen)


def test_a_replaced_file_is_read_again(models, folder, nodes):
    path = folder("latent_upscale_models") / "x.safetensors"
    shutil.copy(models / "latent_upscale_models" / UPSAMPLER, path)
    loader = nodes["LTXDuoUpsamplerLoader"]
    assert loader.validate_inputs(upsampler="x.safetensors") is True
    path.write_bytes(path.read_bytes()[:-100])
    assert "missing" in loader.validate_inputs(upsampler="x.safetensors")


def test_everything_good_is_accepted(nodes):
    accepted = {
        "ModelLoader": {"checkpoint": CHECKPOINT},
        "LoraLoader": {"lora": LORA},
        "VAELoader": {"checkpoint": CHECKPOINT, "audio_file": "same file"},
        "TextEncoderLoader": {"text_encoder": "gemma-3-small", "projection": CHECKPOINT},
        "UpsamplerLoader": {"upsampler": UPSAMPLER},
    }
    for name, inputs in accepted.items():
        loader = nodes[f"LTXDuo{name}"]
        assert loader.validate_inputs(**inputs) is True, name
        # Linked inputs are not known yet.
        assert loader.validate_inputs(**dict.fromkeys(inputs)) is True, name


def test_vae_without_sound(nodes, run, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, drop("audio_vae.", "vocoder."), "vae")
    assert "audio VAE" in refusal(nodes, "VAELoader", checkpoint=name, audio_file="same file")
    loader = nodes["LTXDuoVAELoader"]
    assert loader.validate_inputs(checkpoint=name, audio_file=CHECKPOINT) is True
    handle = run("VAELoader", checkpoint=name, audio_file=CHECKPOINT)
    assert handle.video.path.name == name and handle.audio.path.name == CHECKPOINT


def test_vae_without_vocoder(nodes, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, drop("vocoder."))
    assert "vocoder" in refusal(nodes, "VAELoader", checkpoint=name, audio_file="same file")


def test_split_vae_files_of_two_generations(nodes, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, mark("2.5.0"), "vae")
    assert "LTX-2.5" in refusal(nodes, "VAELoader", checkpoint=CHECKPOINT, audio_file=name)


def test_text_encoder_without_projection(nodes, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, drop("text_embedding_projection."))
    message = refusal(nodes, "TextEncoderLoader", text_encoder="gemma-3-small", projection=name)
    assert "text projection" in message and "checkpoint" in message


def test_text_encoder_file_without_tokenizer(nodes, rewritten):
    name = rewritten("text_encoders", "gemma-3-small.safetensors", drop("tokenizer_json", "spiece_model"))
    message = refusal(nodes, "TextEncoderLoader", text_encoder=name, projection=CHECKPOINT)
    assert "tokenizer" in message


def test_text_encoder_folder_without_tokenizer(nodes, models, folder):
    target = folder("text_encoders") / "bare"
    shutil.copytree(models / "text_encoders" / "gemma-3-small", target)
    (target / "tokenizer.json").unlink()
    message = refusal(nodes, "TextEncoderLoader", text_encoder="bare", projection=CHECKPOINT)
    assert "tokenizer.json" in message


@pytest.mark.parametrize(
    "version, words",
    [
        ("2.4-rc2", "LTX-2.4"),
        ("2.5.1", "LTX-2.5"),
        ("3.0", "LTX-3.0"),
        ("0.9.8", "0.9.8"),
    ],
)
def test_other_generations(nodes, rewritten, version, words):
    name = rewritten("checkpoints", CHECKPOINT, mark(version))
    message = refusal(nodes, "ModelLoader", checkpoint=name)
    assert words in message and "LTX-2.3" in message


def test_text_encoder_of_another_generation(nodes, rewritten):
    def belong(_, metadata):
        metadata["gemma_source_checkpoint"] = json.dumps({"ltx_version": "2.5.0"})

    name = rewritten("text_encoders", "gemma-3-small.safetensors", belong)
    assert "LTX-2.5" in refusal(nodes, "TextEncoderLoader", text_encoder=name, projection=CHECKPOINT)


def test_model_without_connectors(nodes, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, drop("model.diffusion_model.video_embeddings_connector."))
    assert "video text connector" in refusal(nodes, "ModelLoader", checkpoint=name)


def test_model_with_unknown_and_missing_tensors(nodes, rewritten):
    def change(tensors, metadata):
        root = "model.diffusion_model.transformer_blocks.0."
        del tensors[root + "ff.net.2.bias"]
        tensors[root + "attn9.to_q.weight"] = torch.zeros(2, 2)
        tensors[root + "attn1.to_k.weight"] = torch.zeros(2, 2)

        mark("2.3.0")(tensors, metadata)

    name = rewritten("checkpoints", CHECKPOINT, change)
    message = refusal(nodes, "ModelLoader", checkpoint=name)
    for words in ("missing", "ff.net.2.bias", "unexpected", "attn9.to_q", "attn1.to_k.weight is 2x2"):
        assert words in message, message


def test_model_without_config(nodes, rewritten):
    name = rewritten("checkpoints", CHECKPOINT, lambda _, metadata: metadata.pop("config"))
    assert "config" in refusal(nodes, "ModelLoader", checkpoint=name)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"spatial_scale": 1.5, "rational_resampler": True}, "1.5"),
        ({"spatial_upsample": False, "temporal_upsample": True}, "in time"),
    ],
)
def test_upsampler_of_the_wrong_scale(nodes, rewritten, change, words):
    def rescale(_, metadata):
        metadata["config"] = json.dumps({**json.loads(metadata["config"]), **change})

    name = rewritten("latent_upscale_models", UPSAMPLER, rescale)
    message = refusal(nodes, "UpsamplerLoader", upsampler=name)
    assert words in message and "x2" in message


def test_upsampler_with_missing_weights(nodes, rewritten):
    name = rewritten("latent_upscale_models", UPSAMPLER, drop("final_conv."))
    assert "final_conv.weight" in refusal(nodes, "UpsamplerLoader", upsampler=name)


def test_lora_of_another_model(run, rewritten):
    def widen(tensors, _):
        key = next(key for key in tensors if key.endswith("attn1.to_q.lora_A.weight"))
        tensors[key] = torch.zeros(tensors[key].shape[0], 999)

    name = rewritten("loras", LORA, widen)
    model = open_model(CHECKPOINT, ("checkpoints",), "auto")
    with pytest.raises(VariantError, match="999"):
        run("LoraLoader", model=model, lora=name, strength_stage_one=0.0, strength_stage_two=1.0)


def test_connectors_are_opened_beside_a_model_that_is_not_known_yet(nodes, folder):
    (folder("diffusion_models") / "half.safetensors").write_bytes(b"PK\x03\x04")
    message = refusal(nodes, "ModelLoader", checkpoint=None, connectors="half.safetensors")
    assert "a zip archive" in message


def test_headers_of_loras_are_read_once(nodes, models, folder, monkeypatch):
    from ltx_duo.ltx_core.lora import LoRA

    path, read, opened = folder("loras") / "once.safetensors", [], LoRA.open
    shutil.copy(models / "loras" / LORA, path)
    monkeypatch.setattr(LoRA, "open", lambda path: (read.append(path), opened(path))[1])
    for _ in range(3):
        assert nodes["LTXDuoLoraLoader"].validate_inputs(lora="once.safetensors") is True
    assert len(read) == 1
    path.write_bytes(path.read_bytes()[:-100])
    assert "missing" in refusal(nodes, "LoraLoader", lora="once.safetensors")


def test_file_that_is_no_lora(nodes, folder):
    save_file({"a.lokr_w1": torch.zeros(2)}, folder("loras") / "lokr.safetensors")
    assert "only a.lokr_w1" in refusal(nodes, "LoraLoader", lora="lokr.safetensors")


NAN = {
    "VAELoader": ("checkpoints", CHECKPOINT, "vae.decoder.conv_out.conv.bias", {"audio_file": "same file"}),
    "ModelLoader": ("checkpoints", CHECKPOINT, "model.diffusion_model.proj_out.bias", {"weight_dtype": "auto"}),
    "UpsamplerLoader": ("latent_upscale_models", UPSAMPLER, "final_conv.bias", {}),
    "LoraLoader": (
        "loras",
        LORA,
        "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight",
        {"strength_stage_one": 0.0, "strength_stage_two": 1.0},
    ),
}


@pytest.mark.parametrize("name", NAN)
def test_nan_weights_are_named_before_anything_is_loaded(name, run, rewritten):
    folder, file, weight, inputs = NAN[name]

    def break_one(tensors, _):
        tensors[weight].view(-1)[-1] = float("nan")

    slot = {"LoraLoader": "lora", "UpsamplerLoader": "upsampler"}.get(name, "checkpoint")
    if name == "LoraLoader":
        inputs = inputs | {"model": open_model(CHECKPOINT, ("checkpoints",), "auto")}
    bad = rewritten(folder, file, break_one)
    with pytest.raises(
        CheckpointError, match=weight.removeprefix("vae.decoder.").removeprefix("model.diffusion_model.")
    ):
        run(name, **{slot: bad}, **inputs)


def test_nan_in_a_text_encoder(run, rewritten):
    def break_one(tensors, _):
        tensors["model.norm.weight"][3] = float("nan")

    name = rewritten("text_encoders", "gemma-3-small.safetensors", break_one)
    with pytest.raises(CheckpointError, match="norm.weight"):
        run("TextEncoderLoader", text_encoder=name, projection=CHECKPOINT, device="default")


def test_a_distilled_model_is_known_by_its_name(run, models, folder):
    from ltx_duo.ltx_core.sampling.guidance import OFF

    shutil.copy(models / "checkpoints" / CHECKPOINT, folder("checkpoints") / "ltx-2.3-distilled.safetensors")
    handle = run("ModelLoader", checkpoint="ltx-2.3-distilled.safetensors", weight_dtype="auto")
    assert handle.variant.guidance == OFF and len(handle.variant.stage_one_schedule(30)) == 9
    dev = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto")
    assert dev.variant.guidance != OFF and len(dev.variant.stage_one_schedule(30)) == 31


@pytest.mark.parametrize(("name", "steps"), [("undistilled", 30), ("distil", 8), ("distilled/model", 30)])
def test_only_a_word_of_the_name_makes_a_model_distilled(run, models, folder, name, steps):
    path = folder("checkpoints") / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(models / "checkpoints" / CHECKPOINT, path)
    handle = run("ModelLoader", checkpoint=f"{name}.safetensors", weight_dtype="auto")
    assert len(handle.variant.stage_one_schedule(30)) - 1 == steps


def test_the_kind_that_is_chosen_counts_more_than_the_name(run, nodes):
    from ltx_duo.ltx_core.sampling.guidance import OFF

    chosen = run("ModelLoader", checkpoint=CHECKPOINT, weight_dtype="auto", kind="distilled")
    assert chosen.variant.guidance == OFF and len(chosen.variant.stage_one_schedule(30)) == 9
    named = asyncio.run(nodes["LTXDuoModelLoader"].execute(checkpoint=CHECKPOINT, weight_dtype="auto"))
    assert "dev (by its name)" in named.ui["text"][0]
