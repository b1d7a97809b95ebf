"""Latents on the disk come back as they were, from ComfyUI's folders only."""

import json
import os

import folder_paths
import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.errors import CheckpointError, GeometryError
from ltx_duo.nodes.comfyui import latent_files, latents

VIDEO, AUDIO = torch.randn(1, 128, 3, 2, 4), torch.randn(1, 8, 18, 16)
INFO = latents.StageInfo(25.0, "cpu", torch.Generator().manual_seed(4).get_state())


def saved(latent: dict, **metadata: str) -> str:
    """The choice that LTX Load Latent offers for it."""
    place = latent_files.save(latent, "latents/check", metadata)
    name = f"{place['subfolder']}/{place['filename']} [output]"
    assert name in latent_files.names()
    return name


def test_everything_comes_back():
    loaded = latent_files.load(saved(latents.make(VIDEO, AUDIO, INFO)))
    video, audio = latents.take(loaded)
    assert torch.equal(video, VIDEO) and torch.equal(audio, AUDIO)
    info = latents.info_of(loaded)
    assert (info.fps, info.generator_device) == (25.0, "cpu")
    assert torch.equal(info.generator_state, INFO.generator_state)


def test_picture_alone_without_frame_rate():
    loaded = latent_files.load(saved(latents.make(VIDEO, None, None)))
    assert torch.equal(latents.take(loaded)[0], VIDEO) and latents.take(loaded)[1] is None
    assert latents.info_of(loaded) is None


def test_file_carries_the_workflow_and_a_picture_that_core_can_load():
    path = latent_files.path(saved(latents.make(VIDEO, AUDIO, INFO), prompt=json.dumps({"1": 2})))
    assert torch.equal(load_file(path)["latent_tensor"], VIDEO)
    assert latent_files.SafetensorsFile.open(path).metadata["prompt"] == '{"1": 2}'


def test_newest_file_comes_first():
    old, new = saved(latents.make(VIDEO, AUDIO, INFO)), saved(latents.make(VIDEO, AUDIO, INFO))
    os.utime(latent_files.path(old), (1, 1))
    offered = latent_files.names()
    assert offered.index(new) < offered.index(old)


def test_preflight_reads_the_size_from_the_header(monkeypatch):
    from ltx_duo.nodes.comfyui import preflight
    from ltx_duo.nodes.prompt_graph import Node

    monkeypatch.setattr(latent_files.SafetensorsFile, "read", None)
    name = saved(latents.make(VIDEO, AUDIO, INFO))

    def shape(file: object):
        return preflight.OpenedFiles().saved_latent(Node("1", "LTXDuoLoadLatent", {"file": file}))

    assert shape(name) == (1, 128, 3, 2, 4)
    assert shape("gone.latent [output]") is shape("../x.latent [output]") is shape(None) is shape(["4", 0]) is None


@pytest.mark.parametrize(
    "name", ["gone.latent [output]", "../models/x.latent [output]", "latents/check_00001_.latent", "x [elsewhere]", ""]
)
def test_no_file_outside_the_folders(name):
    with pytest.raises(CheckpointError, match="LTX Save Latent"):
        latent_files.path(name)


@pytest.mark.parametrize(
    "tensors, metadata, error",
    [
        ({"other": VIDEO}, {}, CheckpointError),
        ({"latent_tensor": VIDEO[:, :4]}, {}, GeometryError),
        ({"latent_tensor": VIDEO, "generator_state": INFO.generator_state}, {"ltx_duo": "{}"}, CheckpointError),
        ({"latent_tensor": VIDEO, "generator_state": INFO.generator_state}, {"ltx_duo": "["}, CheckpointError),
    ],
)
def test_files_of_another_kind(tensors, metadata, error):
    path = os.path.join(folder_paths.get_output_directory(), "strange.latent")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)
    with pytest.raises(error):
        latent_files.load("strange.latent [output]")
