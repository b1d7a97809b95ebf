"""Gemma's tokenizer from the vocabulary that a GGUF file holds, against the published tokenizer.json."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ltx_duo.ltx_core.gguf_file import Vocabulary
from ltx_duo.ltx_core.text.gguf_vocabulary import tokenizer_of
from ltx_duo.tests.gguf_samples import sentencepiece_vocabulary

PIECES = ["the", "ing", "a", "B", " ", "  ", "\n\n", "\t", "\u2581", "\u2581\u2581", "\u00e9", "\u65e5", "\U0001f600",
          "</div>", "<bos>", "<unused7>", "<0x41>", "[multimodal]"]  # fmt: skip


@pytest.fixture(scope="module")
def published(tokenizer_folder) -> dict:
    return json.loads((tokenizer_folder / "tokenizer.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def ours(published) -> Tokenizer:
    return tokenizer_of(Vocabulary(*map(tuple, sentencepiece_vocabulary(published))))


def test_piece_for_piece_and_merge_for_merge(published, ours):
    found = json.loads(ours.to_str())
    # What no GGUF holds: a token for images, beyond the embeddings.
    added = {token["id"]: token["content"] for token in published["added_tokens"]}
    assert added.pop(262144) == "<image_soft_token>"
    assert {token["id"]: token["content"] for token in found["added_tokens"]} == added
    assert found["model"] == published["model"]
    assert found["normalizer"] == published["normalizer"] and found["pre_tokenizer"] == published["pre_tokenizer"]


def test_same_ids_for_every_text(tokenizer_folder, ours):
    theirs = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))

    @settings(max_examples=300)
    @given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=20).map("".join))
    def compare(text):
        encoded = [tokenizer.encode(text, add_special_tokens=False).ids for tokenizer in (ours, theirs)]
        assert encoded[0] == encoded[1]

    compare()
