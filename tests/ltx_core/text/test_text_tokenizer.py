"""Prompt -> token ids, from each form in which Gemma-3's tokenizer is distributed."""

import json
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.text.tokenizer import GemmaTokenizer

PROMPTS = (
    "The capital of France is",
    'A woman in a red coat, 35mm film; "stop!" she says -- it\'s 10:45.',
    "two  spaces,\ttab,\u00a0hard space",
    "first paragraph\n\n\nsecond",
    "naïve café 😀 👩\u200d👩\u200d👧 中文 العربية ﬁ ½",
    "control \x07 characters, ▁ and <b>markup</b>",
    "a zero\0byte",
    "cut \ud83d inside an emoji",
    "",
)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    return GemmaTokenizer.from_folder(tokenizer_folder)


def test_known_ids(tokenizer):
    assert tokenizer.encode("The capital of France is") == [2, 818, 5279, 529, 7001, 563]


def test_outer_white_space_is_no_part_of_a_prompt(tokenizer):
    assert tokenizer.encode(" \n\tThe capital of France is\n ") == tokenizer.encode("The capital of France is")
    assert tokenizer.encode("The  capital") != tokenizer.encode("The capital")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_prompt_is_one_token(tokenizer, text):
    assert tokenizer.encode(text) == [2]


def test_long_prompts_keep_their_beginning(tokenizer):
    whole = tokenizer.encode("a cat and a dog " * 400, max_length=10**6)
    cut = tokenizer.encode("a cat and a dog " * 400)
    assert len(whole) > 1024
    assert len(cut) == 1024
    assert cut == whole[:1024]
    assert tokenizer.encode("a cat and a dog", max_length=3) == whole[:3]


@pytest.mark.parametrize(
    "cut, whole",
    [
        ("a smile \ud83d", "a smile \ufffd"),
        ("\ude00 a smile", "\ufffd a smile"),
        ("one\ud83dtwo", "one\ufffdtwo"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a smile \ud83d\ude00", "a smile 😀"),  # two halves that other nodes have put together
        ("\ufeffa mark of byte order", "\ufeffa mark of byte order"),
    ],
)
def test_a_prompt_cut_inside_a_character_is_encoded(tokenizer, cut, whole):
    assert tokenizer.encode(cut) == tokenizer.encode(whole)


@given(st.text(alphabet=st.characters(codec=None, categories=None), max_size=40))
def test_any_text_is_encoded_and_counted(tokenizer, text):
    ids = tokenizer.encode(text)
    assert ids[0] == 2 and len(ids) == tokenizer.count(text)


def test_count_knows_no_limit(tokenizer):
    text = "a cat and a dog " * 400
    assert tokenizer.count(text) == len(tokenizer.encode(text, max_length=10**6)) > 1024
    assert tokenizer.count(" ") == 1


def test_sentencepiece_gives_the_same_ids(tokenizer, sentencepiece_model, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model)
    for other in (
        GemmaTokenizer.from_folder(tmp_path),
        GemmaTokenizer.from_tensors(
            {"spiece_model": torch.frombuffer(bytearray(sentencepiece_model), dtype=torch.uint8)}
        ),
    ):
        for prompt in PROMPTS:
            assert other.encode(prompt) == tokenizer.encode(prompt), prompt


def test_tokenizer_json_inside_a_weights_file(tokenizer, tokenizer_folder):
    data = np.fromfile(tokenizer_folder / "tokenizer.json", dtype=np.uint8)
    embedded = GemmaTokenizer.from_tensors({"tokenizer_json": torch.from_numpy(data)})
    for prompt in PROMPTS:
        assert embedded.encode(prompt) == tokenizer.encode(prompt), prompt


def test_padding_and_truncation_settings_of_the_file_are_ignored():
    """A tokenizer.json saved after a padded call asks for padding itself."""
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "cat": 4}
    document = {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 9},
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "<pad>",
        },
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    assert GemmaTokenizer.from_tokenizer_json(json.dumps(document).encode()).encode("cat dog cat") == [2, 4, 3, 4]
    vocabulary["<bos>"] = 5
    with pytest.raises(CheckpointError, match="not Gemma's tokenizer.*id 5, expected 2"):
        GemmaTokenizer.from_tokenizer_json(json.dumps(document).encode())


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="holds no tokenizer.*tokenizer.json or tokenizer.model"):
        GemmaTokenizer.from_folder(tmp_path)
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        GemmaTokenizer.from_tensors({"model.norm.weight": torch.zeros(2)})
    (tmp_path / "tokenizer.json").write_bytes(b'{"version": ')
    with pytest.raises(CheckpointError, match="tokenizer.json cannot be read"):
        GemmaTokenizer.from_folder(tmp_path)
    with pytest.raises(CheckpointError, match="tokenizer.json cannot be read"):
        GemmaTokenizer.from_tokenizer_json(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="SentencePiece model cannot be read"):
        GemmaTokenizer.from_sentencepiece(b"not a protobuf")
    with pytest.raises(CheckpointError, match="not Gemma's tokenizer"):
        GemmaTokenizer.from_sentencepiece(b"")


def test_absent_sentencepiece_package_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(CheckpointError, match="pip install sentencepiece"):
        GemmaTokenizer.from_sentencepiece(b"anything")
