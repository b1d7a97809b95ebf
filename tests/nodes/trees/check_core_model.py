"""ComfyUI's own MODEL in our samplers: the same films as from our loader, and the MODEL stays as it was."""

import comfy.latent_formats
import comfy.sd
import pytest

from ltx_duo.nodes.comfyui import latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

import nodes as core

CORE = "the same file through LTX Model Loader"
# Weights are expanded from bfloat16 and computed in float32 in both.
EQUAL = 0.0


@pytest.fixture
def load(names):
    """What CheckpointLoaderSimple gives as MODEL."""

    def make(name: str = names.checkpoint):
        return core.CheckpointLoaderSimple().load_checkpoint(name)[0]

    return make


def test_both_stages_equal_our_loaders(load, model, stage_one, stage_two, upsampled, measured):
    theirs = load()
    for what, sampled in (("stage one", stage_one), ("stage two", lambda m: stage_two(m, upsampled))):
        for name, ours, own in zip(("video", "audio"), latents.take(sampled(theirs)), latents.take(sampled(model)), strict=True):
            measured(f"ComfyUI's MODEL, {what}: {name}", CORE, ours, own, EQUAL)
