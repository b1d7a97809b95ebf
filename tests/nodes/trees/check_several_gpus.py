"""Stages on several GPUs: the bits of one, LoRAs on all, and what becomes of cards that are small, fail or are slow.

The second GPU of these checks is the CPU under another name, with weights of its own.  With LTXDUO_CHECKS_ON_GPU=1 they
run on two real ones.
"""

import gc
import os
import threading
import weakref

import comfy.model_management as mm
import pytest
import torch

from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.ltx_core.execution.pass_split import divide_passes
from ltx_duo.ltx_core.execution.several_gpus import on_several_gpus
from ltx_duo.ltx_core.execution.splitting import PiecewiseModel
from ltx_duo.ltx_core.transformer.model import AVTransformer
from ltx_duo.nodes.comfyui import fitting, gpus, latents, several_gpus

if not hasattr(mm, "get_all_torch_devices"):
    pytest.skip("this ComfyUI knows one GPU", allow_module_level=True)

import nodes as core

ON_GPU = bool(os.environ.get("LTXDUO_CHECKS_ON_GPU"))
REAL = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
FIRST, SECOND, *MORE = REAL if ON_GPU else [torch.device("cpu"), torch.device("cpu", 0), torch.device("cpu", 1)]
# Sums in another order: other groups of passes, or divided tokens, through two steps.
CLOSE = 0.1 if ON_GPU else 1e-3


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch):
    """On real ones nothing of other checks is loaded: ComfyUI stumbles over models that go while it makes room."""
    monkeypatch.setattr(mm, "get_all_torch_devices", lambda **_: [FIRST, SECOND])
    yield
    if ON_GPU:
        mm.unload_all_models()
        gc.collect()
        mm.cleanup_models()


@pytest.fixture
def on_two(run, model):
    return run("SeveralGPUs", model=model, max_gpus=2)


@pytest.fixture
def on_tokens(monkeypatch):
    """Tokens are divided however few there are."""

    def divided(*arguments, **options):
        return on_several_gpus(*arguments, fewest_tokens=0, **options)

    monkeypatch.setattr(several_gpus, "on_several_gpus", divided)


@pytest.fixture
def computed(monkeypatch):
    """How many passes each transformer has computed, call by call, by the thread that it was in."""
    calls = {}
    forward = AVTransformer.forward

    def watched(model, video, audio, passes, *more):
        calls.setdefault(threading.current_thread() is threading.main_thread(), []).append(len(passes))
        return forward(model, video, audio, passes, *more)

    monkeypatch.setattr(AVTransformer, "forward", watched)
    return calls


def replica(model, number: int = 1) -> AVTransformer:
    return model.further(number)[SECOND]().module.transformer


def helpers_alive() -> int:
    return sum(thread.name.startswith("ltx-duo-gpu") for thread in threading.enumerate())


def in_groups(model, monkeypatch):
    """From here on one device computes the groups of passes that two would."""
    whole = PiecewiseModel._run

    def grouped(self, video, audio, passes, run_blocks):
        results = [None] * len(passes)
        for group in divide_passes(passes, 2, self.params.num_layers):
            found = whole(self, video, audio, [passes[i] for i in group], run_blocks)
            for index, own in zip(group, found, strict=True):
                results[index] = own
        return results

    monkeypatch.setattr(PiecewiseModel, "_run", grouped)


def told(nodes, **inputs) -> str:
    return "\n".join(nodes["LTXDuoSeveralGPUs"].execute(**inputs).ui["text"])


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_stage_one_has_the_bits_of_one_gpu(run, model, names, stage_one, same, computed, monkeypatch, strength):
    """With a LoRA before the node; both stages' own lie on all GPUs."""
    if strength:
        model = run("LoraLoader", model=model, lora=names.lora, strength_stage_one=strength, strength_stage_two=1.0)
    found = stage_one(run("SeveralGPUs", model=model, max_gpus=2))
    assert computed == {True: [2, 2], False: [2, 2]} and helpers_alive() == 0
    in_groups(model, monkeypatch)
    assert same(found, stage_one(model))


