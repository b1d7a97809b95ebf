"""Gemma's tokenizer as LTX-2 uses it: the plain prompt after a begin-of-text token, no chat template."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import Tokenizer
from torch import Tensor

from ..errors import CheckpointError
from ..stubs import LOOKED_AT, check_json, stub

BOS_ID = 2
MAX_LENGTH = 1024
FILES = ("tokenizer.json", "tokenizer.model")  # in a folder, by the first that is there


class GemmaTokenizer:
    """Turns a prompt into token ids.  `split` gives the ids of a text without any special token around it."""

    def __init__(self, split: Callable[[str], list[int]], bos_id: int | None):
        if bos_id != BOS_ID:
            raise CheckpointError(
                f"This is not Gemma's tokenizer: its begin-of-text token has the id {bos_id}, expected {BOS_ID}. "
                "Use the tokenizer that belongs to the text encoder."
            )
        self._split = split

    @classmethod
    def from_folder(cls, path: str | Path) -> "GemmaTokenizer":
        """A Hugging Face folder with `tokenizer.json` or, failing that, `tokenizer.model`."""
        file = tokenizer_file(Path(path))
        read = cls.from_tokenizer_json if file.suffix == ".json" else cls.from_sentencepiece
        return read(_bytes(file))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "GemmaTokenizer":
        """A single-file text encoder's embedded tokenizer: uint8 tensor `tokenizer_json` or `spiece_model`."""
        for name, read in (("tokenizer_json", cls.from_tokenizer_json), ("spiece_model", cls.from_sentencepiece)):
            if name in tensors:
                return read(tensors[name].cpu().numpy().tobytes())
        raise CheckpointError(
            "The text encoder file holds no tokenizer: expected a tensor tokenizer_json or spiece_model in it. Use a "
            "ComfyUI text encoder file of Gemma-3, LTX-2.5's text encoder, or the Hugging Face folder."
        )

    @classmethod
    def from_tokenizer_json(cls, data: bytes) -> "GemmaTokenizer":
        """The contents of a `tokenizer.json`."""
        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        # The library raises bare Exception for whatever it cannot read.
        except Exception as error:
            raise _unreadable("tokenizer.json", error) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(lambda text: tokenizer.encode(text, add_special_tokens=False).ids, tokenizer.token_to_id("<bos>"))

    @classmethod
    def from_sentencepiece(cls, data: bytes) -> "GemmaTokenizer":
        """The contents of a SentencePiece model (`tokenizer.model`); needs the `sentencepiece` package."""
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise CheckpointError(
                "This text encoder comes with a SentencePiece tokenizer, and the Python package sentencepiece is not "
                "installed. Install it (pip install sentencepiece), or use a folder with tokenizer.json."
            ) from error
        try:
            processor = SentencePieceProcessor(model_proto=data)
        except RuntimeError as error:
            raise _unreadable("SentencePiece model", error) from error
        return cls(processor.encode, processor.bos_id())

    def encode(self, text: str, max_length: int = MAX_LENGTH) -> list[int]:
        """Ids of `text` without its outer white space: begin-of-text first, no end, no padding, `max_length` at most.

        An empty text is legal and gives the begin-of-text token alone.  Halves of characters (lone surrogates, from a
        text that was cut inside an emoji) become U+FFFD.
        """
        return self._all(text)[:max_length]

    def count(self, text: str) -> int:
        """How many ids `encode` would give without a limit."""
        return len(self._all(text))

    def _all(self, text: str) -> list[int]:
        return [BOS_ID, *self._split(whole_characters(text).strip())]


def whole_characters(text: str) -> str:
    """Surrogates that stand as a pair become the character that they are, lone ones U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def tokenizer_file(folder: Path) -> Path:
    """The tokenizer in a Hugging Face folder; CheckpointError if there is none, or another thing lies in its place.

    Only the beginning is read: for use before the tokenizer is needed.
    """
    found = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{folder} holds no tokenizer: expected tokenizer.json or tokenizer.model there. Download the whole folder "
            "of the Gemma-3 text encoder, not only its weights."
        )
    start = _bytes(found, LOOKED_AT)
    if found.suffix == ".json":
        check_json(found, start, "the tokenizer of Gemma-3")
    elif not start or stub(start):
        kind, to_do = stub(start) or ("empty", "Download it again.")
        raise CheckpointError(f"{found} is {kind}; expected the tokenizer of Gemma-3. {to_do}")
    return found


def _bytes(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected the tokenizer of Gemma-3. Check its permissions."
        ) from None


def _unreadable(what: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The text encoder's {what} cannot be read ({error}). Use the one of Gemma-3 as Google released it; where it "
        "is that one, update the Python package tokenizers."
    )
