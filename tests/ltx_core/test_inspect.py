"""`python -m ltx_core.inspect`: what it says of whole models, parts, and files that cannot be used."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.inspect import main
from ltx_duo.scripts.small_model_parts import write

PACK = Path(__file__).resolve().parents[2]

# The smallest thing that counts as Gemma's tokenizer.
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}, "unk_token": "<unk>"},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """The small model's folder."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tokenizer / "tokenizer_config.json").write_text("{}")
    write.write_small_model(folder, tokenizer)
    return folder


@pytest.fixture
def inspect(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def changed(models, tmp_path):
    """A copy of the checkpoint with some tensors and metadata changed; None takes one away."""

    def change(tensors=(), **metadata) -> Path:
        source = models / write.CHECKPOINT
        with safe_open(source, "pt") as file:
            metadata = file.metadata() | metadata
        state = load_file(source) | dict(tensors)
        path = tmp_path / "changed.safetensors"
        state = {name: tensor for name, tensor in state.items() if tensor is not None}
        save_file(state, path, {key: value for key, value in metadata.items() if value is not None})
        return path

    return change


def test_single_file_checkpoint(inspect, models):
    code, out, err = inspect(models / write.CHECKPOINT)
    assert (code, err) == (0, "")
    assert "generation  LTX-2.3 (model_version '2.3.0-small')" in out
    assert "transformer                  2,206,112 parameters in 402 tensors (BF16 99.4 %, F32 0.574 %)" in out
    for part in ("video text connector", "text projection", "video VAE encoder", "audio VAE decoder", "vocoder"):
        assert part in out
    assert "belongs in  ComfyUI/models/checkpoints" in out
    assert "LTX Model Loader, LTX VAE Loader, LTX Text Encoder Loader (projection)" in out
    needs = out.split("you also need:")[1]
    assert "Gemma text encoder" in needs
    assert "ComfyUI/models/latent_upscale_models" in needs
    assert "distilled LoRA" in needs
    assert "vocoder" not in needs


@pytest.mark.parametrize(("name", "distilled"), [("ltx-distil", True), ("ltx-distilled", True), ("undistilled", False)])
def test_a_distilled_checkpoint_needs_no_lora(inspect, models, tmp_path, name, distilled):
    path = tmp_path / f"{name}.safetensors"
    path.symlink_to((models / write.CHECKPOINT).resolve())
    report = json.loads(inspect(path, "--json")[1])
    assert ("distilled LoRA" not in report["missing"]) == distilled
    assert any("distilled model" in note for note in report["files"][0]["notes"]) == distilled


def test_everything_together_lacks_nothing(inspect, models):
    paths = [models / path for path in (write.CHECKPOINT, write.UPSAMPLER, write.GEMMA_FOLDER, write.LORA)]
    code, out, err = inspect(*paths)
    assert (code, err) == (0, "")
    assert "also need" not in out
    assert "LoRA        rank 4: 24 layers, rank 16: 140 layers" in out
    for folder in ("checkpoints", "latent_upscale_models", "text_encoders", "loras"):
        assert f"belongs in  ComfyUI/models/{folder}\n" in out


@pytest.mark.parametrize("gemma", [write.GEMMA_FOLDER, write.GEMMA_FILE])
def test_text_encoder_has_its_tokenizer(inspect, models, gemma):
    code, out, _ = inspect(models / gemma, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["files"][0]["uses"] == ["LTX Text Encoder Loader (text encoder)"]
    assert "tokenizer" not in report["missing"]
    assert "tokenizer" in inspect(models / gemma)[1]


def test_text_encoder_folder_without_tokenizer(inspect, models, tmp_path):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).symlink_to(models / write.GEMMA_FOLDER / name)
    code, out, _ = inspect(tmp_path)
    assert code == 1
    assert "PROBLEM     Gemma text encoder" in out
    assert "no tokenizer" in out


def test_json(inspect, models):
    code, out, _ = inspect("--json", models / write.CHECKPOINT, models / "gone.safetensors")
    table = json.loads(out)
    assert code == 1
    assert table["files"][0]["generation"] == "2.3"
    sizes = {part["name"]: part["parameters"] for part in table["files"][0]["components"]}
    assert sizes["transformer"] == 2_206_112
    assert table["missing"]["latent upsampler"] == "latent_upscale_models"
    assert "no such file" in table["errors"][0]


@pytest.mark.parametrize(
    ("parts", "folder"),
    [
        (("model.diffusion_model.",), "diffusion_models"),
        (("vae.",), "vae"),
        (("audio_vae.", "vocoder."), "vae"),
        (("text_embedding_projection.",), "text_encoders"),
        (("model.diffusion_model.video_embeddings_connector.", "text_embedding_projection."), "text_encoders"),
        (("model.diffusion_model.", "vae."), "checkpoints"),
    ],
)
def test_split_files_and_where_they_belong(inspect, changed, models, parts, folder):
    state = load_file(models / write.CHECKPOINT)
    code, out, _ = inspect(changed({name: None for name in state if not name.startswith(parts)}))
    assert code == 0, out
    assert f"belongs in  ComfyUI/models/{folder}\n" in out


def test_missing_and_unknown_tensors(inspect, changed):
    gone = "model.diffusion_model.transformer_blocks.1.attn1.to_q.weight"
    code, out, _ = inspect(changed({gone: None, "strange_head.weight": torch.zeros(3)}))
    assert code == 1
    assert "use it in   LTX Model Loader (connectors), LTX VAE Loader, LTX Text Encoder Loader (projection)\n" in out
    assert "PROBLEM     transformer: The transformer in" in out
    assert "1 missing of 402 tensors (transformer_blocks.1.attn1.to_q.weight)" in out
    assert "note        1 unknown tensor is not used (strange_head.weight)" in out


def test_unknown_tensors_alone_are_no_problem(inspect, changed):
    code, out, _ = inspect(changed({"strange_head.weight": torch.zeros(3)}))
    assert code == 0
    assert "note " in out


def test_file_without_config(inspect, changed):
    code, out, _ = inspect(changed(config=None))
    assert code == 1
    assert "PROBLEM     transformer:" in out
    assert "has no 'config' in its metadata" in out


def test_fp8_file(inspect, changed, models):
    state = load_file(models / write.CHECKPOINT)
    names = [n for n in state if n.endswith("to_q.weight") and "transformer_blocks" in n]
    fp8 = {name: state[name].to(torch.float8_e4m3fn) for name in names}
    fp8 |= {f"{name}_scale": torch.tensor(1.0) for name in names}
    code, out, _ = inspect(changed(fp8))
    assert code == 0
    assert f"quantised   {len(names)} layers float8_e4m3fn scaled" in out


def test_nvfp4_file(inspect, changed, models):
    name = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"
    nvfp4 = {name: torch.zeros(128, 64, dtype=torch.uint8), f"{name}_scale_2": torch.tensor(1.0)}
    code, out, _ = inspect(changed(nvfp4))
    assert code == 1
    assert "as nvfp4 without ComfyUI's mark, which LTX Duo does not support" in out


def test_a_version_that_the_tensors_are_not_of(inspect, changed):
    code, out, _ = inspect(changed(model_version="2.0.0"))
    assert code == 1 and out.count("PROBLEM") == 1
    assert "says that it is of LTX-2.0, but its tensors are those of LTX-2.3" in out


def test_later_generations_are_named_and_refused(inspect, changed):
    code, out, _ = inspect(changed(model_version="3.1.0"))
    assert code == 1
    assert "generation  a generation later than LTX-2.5" in out
    assert "changed.safetensors is of LTX-3.1, which these nodes do not run" in out
    assert out.count("PROBLEM") == 1
    assert "use it in   nothing" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spatial_scale": 1.5, "rational_resampler": True}, "by 1.5 in width and height"),
        ({"spatial_upsample": False, "temporal_upsample": True}, "in time"),
    ],
)
def test_upsampler_of_another_scale(inspect, models, tmp_path, change, words):
    with safe_open(models / write.UPSAMPLER, "pt") as file:
        metadata = file.metadata()
    metadata["config"] = json.dumps(json.loads(metadata["config"]) | change)
    save_file(load_file(models / write.UPSAMPLER), tmp_path / "up.safetensors", metadata)
    code, out, _ = inspect(tmp_path / "up.safetensors")
    assert code == 1
    assert "PROBLEM     latent upsampler: " in out and f"up.safetensors enlarges {words}" in out
    assert "use it in   nothing" in out


