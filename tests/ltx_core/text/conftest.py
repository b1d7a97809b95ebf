"""Fixtures of the text tests: the real Gemma-3 tokenizer, and its SentencePiece form."""

from pathlib import Path

import pytest

from ltx_duo.tests.sentencepiece_file import sentencepiece_file

TOKENIZER = Path(__file__).resolve().parents[3] / ".local" / "tokenizer"


@pytest.fixture(scope="session")
def tokenizer_folder() -> Path:
    """Folder with Gemma-3's tokenizer.json, put there by the scripts."""
    assert (TOKENIZER / "tokenizer.json").is_file(), f"{TOKENIZER} is missing: run scripts/test.sh, which fetches it"
    return TOKENIZER


@pytest.fixture(scope="session")
def sentencepiece_model(tokenizer_folder) -> bytes:
    """tokenizer.json written as the SentencePiece protobuf that ComfyUI's single files embed."""
    return sentencepiece_file(tokenizer_folder)
