"""LTX Prompt Length: the library's frame count, and what is refused or told."""

import copy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.errors import CheckpointError, GeometryError, VariantError
from ltx_duo.ltx_core.loading_components import load_components
from ltx_duo.ltx_core.prompt_length import prompt_frames
from ltx_duo.nodes.preflight import check
from ltx_duo.nodes.prompt_graph import PromptGraph
from ltx_duo.scripts.small_model_parts.write_split import split_files

FILES = split_files("ltx-2.5-small")
TEXT, MODEL, HEAD = (path.name for path in (FILES.text_encoder, FILES.transformer, FILES.duration_head))
PROMPT = "a lake"


@pytest.fixture(scope="module")
def positive(run):
    with torch.inference_mode():
        encoder = run("TextEncoderLoader", text_encoder=TEXT, projection=TEXT, device="default")
        return run("TextEncode", text_encoder=encoder, prompt=PROMPT, negative_prompt="")[0]


@pytest.fixture
def new_model(run):
    return run("ModelLoader", checkpoint=MODEL, weight_dtype="auto")


@pytest.fixture
def told(nodes, new_model, positive):
    """Executes the node and gives its outputs and what it shows."""

    def execute(**inputs):
        given = {"model": new_model, "positive": positive, "duration_head": HEAD, "fps": 24.0, **inputs}
        done = nodes["LTXDuoPromptLength"].execute(**given)
        return done.args, "\n".join((done.ui or {}).get("text", ()))

    return execute


@pytest.fixture(scope="module")
def components(models):
    files = FILES.below(models)
    parts = (files.video_vae, files.audio_vae, files.duration_head)
    with torch.inference_mode():
        return load_components(
            files.transformer, files.text_encoder, files.upsampler, parts, dtype=torch.float32, device="cpu"
        )


@pytest.mark.parametrize("limits", [(1.0, 20.0), (0.5, 60.0), (3.0, 4.0)])
@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_the_librarys_frame_count(limits, fps, told, components):
    """As the library has it, which is compared with the reference; LoRAs of the model change nothing."""
    (frames, rate, seconds), _ = told(fps=fps, shortest=limits[0], longest=limits[1])
    assert frames == prompt_frames(components, PROMPT, fps, *limits) and frames % 8 == 1
    assert (rate, seconds) == (fps, frames / fps)


def test_loras_change_nothing_here(run, told, new_model, folder):
    """Not even one of the text connectors, which are at work here."""
    layer = "diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_v"
    factors = {f"{layer}.lora_A.weight": torch.ones(4, 128), f"{layer}.lora_B.weight": torch.ones(128, 4)}
    save_file(factors, folder("loras") / "ltx-2.5-text.safetensors")
    lora = run(
        "LoraLoader", model=new_model, lora="ltx-2.5-text.safetensors", strength_stage_one=1.0, strength_stage_two=1.0
    )
    assert told(model=lora) == told()


def test_says_what_the_prompt_asks_for_and_where_a_limit_was_met(told):
    (frames, *_), text = told(shortest=0.5, longest=60.0)
    asked = float(text.removeprefix("The prompt asks for ").split()[0])
    assert abs(frames / 24.0 - asked) < 9 / 24.0 and "outside" not in text
    _, text = told(shortest=asked + 1, longest=asked + 2)
    assert f"outside of {asked + 1:g} to {asked + 2:g} s" in text


def test_refuses_what_has_no_duration_head(told, model, texts, new_model):
    with pytest.raises(VariantError, match=r"model is of LTX-2\.3, but duration_head is of LTX-2\.5"):
        told(model=model, positive=texts[0])
    with pytest.raises(VariantError, match=r"encoded for LTX-2\.3, but the model is LTX-2\.5"):
        told(positive=texts[0])
    with pytest.raises(CheckpointError, match="ComfyUI's own loaders, which do not give LTX-2.5"):
        told(model=SimpleNamespace())
    with pytest.raises(CheckpointError, match="not found"):
        told(duration_head="none.safetensors")
    with pytest.raises(GeometryError, match="the shorter first"):
        told(shortest=5.0, longest=4.0)


def test_refuses_a_head_for_other_widths(told, rewritten):
    def narrow(tensors, _):
        tensors["duration_head.video_input_proj.weight"] = tensors["duration_head.video_input_proj.weight"][:, :-1]
        tensors.update({name: tensor.contiguous() for name, tensor in tensors.items()})

    name = rewritten("model_patches", HEAD, narrow)
    with pytest.raises(CheckpointError, match=r"reads text 127 and 64 wide, but .* makes it 128 and 64 wide"):
        told(duration_head=name)


@pytest.fixture
def prompt():
    """A queued film whose length its prompt says."""
    link = ["model", 0]
    return {
        "model": {"class_type": "LTXDuoModelLoader", "inputs": {"checkpoint": MODEL}},
        "encoder": {"class_type": "LTXDuoTextEncoderLoader", "inputs": {"text_encoder": TEXT, "projection": TEXT}},
        "text": {"class_type": "LTXDuoTextEncode", "inputs": {"text_encoder": ["encoder", 0]}},
        "length": {
            "class_type": "LTXDuoPromptLength",
            "inputs": {"model": link, "positive": ["text", 0], "duration_head": HEAD, "fps": 25.0},
        },
        "one": {
            "class_type": "LTXDuoStageOneSampler",
            "inputs": {
                "model": link,
                "positive": ["text", 0],
                "negative": ["text", 1],
                "frames": ["length", 0],
                "fps": ["length", 1],
                "width": 128,
                "height": 64,
            },
        },
    }


def findings(prompt: dict):
    from ltx_duo.nodes.comfyui.prompt_hook import OpenedFiles

    return check(PromptGraph(copy.deepcopy(prompt)), OpenedFiles(), has_gpu=False)


def test_preflight_is_quiet_of_what_is_good(prompt):
    report = findings(prompt)
    assert not report.wrong and not report.warnings


def test_preflight_refuses_another_generations_model(prompt, names):
    prompt["model"]["inputs"]["checkpoint"] = names.checkpoint
    wrong = findings(prompt).wrong["length"]
    assert "is of LTX-2.3" in wrong["model"] and "has no duration head" in wrong["model"]
    prompt["model"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": names.checkpoint}}
    assert "ComfyUI's own loaders" in findings(prompt).wrong["length"]["model"]


def test_preflight_refuses_a_head_of_other_widths(prompt, rewritten):
    def narrow(tensors, _):
        tensors["duration_head.audio_input_proj.weight"] = tensors["duration_head.audio_input_proj.weight"][
            :, :-1
        ].contiguous()

    prompt["length"]["inputs"]["duration_head"] = rewritten("model_patches", HEAD, narrow)
    assert "reads text 128 and 63 wide" in findings(prompt).wrong["length"]["duration_head"]


def test_preflight_warns_of_another_frame_rate(prompt):
    prompt["one"]["inputs"]["fps"] = 50.0
    [(node, text)] = findings(prompt).warnings
    assert node.id == "length" and "frames of 25 a second, but the film is made at 50" in text
