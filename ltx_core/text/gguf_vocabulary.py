"""Gemma-3's tokenizer from the vocabulary in a GGUF file: the one of tokenizer.json, piece for piece.

llama.cpp keeps the pieces of the SentencePiece model with their scores, and leaves out how they were put together.
That follows from them: two pieces join where the vocabulary has the whole, those of the highest score first.
"""

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from ..errors import CheckpointError
from ..gguf_file import GgufFile, Vocabulary
from .tokenizer import BOS_ID, GemmaTokenizer

_CONTROL, _USERS, _BYTE = 3, 4, 6
_SPACE = "\u2581"  # SentencePiece's mark for a space


def check_vocabulary(file: GgufFile) -> Vocabulary:
    """The vocabulary; CheckpointError if it is damaged or not Gemma-3's."""
    vocabulary = file.vocabulary()
    tokens = vocabulary.tokens
    if len(tokens) <= BOS_ID or tokens[BOS_ID] != "<bos>" or "<unk>" not in tokens or len(set(tokens)) != len(tokens):
        found = repr(tokens[BOS_ID]) if len(tokens) > BOS_ID else f"{len(tokens)} tokens"
        raise CheckpointError(
            f"The vocabulary in {file.path} is not Gemma-3's: found {found}, expected {BOS_ID} to be the one <bos>, "
            "and every token once. Use a GGUF of Gemma-3 as llama.cpp writes it."
        )
    return vocabulary


def gemma_tokenizer(file: GgufFile) -> GemmaTokenizer:
    """The tokenizer inside a file, once it is checked.  Takes a few seconds."""
    tokenizer = tokenizer_of(check_vocabulary(file))
    return GemmaTokenizer(lambda text: tokenizer.encode(text, add_special_tokens=False).ids, BOS_ID)


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The fast tokenizer that Hugging Face's file describes, without anything around the text."""
    # The converter gives spaces back to the user's own pieces, and takes their scores away.
    texts = [
        text.replace(" ", _SPACE) if kind == _USERS else text
        for text, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
    ]
    ids = {text: number for number, text in enumerate(texts)}
    merges = []
    for text, score, kind in zip(texts, vocabulary.scores, vocabulary.kinds, strict=True):
        if kind in (_BYTE, _CONTROL):
            continue
        for cut in range(len(text) - 1, 0, -1):
            left, right = text[:cut], text[cut:]
            if left in ids and right in ids:
                merges.append((0.0 if kind == _USERS else score, len(left), len(right), left, right))
    merges.sort(key=lambda merge: merge[:3], reverse=True)
    pairs = [merge[3:] for merge in merges]
    model = models.BPE(ids, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    whole = [text for text, kind in zip(texts, vocabulary.kinds, strict=True) if kind in (_CONTROL, _USERS)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in whole])
    return tokenizer