def test_a_lora_behind_the_node_lies_on_all(run, model, on_two, names, stage_one, same, monkeypatch):
    how = {"lora": names.lora, "strength_stage_one": 0.7, "strength_stage_two": 1.0}
    found = stage_one(run("LoraLoader", model=on_two, **how))
    assert not same(found, stage_one(on_two))
    in_groups(model, monkeypatch)
    assert same(found, stage_one(run("LoraLoader", model=model, **how)))


@pytest.mark.parametrize("how", ["fp8", "streamed", "dynamic"])
def test_weights_in_other_forms(run, names, stage_one, same, streaming, lazy_layers, monkeypatch, how):
    """In float8, streamed under a LoRA beside them, and in layers as dynamic VRAM makes them."""
    if how == "dynamic":
        lazy_layers()
    model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="fp8" if how == "fp8" else "auto")
    model = run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.7, strength_stage_two=1.0)
    several = run("SeveralGPUs", model=model, max_gpus=2)
    if how == "streamed":
        streaming()
    found = stage_one(several)
    if how == "fp8":
        assert {several.stage(1).in_fp8, several.further(1)[SECOND]().in_fp8} == {True}
    in_groups(model, monkeypatch)
    assert same(found, stage_one(model))


def test_stage_two_is_that_of_one_gpu(model, on_two, with_lora, stage_two, upsampled, on_tokens, computed):
    found = latents.take(stage_two(on_two, upsampled))
    assert len(computed[False]) == len(computed[True]) > 0
    for one, other in zip(found, latents.take(stage_two(model, upsampled)), strict=True):
        torch.testing.assert_close(one, other, atol=CLOSE, rtol=0)


def test_a_short_stage_two_stays_on_the_first(model, on_two, stage_two, upsampled, same, computed):
    assert same(stage_two(on_two, upsampled), stage_two(model, upsampled))
    assert False not in computed


@pytest.fixture
def theirs(names):
    return core.CheckpointLoaderSimple().load_checkpoint(names.checkpoint)[0]


@pytest.fixture
def split():
    from comfy_extras.nodes_multigpu import MultiGPUCFGSplitNode

    def put_on(model, count: int = 2):
        mm.cleanup_models_gc(), mm.cleanup_models()  # theirs stumbles over models that nobody holds any more
        return MultiGPUCFGSplitNode.execute(model, count).args[0]

    return put_on


def test_multigpu_cfg_split_of_comfyui_acts(nodes, run, theirs, split, names, stage_one, same, computed, monkeypatch):
    """With LoRAs of both loaders, before and after it."""

    def patched(model, strength):
        return core.LoraLoaderModelOnly().load_lora_model_only(model, names.lora, strength)[0]

    def with_all(divide):
        model = patched(divide(patched(theirs, 0.2)), 0.3)
        return run("LoraLoader", model=model, lora=names.lora, strength_stage_one=0.4, strength_stage_two=1.0)

    found = [stage_one(with_all(split)) for _ in range(2)][-1]
    assert computed == {True: [2] * 4, False: [2] * 4} and helpers_alive() == 0
    ours = stage_one(run("SeveralGPUs", model=patched(patched(theirs, 0.2), 0.7), max_gpus=2))
    in_groups(theirs, monkeypatch)
    expected = stage_one(with_all(lambda model: model))
    assert same(found, expected)
    for one, other in zip(latents.take(ours), latents.take(expected), strict=True):
        torch.testing.assert_close(one, other, atol=CLOSE, rtol=0)


def test_our_node_lowers_what_theirs_asked_for(run, theirs, split, stage_one, computed):
    stage_one(run("SeveralGPUs", model=split(theirs), max_gpus=1))
    assert False not in computed


def test_a_model_that_cannot_be_read_again_says_so(run, theirs):
    theirs.cached_patcher_init = None
    with pytest.raises(LTXError, match="cannot be read again for another GPU.*Load it by LTX Model Loader"):
        run("SeveralGPUs", model=theirs, max_gpus=2)


