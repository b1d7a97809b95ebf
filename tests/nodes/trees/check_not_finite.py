"""What is said when a result holds NaN: what can cause it in this run."""

import pytest
import torch
from comfy.cli_args import PerformanceFeature, args

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import flags, memory


def message(result: float, what: str, *components) -> str:
    with pytest.raises(LTXError) as raised:
        memory.check_finite(torch.full((2,), result), what, *components)
    return str(raised.value)


@pytest.fixture
def decoder(vae):
    return vae.video_decoder()


@pytest.mark.parametrize("result", [float("nan"), float("inf"), -float("inf")])
def test_damage_is_not_the_first_that_is_named(decoder, result):
    text = message(result, "decoded video", decoder)
    assert text.startswith("The decoded video holds NaN or infinite values. What can cause it: inputs from other nodes")
    assert text.endswith("; a file that is damaged or of another model. Change one after the other.")
    assert "--" not in text and "fp8" not in text


def test_finite_results_pass(decoder):
    memory.check_finite(torch.tensor([3e38]), "decoded video", decoder)


@pytest.mark.parametrize("flag", flags.RISKY)
def test_flags_in_force_are_named(monkeypatch, decoder, flag):
    assert flag not in message(float("nan"), "decoded video", decoder)
    monkeypatch.setattr(args, flag.lstrip("-").replace("-", "_"), True, raising=False)
    text = message(float("nan"), "decoded video", decoder)
    assert f"ComfyUI's flags {flag}" in text


def test_fast_is_named_with_its_features(monkeypatch, decoder):
    monkeypatch.setattr(args, "fast", {PerformanceFeature.Fp16Accumulation})
    assert "flags --fast fp16_accumulation;" in message(float("nan"), "decoded video", decoder)


def test_every_flag_is_one_of_comfyui():
    """Under the newest supported version; older ones lack some."""
    import comfy.cli_args

    options = {option for action in comfy.cli_args.parser._actions for option in action.option_strings}
    assert set(flags.RISKY) - options <= {"--fp16-intermediates"}


def test_broken_weights_are_sure(run, names):
    component = run("VAELoader", checkpoint=names.checkpoint, audio_file="same file").video_decoder()
    conv = component.module.conv_out.conv
    conv.bias = torch.nn.Parameter(torch.full_like(conv.bias, float("nan")), requires_grad=False)
    text = message(float("nan"), "decoded video", component)
    assert "conv_out.conv.bias. The file is damaged, or was converted" in text and "can cause" not in text


class TestASample:
    @pytest.fixture
    def broken(self, model):
        """Breaks every result of a model's transformer from now on, and leaves its weights as they are."""
        hooks = []

        def break_(handle):
            block = handle.stage(1).module.transformer.transformer_blocks[1]
            hooks.append(block.ff.register_forward_hook(lambda _layer, _inputs, result: result * float("nan")))

        yield break_
        for hook in hooks:
            hook.remove()

    def test_names_step_loras_and_flags(self, monkeypatch, broken, with_lora, stage_one, names):
        model = with_lora(8.0, 0.0)
        broken(model)
        monkeypatch.setattr(args, "use_sage_attention", True)
        with pytest.raises(LTXError) as raised:
            stage_one(model)
        text = str(raised.value)
        assert text.startswith("Step 1 (sigma 1): ")
        causes = text.split("What can cause it: ")[1].split("; ")
        assert causes[0] == f"LoRA {names.lora} at strength 8"
        assert causes[1] == "ComfyUI's flags --use-sage-attention"
        assert causes[2] == "guidance scales that are far too high"
        assert "damaged" in causes[-1]

    def test_names_fp8_and_no_lora_that_is_off(self, run, names, broken, stage_one):
        model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="fp8")
        model = run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.0, strength_stage_two=1.0)
        broken(model)
        with pytest.raises(LTXError, match="What can cause it: weights in fp8 .set weight dtype to bf16"):
            stage_one(model)
