"""GGUF files in the loaders: packed weights against a plain file that holds the same numbers."""

import asyncio
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES
from ltx_duo.nodes.comfyui import components, latents, memory
from ltx_duo.nodes.comfyui.files import names as listed
from ltx_duo.nodes.comfyui.files import open_checkpoint
from ltx_duo.nodes.names import ENCODER_FOLDERS, MODEL_FOLDERS, VAE_FOLDERS
from ltx_duo.tests import gguf_samples as samples

PREFIX = "model.diffusion_model."
CPU = torch.device("cpu")


def pair(folder, kind: str, tensors: dict, architecture: str, metadata: dict, name: str, rename=lambda name: name):
    """NAME.gguf with `tensors` in blocks of `kind`, and NAME.safetensors with what these hold in float32."""
    stored, plain = {}, {}
    for key, tensor in tensors.items():
        form = samples.kind_for(key, tensor, kind)
        # llama.cpp counts the weights of Gemma's norms from zero.
        added = 1 if architecture == "gemma3" and key.endswith("norm.weight") else 0
        stored[rename(key)] = (form, tensor.float() + added)
        plain[key] = samples.expanded(form, tensor.float() + added) - added
    vocabulary = metadata.pop("vocabulary", None)
    samples.write(folder / f"{name}.gguf", architecture, stored, metadata, vocabulary)
    return plain


@pytest.fixture
def model_files(models, names, folder):
    """A transformer with its connectors as a GGUF file and as a plain one; the prefix may be left out there."""

    def write(kind: str, prefix: str = PREFIX):
        path = models / "checkpoints" / names.checkpoint
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        tensors = {key: tensor for key, tensor in load_file(path).items() if key.startswith(PREFIX)}
        where = folder("diffusion_models")
        plain = pair(where, kind, tensors, "ltxv", dict(metadata), "packed", lambda key: prefix + key[len(PREFIX) :])
        save_file(plain, where / "plain.safetensors", metadata)
        return "packed.gguf", "plain.safetensors"

    return write


def load(run, name: str, weight_dtype: str = "auto"):
    return run("ModelLoader", checkpoint=name, weight_dtype=weight_dtype)


def close(a: dict, b: dict, tolerance: float = 2e-5) -> bool:
    return all(
        torch.isfinite(x).all() and (x - y).abs().max() <= tolerance * y.abs().max()
        for x, y in zip(latents.take(a), latents.take(b), strict=True)
    )


@pytest.mark.parametrize(("kind", "prefix"), [("Q8_0", PREFIX), ("Q4_0", ""), ("Q5_1", PREFIX)])
@pytest.mark.parametrize("how", ["loaded", "streamed", "made when loaded"])
def test_stage_one_as_with_the_plain_file(run, model_files, stage_one, streaming, lazy_layers, kind, prefix, how):
    packed, plain = (load(run, name) for name in model_files(kind, prefix))
    expected = stage_one(plain)
    if how == "streamed":
        streaming()
    elif how == "made when loaded":
        lazy_layers()
    assert close(stage_one(packed), expected)
    component = packed.stage(1)
    weights = [m for m in component.module.modules() if getattr(m, "block_type", None)]
    assert component.in_blocks and len(weights) > 50
    assert {m.block_type.name for m in weights} == {kind} and {m.weight.dtype for m in weights} == {torch.uint8}
    # ComfyUI counts the packed bytes.
    bits = 8 * BLOCK_TYPES[kind].bytes / BLOCK_TYPES[kind].size
    numbers = sum(m.in_features * m.out_features for m in weights)
    assert sum(m.weight.nbytes for m in weights) == numbers * bits / 8
    assert component.size() < 0.5 * plain.stage(1).size()
    assert component.expanding_bytes > plain.stage(1).expanding_bytes == 0


@pytest.mark.parametrize("way", ["functions", "as with dynamic VRAM"])
def test_lora_as_over_the_plain_file(run, names, model_files, stage_one, streaming, monkeypatch, way):
    packed, plain = (load(run, name) for name in model_files("Q8_0"))
    add = {"lora": names.lora, "strength_stage_one": 0.8, "strength_stage_two": 1.0}
    packed, plain = (run("LoraLoader", model=model, **add) for model in (packed, plain))
    expected = stage_one(plain)
    if way != "functions":
        monkeypatch.setattr(memory.PatchedModule, "is_dynamic", lambda self: True)
    found = stage_one(packed)
    assert close(found, expected) and not close(found, stage_one(load(run, "packed.gguf")), 1e-3)
    component = packed.stage(1)
    assert not component.patcher.patches
    assert all(not m.weight_function for m in component.module.modules() if getattr(m, "block_type", None))
    streaming()
    assert close(stage_one(packed), expected)