def test_what_the_node_says(nodes, model, monkeypatch):
    assert told(nodes, model=model, max_gpus=2).startswith(f"2 GPUs share the work: {FIRST}")
    assert told(nodes, model=model, max_gpus=3).endswith("; 3 were asked for")
    assert told(nodes, model=model, max_gpus=1) == "Nothing changes: max_gpus is 1"
    monkeypatch.setattr(mm, "get_all_torch_devices", lambda **_: [FIRST])
    assert told(nodes, model=model, max_gpus=2) == f"Nothing changes: ComfyUI has {'one' if ON_GPU else 'no'} GPU here"


def test_with_one_gpu_nothing_changes(model, on_two, stage_one, same, monkeypatch):
    monkeypatch.setattr(mm, "get_all_torch_devices", lambda **_: [FIRST])
    expected = stage_one(model)

    def never(*_, **__):
        raise AssertionError("one GPU needs no threads")

    monkeypatch.setattr(several_gpus, "on_several_gpus", never)
    assert same(stage_one(on_two), expected)


class TestACardThatFails:
    @pytest.fixture
    def reported(self, nodes, vae, texts, names):
        def say(model) -> str:
            inputs = {"vae": vae, "positive": texts[0], "negative": texts[1], "seed": 1, "noise_device": "cpu"}
            return "\n".join(nodes["LTXDuoStageOneSampler"].execute(model=model, **inputs, **names.size).ui["text"])

        return say

    def test_its_error_names_it_and_the_next_job_runs(self, on_two, stage_one, same):
        expected = stage_one(on_two)
        block = replica(on_two).transformer_blocks[1]
        handle = block.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("planted\nmore")))
        with pytest.raises(LTXError, match=rf"{SECOND} failed in its share of stage one.*\(planted\).*lower max_gpus"):
            stage_one(on_two)
        handle.remove()
        assert helpers_alive() == 0 and same(stage_one(on_two), expected)

    @pytest.mark.parametrize("times, passes", [(1, [1, 1]), (2, [1, 1])])
    def test_out_of_memory_makes_the_pieces_of_all_smaller(self, on_two, stage_one, computed, caplog, times, passes):
        expected = latents.take(stage_one(on_two))
        left = [times]

        def full(*_):
            if left[0]:
                left[0] -= 1
                raise torch.OutOfMemoryError("planted")

        handle = replica(on_two).transformer_blocks[1].register_forward_pre_hook(full)
        computed.clear()
        found = latents.take(stage_one(on_two))
        handle.remove()
        assert sum("not enough memory for stage one" in record.message for record in caplog.records) == times
        assert computed[True][-2:] == computed[False][-2:] == passes
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=CLOSE, rtol=0)
        assert helpers_alive() == 0

    def test_nothing_smaller_unloads_all(self, on_two, stage_one, same):
        expected = stage_one(on_two)

        def full(*_):
            raise torch.OutOfMemoryError("planted")

        handle = replica(on_two).transformer_blocks[1].register_forward_pre_hook(full)
        with pytest.raises(LTXError, match="not enough memory for stage one at 64x32, 9 frames"):
            stage_one(on_two)
        handle.remove()
        assert mm.current_loaded_models == [] and helpers_alive() == 0
        assert same(stage_one(on_two), expected)

    def test_a_small_one_is_named_and_left_out(self, model, on_two, reported, computed, monkeypatch):
        monkeypatch.setattr(several_gpus, "weights_on", lambda component: 40 * 2**30)
        monkeypatch.setattr(several_gpus, "available_on", lambda device: (50 if device == FIRST else 24) * 2**30)
        monkeypatch.setattr(several_gpus, "available_memory", lambda component: 50 * 2**30)
        said = reported(on_two)
        told = f"{SECOND} is not used: it has room for 24.0 GiB of the weights, where {FIRST} holds 40.0 GiB"
        assert told in said
        assert False not in computed and "Work shared" not in said
        monkeypatch.setattr(several_gpus, "available_on", lambda device: (50 if device == FIRST else 40) * 2**30)
        assert f"Work shared by {FIRST}, {SECOND}" in reported(on_two) and False in computed

    def test_one_that_has_no_bfloat16(self, on_two, monkeypatch):
        component, report = on_two.stage(1), several_gpus.NodeReport()
        monkeypatch.setattr(component, "compute_dtype", torch.bfloat16)
        monkeypatch.setattr(mm, "should_use_bf16", lambda device, **_: device != SECOND)
        assert not list(several_gpus._ready(component, on_two.further(1), 4, lambda pieces: 0.0, report))
        assert f"{SECOND} is not used: it does not compute in bfloat16, as {FIRST} does." in report.warnings

    def test_one_that_is_full_when_weights_are_loaded(self, on_two, reported, computed, monkeypatch):
        load = mm.load_models_gpu

        def full(models, **how):
            if any(patcher.load_device == SECOND for patcher in models):
                raise torch.OutOfMemoryError("planted")
            return load(models, **how)

        monkeypatch.setattr(mm, "load_models_gpu", full)
        said = reported(on_two)
        assert f"{SECOND} is not used: it ran out of memory while weights were loaded" in said
        assert False not in computed and "Work shared" not in said