def test_lora_of_another_model(inspect, models, tmp_path):
    state = load_file(models / write.LORA)
    layer = "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight"
    state[layer] = torch.zeros(state[layer].shape[0], 999)
    save_file(state, tmp_path / "lora.safetensors")
    code, _, err = inspect(models / write.CHECKPOINT, tmp_path / "lora.safetensors")
    assert code == 1
    assert "is a LoRA of another model" in err and "999" in err


@pytest.mark.parametrize(
    ("version", "note"), [("1.0", None), ("2.0.0", "LTX-2.0"), ("2.3", "LTX-2.3"), ("2.5", "LTX-2.5")]
)
def test_the_version_of_a_lora_refuses_nothing(inspect, models, tmp_path, version, note):
    """As when it is queued and run."""
    save_file(load_file(models / write.LORA), tmp_path / "style.safetensors", {"model_version": version})
    code, out, err = inspect(models / write.CHECKPOINT, tmp_path / "style.safetensors")
    assert (code, err) == (0, "") and "use it in   LTX LoRA Loader" in out
    assert ("made for" in out) == (note is not None)
    assert note is None or f"note        it was made for {note} (its metadata has model_version {version!r})" in out


def test_connectors_of_another_model(inspect, models, changed, tmp_path):
    """Each file is good by itself."""
    source = models / write.CHECKPOINT
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    state = load_file(source)
    root = "model.diffusion_model."
    alone = {n: t for n, t in state.items() if n.startswith(root) and "embeddings_connector." not in n}
    save_file(alone, tmp_path / "model.safetensors", metadata)
    connectors = {n: t for n, t in state.items() if "video_embeddings_connector." in n or "audio_embeddings_c" in n}
    save_file(connectors, tmp_path / "connectors.safetensors", metadata)
    assert inspect(tmp_path / "model.safetensors", tmp_path / "connectors.safetensors")[::2] == (0, "")
    config = json.loads(metadata["config"])
    section = config["transformer"]
    section["cross_attention_dim"] = 2 * section["cross_attention_dim"]
    for name in [n for n in alone if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) and "audio" not in n]:
        alone[name] = torch.cat([alone[name]] * 2, 1)
    save_file(alone, tmp_path / "model.safetensors", {**metadata, "config": json.dumps(config)})
    code, out, err = inspect(tmp_path / "model.safetensors", tmp_path / "connectors.safetensors")
    assert code == 1 and "PROBLEM" not in out
    assert "video text connector" in err and "Choose the connectors of the same model" in err


