"""Gemma-3's tokenizer as ComfyUI's single files embed it."""

import json
import struct
from pathlib import Path


def sentencepiece_file(folder: Path) -> bytes:
    """The SentencePiece protobuf of `folder`'s tokenizer.json."""
    document = json.loads((folder / "tokenizer.json").read_bytes())
    rank = {}
    for index, (left, right) in enumerate(document["model"]["merges"]):
        rank.setdefault(left + right, index)
    special = {token["content"]: token["special"] for token in document["added_tokens"]}
    unknown, control, user_defined, byte, normal = 2, 3, 4, 6, 1
    pieces = []
    for piece in document["model"]["vocab"]:
        if piece == "<unk>":
            kind = unknown
        elif piece in special:
            kind = control if special[piece] else user_defined
        elif piece.startswith("<0x"):
            kind = byte
        else:
            kind = normal
        score = -float(rank[piece]) if piece in rank else -1e6 if kind == normal else 0.0
        body = _text(1, piece.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score) + _number(3, kind)
        pieces.append(_text(1, body))
    ids = _number(40, 3) + _number(41, 2) + _number(42, 1) + _number(43, 0)
    names = _text(45, b"<unk>") + _text(46, b"<bos>") + _text(47, b"<eos>") + _text(48, b"<pad>")
    trainer = _number(3, 2) + _number(35, 1) + ids + names  # byte-pair encoding with byte fall-back
    normaliser = _text(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    return b"".join(pieces) + _text(2, trainer) + _text(3, normaliser)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _text(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)
