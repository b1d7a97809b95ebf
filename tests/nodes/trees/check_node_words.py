"""What nodes say of a model's file, and what they let pass: words for incomplete files, voices, saved places."""

import os
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import pytest
import torch
from comfy.cli_args import args
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Component
from ltx_duo.ltx_core.errors import CheckpointError, ConditioningError
from ltx_duo.ltx_core.safetensors_file import TensorInfo
from ltx_duo.ltx_core.variants import Kind
from ltx_duo.nodes.comfyui import conditioning, latent_files, report
from ltx_duo.tests.nodes.trees.text_widths import transformer_for

VIDEO, AUDIO = torch.randn(1, 128, 3, 2, 4), torch.randn(1, 8, 18, 16)
WHOLE = {part for part in Component if part not in (Component.GEMMA, Component.LORA, Component.UPSAMPLER)}


def model_text(components: set[Component], sizes: dict[str, int], kind: Kind = Kind.DEV) -> str:
    """What the loader says of a file with these parts, and so many of the transformer's numbers in each dtype."""
    tensors = {f"weight {dtype}": TensorInfo(dtype, (count,)) for dtype, count in sizes.items()}
    nothing = {"key_maps": {}, "metadata": {}, "files": (), "path": Path("model.safetensors")}
    file = SimpleNamespace(components=frozenset(components), tensors=lambda part: tensors, generation=None, **nothing)
    return report.model_text(file, kind, chosen=False)


def test_what_a_file_lacks_is_told_even_where_half_of_it_is_there():
    text = model_text(WHOLE - {Component.VIDEO_DECODER, Component.VOCODER}, {"BF16": 10**9})
    assert text.endswith("; the file lacks: video VAE, vocoder")
    assert model_text(WHOLE, {"BF16": 10**9}).endswith("; the file is complete")


def test_distilled_or_dev_is_told():
    assert " distilled " in model_text(WHOLE, {"BF16": 10**9}, Kind.DISTILLED)
    assert " dev " in model_text(WHOLE, {"BF16": 10**9}, Kind.DEV)


@pytest.mark.parametrize("key", ["keyframe_idxs", "guide_attention_entries", "ref_audio"])
def test_what_only_native_samplers_act_on_is_refused(key):
    text = torch.zeros(1, 7, 160)
    conditioning.take([[text, {key: None}]], transformer_for(96, 64))
    with pytest.raises(ConditioningError):
        conditioning.take([[text, {key: torch.zeros(1)}]], transformer_for(96, 64))


@pytest.mark.parametrize("name", ["../beside.latent [output]", "sub/../../beside.latent [output]"])
def test_a_latent_beside_the_output_folder_is_not_there(tmp_path, monkeypatch, name):
    (tmp_path / "output" / "sub").mkdir(parents=True)
    save_file({"latent_tensor": VIDEO}, tmp_path / "beside.latent")
    save_file({"latent_tensor": VIDEO}, tmp_path / "output" / "inside.latent")
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    assert Path(latent_files.path("inside.latent [output]")) == tmp_path / "output" / "inside.latent"
    assert os.path.isfile(tmp_path / "output" / name.removesuffix(" [output]"))
    with pytest.raises(CheckpointError, match="beside.latent"):
        latent_files.path(name)


def test_no_workflow_in_files_with_metadata_off(monkeypatch):
    given = {"1": {"class_type": "A"}}, {"workflow": {"nodes": []}}
    assert latent_files.workflow_metadata(*given).keys() == {"prompt", "workflow"}
    monkeypatch.setattr(args, "disable_metadata", True)
    assert latent_files.workflow_metadata(*given) == {}