@pytest.mark.parametrize("how", ["loaded", "streamed", "made when loaded"])
def test_sound_alone_as_with_the_plain_file(run, model_files, texts, streaming, lazy_layers, how):
    def sound(model):
        inputs = {"positive": texts[0], "negative": texts[1], "seconds": 0.4, "steps": 2, "seed": 1}
        return run("SoundSampler", model=model, noise_device="cpu", **inputs)["samples"]

    packed, plain = (load(run, name) for name in model_files("Q8_0"))
    expected = sound(plain)
    if how == "streamed":
        streaming()
    elif how == "made when loaded":
        lazy_layers()
    made = sound(packed)
    assert (made - expected).abs().max() <= 2e-5 * expected.abs().max() and expected.std() > 0
    assert packed.built.parts["sound"].in_blocks and "model" not in packed.built.parts


def test_functions_come_off_again(run, names, model_files, stage_one, same):
    [packed, _] = model_files("Q8_0")
    model = load(run, packed)
    before = stage_one(model)
    add = {"lora": names.lora, "strength_stage_one": 1.0, "strength_stage_two": 0.0}
    assert not same(stage_one(run("LoraLoader", model=model, **add)), before)
    assert same(stage_one(model), before)


@pytest.mark.parametrize("weight_dtype", ["bf16", "fp8"])
def test_expanded_when_loaded(run, model_files, stage_one, weight_dtype):
    packed, plain = model_files("Q8_0")
    a, b = load(run, packed, weight_dtype), load(run, plain, "fp8" if weight_dtype == "fp8" else "auto")
    assert close(stage_one(a), stage_one(b), 0.02)
    layer = a.stage(1).module.transformer.transformer_blocks[0].attn1.to_q
    assert layer.weight.dtype == {"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}[weight_dtype]
    assert not a.stage(1).in_blocks


def test_what_the_node_says(nodes, model_files):
    [packed, _] = model_files("Q4_0")
    said = {}
    for weight_dtype in ("auto", "bf16", "fp8"):
        done = nodes["LTXDuoModelLoader"].execute(checkpoint=packed, weight_dtype=weight_dtype)
        said[weight_dtype] = " ".join(asyncio.run(done).ui["text"])
    assert "Q4_0" in said["auto"] and "weight_dtype" not in said["auto"]
    assert "expands this GGUF" in said["bf16"] and "rounds them once more" in said["fp8"]


@pytest.fixture
def text_files(models, folder):
    """Gemma as a GGUF file and as a plain one; the first takes the tokenizer from beside it."""

    def write(kind: str, vocabulary: tuple | None = None):
        whole = models / "text_encoders" / "gemma-3-small.safetensors"
        state = open_checkpoint(whole.name, ENCODER_FOLDERS).state_dict(components.Part.GEMMA)
        where = folder("text_encoders")
        plain = pair(where, kind, state, "gemma3", {"vocabulary": vocabulary}, "gemma", samples.gemma_name)
        with safe_open(whole, "pt") as file:
            plain["tokenizer_json"] = file.get_tensor("tokenizer_json")
        save_file(plain, where / "gemma-plain.safetensors")
        (where / "tokenizer.json").symlink_to(models / "text_encoders" / "gemma-3-small" / "tokenizer.json")
        return "gemma.gguf", "gemma-plain.safetensors"

    return write


def test_text_features_as_with_the_plain_file(run, names, text_files, streaming, measured):
    words = {"prompt": "A lake  at dawn,\n\n  <b>mist</b> \u00e9t\u00e9", "negative_prompt": "noise"}

    def load_text(file):
        return run("TextEncoderLoader", text_encoder=file, projection=names.checkpoint, device="default")

    encoders = [load_text(file) for file in text_files("Q8_0")]
    packed, plain = ([t[0][0] for t in run("TextEncode", text_encoder=e, **words)] for e in encoders)
    for ours, theirs in zip(packed, plain, strict=True):
        measured("text features of a packed Gemma", "plain file", ours, theirs, 2e-5)
    table = encoders[0].component().module.gemma.embed_tokens
    assert table.weight.dtype == torch.uint8 and table.block_type.name == "Q8_0"
    streaming()
    again = run("TextEncode", text_encoder=load_text("gemma.gguf"), **words)
    assert torch.equal(again[0][0][0], packed[0])


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_layer_of_each_kind(kind, rng):
    """Linear with bias, GELU and embedding: also those kinds that Python cannot quantise into."""

    class Net(torch.nn.Module):
        def __init__(self, ops, dtype=None, device=None):
            super().__init__()
            self.linear = ops.Linear(512, 64, dtype=dtype, device=device)
            self.table = ops.Embedding(64, 512, dtype=dtype, device=device)

        def forward(self, x, ids):
            return self.linear(x), self.linear.forward_gelu(x), self.table(ids)

    packed = samples.random_blocks(kind, 64, 512 // BLOCK_TYPES[kind].size, rng, (-12, -6))
    bias = torch.randn(64, generator=rng)
    plain = BLOCK_TYPES[kind].expand(packed)
    x, ids = torch.randn(3, 512, generator=rng), torch.tensor([[0, 63, 7]])
    results = []
    for weight, blocks in ((packed, {f"{n}.weight": BLOCK_TYPES[kind] for n in ("linear", "table")}), (plain, {})):
        state = {"linear.weight": weight, "linear.bias": bias, "table.weight": weight}
        placement = {"compute_dtype": torch.float32, "load_device": CPU, "offload_device": CPU}
        component = memory.build(Net, state, source="a file", blocks=blocks, **placement)
        results.append(component.load()(x, ids))
        assert component.patcher.model_size() == sum(tensor.nbytes for tensor in state.values())
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs) and theirs.abs().max() > 0


def test_broken_numbers_are_named(rng, models, names, folder, run, model_files):
    import gguf

    model_files("Q8_0")
    path = folder("diffusion_models") / "packed.gguf"
    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name.endswith("blocks.1.attn1.to_k.weight"))
    with path.open("r+b") as file:
        file.seek(int(tensor.data_offset))
        file.write(b"\x00\x7e")  # NaN as the first scale
    with pytest.raises(CheckpointError, match="blocks.1.attn1.to_k.weight.*NaN"):
        load(run, "packed.gguf")