def test_files_of_two_generations(inspect, changed, models):
    code, _, err = inspect(models / write.CHECKPOINT, changed(model_version="2.0"))
    assert code == 1
    assert "is of LTX-2.3, but" in err


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04"])
def test_bad_files_say_why(inspect, tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    code, out, err = inspect(path)
    assert (code, out) == (1, "")
    assert err.startswith(f"ERROR: Cannot use {path}: it is ")


def test_names_that_are_no_text(inspect, tmp_path):
    names = ["\ud800", "initial_conv.weight", "post_upsample_res_blocks.0.conv1.weight"]
    header = {n: {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i, n in enumerate(names)}
    text = json.dumps(header).encode()
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0\0")
    code, out, _ = inspect(tmp_path / "odd.safetensors")
    assert code == 1
    assert "1 unknown tensor is not used (\\ud800)" in out


def test_as_a_command(models):
    """As the README says it: from the pack's folder, without ComfyUI, and not the vendor's package."""
    command = [sys.executable, "-m", "ltx_core.inspect", str(models / write.UPSAMPLER), "gone.safetensors"]
    done = subprocess.run(command, cwd=PACK, capture_output=True, text=True)
    assert done.returncode == 1
    assert "latent upsampler" in done.stdout
    assert "gone.safetensors: there is no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_lora_is_and_what_of_it_does_nothing(inspect, tmp_path):
    """Also in forms that have neither lora_A nor lora_down in their keys."""
    tensors = {
        "lycoris_proj_out.lokr_w1": torch.ones(2, 2),
        "lycoris_proj_out.lokr_w2_a": torch.ones(4, 1),
        "lycoris_proj_out.lokr_w2_b": torch.ones(1, 4),
        "lycoris_text_embedding_projection_aggregate_embed.diff": torch.ones(4, 4),
    }
    save_file(tensors, tmp_path / "style.safetensors", {"lora_alpha": "8", "lora_rank": "4"})
    code, out, err = inspect(tmp_path / "style.safetensors")
    assert (code, err) == (0, "")
    assert "use it in   LTX LoRA Loader" in out and "rank 1: 1 layers" in out
    assert "note        changes 1 layers by LoKr\n" in out
    assert (
        "note        its scales are read from lora_alpha in its metadata, which ComfyUI's own loader ignores\n" in out
    )
    assert "note        not used: 1 key of the text projection, over which no LoRA is laid (lycoris_text_" in out
