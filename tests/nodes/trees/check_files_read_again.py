"""Files that are opened once and again: capital endings, mapping off, and NaN in the second of two."""

import shutil
import weakref

import pytest
from comfy.cli_args import args

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.nodes.comfyui import files


@pytest.fixture
def spoilt(names, rewritten):
    """The checkpoint with NaN in one weight."""

    def save(weight: str) -> str:
        def change(tensors, metadata):
            tensors[weight].view(-1)[-1] = float("nan")

        return rewritten("checkpoints", names.checkpoint, change)

    return save


def test_capital_endings_are_offered_and_opened(models, names, folder):
    shutil.copy(models / "loras" / names.lora, folder("loras") / "STYLE.SAFETENSORS")
    assert "STYLE.SAFETENSORS" in files.names("loras")
    assert files.open_checkpoint("STYLE.SAFETENSORS", ("loras",)).components == {Component.LORA}


@pytest.mark.parametrize("mapped", [True, False])
def test_tensors_are_kept_only_where_they_are_mapped(models, names, monkeypatch, mapped):
    monkeypatch.setattr(args, "disable_mmap", not mapped, raising=False)
    checkpoint = Checkpoint.open(models / "latent_upscale_models" / names.upsampler)
    kept = weakref.ref(next(iter(files.load_tensors(checkpoint).values())))
    assert (kept() is not None) is mapped


@pytest.mark.parametrize("weight", ["vocoder.vocoder.conv_post.weight", "audio_vae.decoder.conv_out.conv.bias"])
def test_nan_in_an_audio_file_of_its_own(run, names, spoilt, weight):
    bad = spoilt(weight)
    with pytest.raises(CheckpointError, match=weight.split(".", 2)[2]):
        run("VAELoader", checkpoint=names.checkpoint, audio_file=bad)


def test_nan_in_the_text_projection(run, spoilt):
    bad = spoilt("text_embedding_projection.audio_aggregate_embed.bias")
    with pytest.raises(CheckpointError, match="audio_aggregate_embed.bias"):
        run("TextEncoderLoader", text_encoder="gemma-3-small", projection=bad, device="default")