def test_lists(folder, models):
    for kind in ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "latent_upscale_models"):
        (folder(kind) / "X.GGUF").write_bytes(b"GGUF")
    assert "X.GGUF" in listed(*MODEL_FOLDERS) and "X.GGUF" in listed(*ENCODER_FOLDERS)
    assert not any("X.GGUF" in listed(*kinds) for kinds in (VAE_FOLDERS, ("loras",), ("latent_upscale_models",)))


def refusal(nodes, node: str, **inputs) -> str:
    told = nodes[f"LTXDuo{node}"].validate_inputs(**inputs)
    assert told is not True
    return str(told)


def test_refused_at_queue(nodes, names, folder, model_files, rng):
    [packed, _] = model_files("Q8_0")
    for kind in ("vae", "latent_upscale_models", "loras"):
        (folder(kind) / packed).symlink_to(folder("diffusion_models") / packed)
    video = refusal(nodes, "VAELoader", checkpoint=packed, audio_file="same file")
    assert "for the transformer and the text encoder only" in video
    audio = refusal(nodes, "VAELoader", checkpoint=names.checkpoint, audio_file=packed)
    assert "vocoder" in audio
    assert "latent upsampler" in refusal(nodes, "UpsamplerLoader", upsampler=packed)
    assert "no other format" in refusal(nodes, "LoraLoader", lora=packed)
    other = {"blk.0.attn_q.weight": ("Q8_0", torch.randn(4, 64))}
    samples.write(folder("checkpoints") / "llama.gguf", "llama", other)
    assert "'llama'" in refusal(nodes, "ModelLoader", checkpoint="llama.gguf")


def test_kinds_that_cannot_be_expanded_are_refused_by_name(nodes, model_files, folder, monkeypatch):
    """As if Q5_1 were one of those that are not read."""
    from ltx_duo.ltx_core import gguf_file, quantization

    [packed, _] = model_files("Q5_1")
    for module in (gguf_file, quantization):
        monkeypatch.setattr(module, "BLOCK_TYPES", {n: t for n, t in BLOCK_TYPES.items() if n != "Q5_1"})
    told = refusal(nodes, "ModelLoader", checkpoint=packed)
    assert "as GGUF's Q5_1, which LTX Duo does not support" in told and "Q4_K" in told


def test_without_the_package(nodes, names, model_files, text_files, monkeypatch):
    [model, _], [gemma, _] = model_files("Q8_0"), text_files("Q8_0")
    monkeypatch.setitem(sys.modules, "gguf", None)
    for told in (
        refusal(nodes, "ModelLoader", checkpoint=model),
        refusal(nodes, "TextEncoderLoader", text_encoder=gemma, projection=names.checkpoint),
    ):
        assert "pip install gguf" in told and "damaged" not in told
    assert model in listed(*MODEL_FOLDERS)


def test_a_tokenizer_beside_it_is_looked_at_and_read_again(nodes, names, text_files, folder):
    [gemma, _] = text_files("Q8_0")
    beside = folder("text_encoders") / "tokenizer.json"
    good = beside.read_text()
    ask = {"text_encoder": gemma, "projection": names.checkpoint}
    assert nodes["LTXDuoTextEncoderLoader"].validate_inputs(**ask) is True
    beside.unlink()
    assert "tokenizer" in refusal(nodes, "TextEncoderLoader", **ask)
    beside.write_text(good.replace("<bos>", "<s>"))
    assert "not Gemma's tokenizer" in refusal(nodes, "TextEncoderLoader", **ask)
    beside.write_text(good)
    assert nodes["LTXDuoTextEncoderLoader"].validate_inputs(**ask) is True


def test_another_vocabulary_is_refused_at_queue(nodes, names, text_files):
    [gemma, _] = text_files("Q8_0", (["<pad>", "</s>", "<s>", "<unk>"], [0.0] * 4, [3] * 4))
    told = refusal(nodes, "TextEncoderLoader", text_encoder=gemma, projection=names.checkpoint)
    assert "not Gemma-3's: found '<s>'" in told
