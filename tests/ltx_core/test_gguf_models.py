"""Models in GGUF files by the engine alone: modules and tokenizers as from plain files."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.gguf_blocks import BLOCK_TYPES
from ltx_duo.ltx_core.inspect import inspect_file, main
from ltx_duo.ltx_core.loading import check_tokenizer, load_component, load_text_encoder, load_tokenizer
from ltx_duo.ltx_core.text.gemma import GemmaModel
from ltx_duo.ltx_core.text.gemma4 import Gemma4Model
from ltx_duo.ltx_core.text.gemma4_params import Gemma4Params
from ltx_duo.ltx_core.text.gemma_params import GemmaParams, GemmaRope
from ltx_duo.ltx_core.usable import Use, usable
from ltx_duo.scripts.small_model_parts.sizes import GEMMA_4_CONFIG
from ltx_duo.tests import gguf_samples as samples

KINDS = sorted(BLOCK_TYPES)
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "a", "b", "ab", "\u2581", "\u2581a", "  ", "<0x41>"]
VOCABULARY = (WORDS, [-1000.0] * 4 + [-9.0, -9.0, -1.0, -9.0, -2.0, -1000.0, 0.0], [3] * 4 + [1] * 5 + [4, 6])


@pytest.fixture
def gemma(rng):
    params = GemmaParams(
        vocab_size=len(WORDS), hidden_size=256, intermediate_size=512, heads=2, kv_heads=1, head_dim=128,
        sliding=(True,) * 2, sliding_window=1024, global_rope=GemmaRope(1_000_000.0, 8.0),
        local_rope=GemmaRope(10_000.0),
    )  # fmt: skip
    return {name: torch.empty(tensor.shape) for name, tensor in GemmaModel(params, device="meta").state_dict().items()}


@pytest.fixture
def written(tmp_path, gemma, rng):
    """Gemma with a matrix of each kind in turn as a GGUF file, and as a plain one with the same numbers."""

    def write(vocabulary=VOCABULARY):
        stored, plain = {}, {}
        for number, (name, tensor) in enumerate(gemma.items()):
            if tensor.ndim == 2:
                kind = KINDS[number % len(KINDS)]
                columns = tensor.shape[1] // BLOCK_TYPES[kind].size
                value = samples.random_blocks(kind, tensor.shape[0], columns, rng, (-14, -10))
                plain[name] = samples.expanded(kind, value)
            else:
                kind, value = "F32", torch.rand(tensor.shape, generator=rng) + 0.5
                plain[name] = value - 1
            stored[samples.gemma_name(name)] = (kind, value)
        samples.write(tmp_path / "packed.gguf", "gemma3", stored, vocabulary=vocabulary)
        save_file(plain, tmp_path / "plain.safetensors")
        return Checkpoint.open(tmp_path / "packed.gguf"), Checkpoint.open(tmp_path / "plain.safetensors")

    return write


def test_gemma_as_from_a_plain_file(written):
    models = [load_component(file, Component.GEMMA, dtype=torch.float32) for file in written()]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    for name, tensor in models[1].state_dict().items():
        assert torch.equal(models[0].state_dict()[name], tensor), name
    states = [model(torch.tensor([[2, 4, 8, 6]])) for model in models]
    assert all(torch.isfinite(a).all() and torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_gemma_4_with_its_projection_as_from_a_plain_file(tmp_path, rng):
    """As people pack LTX-2.5's text encoder, with llama.cpp's names for the language model alone."""
    config = GEMMA_4_CONFIG["text_config"] | {"vocab_size": 40}
    model = Gemma4Model(Gemma4Params.from_hf_config({**GEMMA_4_CONFIG, "text_config": config}), device="meta")
    stored, plain = {"rope_freqs.weight": ("F32", torch.ones(16))}, {}
    for name, tensor in model.state_dict().items():
        value = torch.randn(tensor.shape, generator=rng) * 0.2 + (0 if tensor.ndim == 2 else 1)
        kind = samples.kind_for(name, value, "Q8_0")
        plain[f"model.{name}"] = samples.expanded(kind, value)
        stored[samples.gemma_name(name)] = (kind, value)
    for name, rows in (("video", 128), ("audio", 64)):
        for part, shape in (("weight", (rows, 32 * 7)), ("bias", (rows,))):
            key, value = f"text_embedding_projection.{name}_aggregate_embed.{part}", torch.randn(shape, generator=rng)
            plain[key], stored[key] = samples.expanded("F32", value), ("F32", value)
    samples.write(tmp_path / "packed.gguf", "gemma4", stored)
    save_file(plain, tmp_path / "plain.safetensors")
    packed, other = (Checkpoint.open(tmp_path / name) for name in ("packed.gguf", "plain.safetensors"))
    assert packed.generation is Generation.V2_5
    [problem] = inspect_file(packed.path)[0].problems
    assert "is Gemma-4, whose vocabulary is not read from GGUF files" in problem
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}
    beside = {"version": "1.0", "added_tokens": [], "model": model}
    (tmp_path / "tokenizer.json").write_text(json.dumps(beside))
    assert inspect_file(packed.path)[0].problems == []
    ours, expected = (load_text_encoder(own, own, dtype=torch.float32) for own in (packed, other))
    assert isinstance(ours.gemma, Gemma4Model)
    ids = torch.randint(3, 40, (1, 9), generator=rng)
    assert all(torch.equal(a, b) for a, b in zip(ours.features(ids), expected.features(ids), strict=True))


def test_inspect_names_the_kinds(written):
    packed, _ = written()
    report, _ = inspect_file(packed.path)
    assert report.problems == [] and set(report.quantization) <= set(KINDS) and len(report.quantization) > 8
    assert report.uses == ["LTX Text Encoder Loader (text encoder)"]


def test_tokenizer_of_a_small_vocabulary(written):
    packed, _ = written()
    check_tokenizer(packed)
    # A piece joins before others by its score; spaces are marked; unknown characters are bytes where there are such.
    assert load_tokenizer(packed).encode("ab a  A") == [2, 6, 8, 9, 10]


def test_a_tokenizer_beside_it(written, capsys):
    packed, _ = written(None)
    beside = packed.path.parent / "tokenizer.json"
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    for start, good in ((2, True), (7, False)):
        words = {**vocabulary, "<bos>": start}
        model = {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}
        beside.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
        checkpoint = Checkpoint.open(packed.path)
        assert usable(checkpoint, Use.TEXT_ENCODER) == good
        report, _ = inspect_file(packed.path)
        assert (report.problems == []) == good and ("the tokenizer lies beside the weights" in report.notes) == good
        main([str(packed.path), "--json"])
        assert "tokenizer" not in json.loads(capsys.readouterr().out)["missing"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({2: "<s>"}, "found '<s>'"),
        ({5: "a"}, "every token once"),
        ({3: "unk"}, "not Gemma-3's"),
        (None, "no vocabulary of Gemma-3 in its metadata"),
    ],
)
def test_other_vocabularies_are_refused(written, change, words):
    tokens = [(change or {}).get(number, word) for number, word in enumerate(WORDS)]
    packed, _ = written(None if change is None else (tokens, *VOCABULARY[1:]))
    for attempt in (check_tokenizer, load_tokenizer):
        with pytest.raises(CheckpointError, match=words):
            attempt(packed)


def test_more_tokens_than_embeddings_are_refused(written):
    packed, _ = written(([*WORDS, "c"], [*VOCABULARY[1], 0.0], [*VOCABULARY[2], 1]))
    with pytest.raises(CheckpointError, match="12 tokens, but only 11 embeddings"):
        check_tokenizer(packed)
