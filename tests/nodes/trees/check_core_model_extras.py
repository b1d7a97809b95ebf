"""What ComfyUI's MODEL carries in our samplers: it acts, is named on the node, or is refused."""

import comfy.latent_formats
import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import latents

if not hasattr(comfy.latent_formats, "LTXAV"):
    pytest.skip("this ComfyUI has no audio-video model", allow_module_level=True)

from comfy_extras import nodes_lt

import nodes as core


def load(name: str):
    return core.CheckpointLoaderSimple().load_checkpoint(name)[0]


@pytest.fixture
def theirs(names):
    return load(names.checkpoint)


def texts_on(node, **inputs) -> str:
    return "\n".join(node.execute(**inputs).ui["text"])


@pytest.fixture
def told(nodes, vae, texts, names):
    """What LTX Stage One Sampler says on itself."""

    def say(model) -> str:
        inputs = {"vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1, "noise_device": "cpu"}
        return texts_on(nodes["LTXDuoStageOneSampler"], model=model, **inputs, **names.size)

    return say


def test_float16_is_told(theirs, told):
    changed = theirs.clone()
    changed.set_model_compute_dtype(torch.float16)
    assert "computes in float16" in told(changed)


def test_what_does_nothing_is_named(theirs, told):
    plain = told(theirs)
    assert "taken as dev by its file's name" in plain and "Other nodes" not in plain
    changed = nodes_lt.ModelSamplingLTXV.execute(theirs, 2.05, 0.95).args[0]
    changed.set_model_unet_function_wrapper(lambda apply, inputs: apply(**inputs))
    changed.set_model_sampler_cfg_function(lambda args: args["cond"])
    changed.add_wrapper_with_key("apply_model", "torch.compile", lambda executor, *a, **k: executor(*a, **k))
    changed.set_model_attn1_patch(lambda *a: a)
    said = told(changed)
    for part in ("ModelSamplingLTXV", "model_function_wrapper", "sampler_cfg_function", "torch.compile", "attn1_patch"):
        assert part in said, part


def test_attention_override_acts(theirs, stage_one, told, same):
    calls = []

    def override(attention, *arguments, **options):
        calls.append(options["transformer_options"])
        return attention(*arguments, **options)

    plain = stage_one(theirs)
    changed = theirs.clone()
    changed.model_options["transformer_options"]["optimized_attention_override"] = override
    for one, other in zip(latents.take(stage_one(changed)), latents.take(plain), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert calls
    changed.model_options["transformer_options"]["optimized_attention_override"] = lambda f, q, *a, **k: (
        f(q, *a, **k) * 2
    )
    assert not same(stage_one(changed), plain)
    assert "Other nodes" not in told(changed)


def test_a_compiled_block_counts_as_its_layers(theirs, stage_one, told, same):
    class Compiled(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self._orig_mod = block

    plain = stage_one(theirs)
    changed = theirs.clone()
    block = theirs.model.diffusion_model.transformer_blocks[1]
    changed.add_object_patch("diffusion_model.transformer_blocks.1", Compiled(block))
    assert same(stage_one(changed), plain)
    assert "diffusion_model.transformer_blocks.1" in told(changed)


def test_other_generations_are_refused(theirs, stage_one):
    theirs.model.model_config.unet_config["use_keyframes_abs_pos_embedding"] = True
    with pytest.raises(LTXError, match=r"This MODEL is LTX-2\.5"):
        stage_one(theirs)


def test_a_model_with_other_layers_is_refused(theirs, stage_one):
    changed = theirs.clone()
    changed.model.diffusion_model.transformer_blocks[1].attn1.to_q = torch.nn.Linear(3, 5)
    del changed.model.diffusion_model.transformer_blocks[0].audio_ff
    with pytest.raises(LTXError, match=r"missing, such as transformer_blocks\.0\.audio_ff.*5x3 instead of 128x128"):
        stage_one(changed)