def test_cancelling_stops_both(on_two, stage_one, same, monkeypatch):
    """The first GPU's passes are done when the user cancels; the other is between two blocks."""
    expected, begun, cancelled = stage_one(on_two), [], threading.Event()

    def slow(*_):
        begun.append(True)
        mm.interrupt_current_processing()
        threading.Timer(0.2, cancelled.set).start()
        assert cancelled.wait(60)

    handles = [block.register_forward_pre_hook(slow) for block in replica(on_two).transformer_blocks]
    with pytest.raises(mm.InterruptProcessingException):
        stage_one(on_two)
    for handle in handles:
        handle.remove()
    assert len(begun) == 1 and helpers_alive() == 0
    assert same(stage_one(on_two), expected)


def test_the_weights_of_all_gpus_are_comfyuis(on_two, stage_one):
    """They are loaded on their device, known to ComfyUI's caches, and unloaded with all others."""
    stage_one(on_two)
    loaded = [entry for entry in mm.current_loaded_models if entry.device == SECOND]
    assert len(loaded) == 1 and loaded[0].model in on_two.get_models()
    mm.unload_all_models()
    assert mm.current_loaded_models == []


def test_weights_of_a_further_gpu_never_wait_on_the_first(on_two, monkeypatch):
    """As ComfyUI has it with --highvram for its own device."""
    monkeypatch.setattr(mm, "unet_offload_device", lambda: FIRST if ON_GPU else torch.device("meta"))
    assert on_two.further(1)[SECOND]().patcher.offload_device == torch.device("cpu")


def test_nothing_keeps_the_weights_alive(run, model, stage_one, names):
    model = run("ModelLoader", checkpoint=names.checkpoint, weight_dtype="auto")
    several = run("SeveralGPUs", model=model, max_gpus=2)
    stage_one(several)
    gone = weakref.ref(several.further(1)[SECOND]().patcher.model)
    mm.unload_all_models()
    del model, several
    gc.collect()
    assert gone() is None


def test_a_sound_alone_says_that_it_is_on_one(nodes, on_two, texts, computed):
    how = {"positive": texts[0], "negative": texts[1], "seconds": 0.5, "steps": 2, "seed": 1, "noise_device": "cpu"}
    said = nodes["LTXDuoSoundSampler"].execute(model=on_two, **how).ui["text"]
    assert "A sound alone is made on one GPU" in said and False not in computed


@pytest.mark.skipif(not MORE, reason="needs three CUDA devices")
def test_three_gpus(monkeypatch, run, model, stage_one, computed):
    monkeypatch.setattr(mm, "get_all_torch_devices", lambda **_: [FIRST, SECOND, MORE[0]])
    expected = latents.take(stage_one(model))
    computed.clear()
    found = latents.take(stage_one(run("SeveralGPUs", model=model, max_gpus=8)))
    assert computed[True] == [2, 2] and sorted(computed[False]) == [1, 1, 1, 1]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=CLOSE, rtol=0)


def test_which_gpus_take_part(monkeypatch):
    third = torch.device("meta")
    monkeypatch.setattr(mm, "get_all_torch_devices", lambda **_: [SECOND, FIRST, third])
    assert gpus.further(1) == [] and gpus.further(2) == [SECOND] and gpus.further(9) == [SECOND, third]
    assert fitting.available_on(SECOND) > 0
