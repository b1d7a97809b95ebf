"""Latents on the disk come back as they were, from ComfyUI's folders only."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from ltx_duo.ltx_core.errors import CheckpointError, GeometryError
from ltx_duo.ltx_core.generation import Generation
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
    from ltx_duo.nodes.comfyui import prompt_hook
    from ltx_duo.nodes.prompt_graph import Node

    monkeypatch.setattr(latent_files.SafetensorsFile, "read", None)
    name = saved(latents.make(VIDEO, AUDIO, INFO))

    def shape(file: object):
        return prompt_hook.OpenedFiles().saved_latent(Node("1", "LTXDuoLoadLatent", {"file": file}))

    assert shape(name) == (1, 128, 3, 2, 4)
    assert shape("gone.latent [output]") is shape("../x.latent [output]") is shape(None) is shape(["4", 0]) is None


@pytest.mark.parametrize(
    "name", ["gone.latent [output]", "../models/x.latent [output]", "latents/check_00001_.latent", "x [elsewhere]", ""]
)
def test_no_file_outside_the_folders(name):
    with pytest.raises(CheckpointError, match="LTX Save Latent"):
        latent_files.path(name)


def test_a_loaded_latent_stays_when_its_file_is_overwritten():
    name = saved(latents.make(VIDEO, AUDIO, INFO))
    loaded = latent_files.load(name)
    with latent_files.path(name).open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
    video, audio = latents.take(loaded)
    assert torch.equal(video, VIDEO) and torch.equal(audio, AUDIO)
    assert torch.equal(latents.info_of(loaded).generator_state, INFO.generator_state)


def test_a_file_that_is_replaced_within_a_second_is_read_again(nodes):
    name = saved(latents.make(VIDEO, AUDIO, INFO))
    fingerprints = set()
    for nanoseconds in (1_700_000_000_000_000_000, 1_700_000_000_500_000_000):
        os.utime(latent_files.path(name), ns=(nanoseconds, nanoseconds))
        fingerprints.add(nodes["LTXDuoLoadLatent"].fingerprint_inputs(file=name))
    assert len(fingerprints) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_files_of_cores_save_latent(dtype):
    import nodes as core

    given = {"samples": VIDEO.to(dtype)}
    place = core.SaveLatent().save(given, "latents/core")["ui"]["latents"][0]
    loaded = latent_files.load(f"{place['subfolder']}/{place['filename']} [output]")
    assert torch.equal(loaded["samples"], VIDEO.to(dtype).float()) and latents.info_of(loaded) is None


def test_what_cannot_be_opened_again_is_not_saved():
    other = latents.StageInfo(60.0, "cpu", INFO.generator_state)
    with pytest.raises(GeometryError, match="17 frames at 60"):
        saved(latents.make(VIDEO, AUDIO, other))


def test_a_name_that_no_file_can_have_is_not_there():
    with pytest.raises(CheckpointError, match="There is no saved latent"):
        latent_files.path("a" * 300 + ".latent [output]")


def test_a_file_that_comes_through_a_link_has_no_fingerprint_yet(nodes):
    assert nodes["LTXDuoLoadLatent"].fingerprint_inputs(file=None) is None


@pytest.mark.parametrize("generation", [None, *Generation])
def test_the_models_generation_comes_back(generation):
    made = latents.make(VIDEO, AUDIO, replace(INFO, generation=generation))
    name = saved(made)
    assert latents.generation_of(latent_files.load(name)) is generation
    table = json.loads(latent_files.SafetensorsFile.open(latent_files.path(name)).metadata["ltx_duo"])
    assert ("generation" in table) == (generation is not None)  # older versions of the pack read the rest
