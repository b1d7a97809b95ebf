"""Encoded texts that are kept: where only one of two prompts changed, only that one is encoded."""

from collections import OrderedDict

from torch import Tensor

Features = tuple[Tensor, Tensor]

# Two prompts of 1024 tokens in float32 take 48 MiB, two of usual length a fifth of it.
MOST_BYTES = 64 * 2**20


class EncodedTexts:
    """Features by text, of the texts that were used last; on the CPU, `most_bytes` of them at most."""

    def __init__(self, most_bytes: int = MOST_BYTES):
        self.most_bytes = most_bytes
        self._kept: OrderedDict[str, Features] = OrderedDict()

    def get(self, text: str) -> Features | None:
        if text in self._kept:
            self._kept.move_to_end(text)
        return self._kept.get(text)

    def keep(self, text: str, features: Features) -> None:
        self._kept[text] = features
        self._kept.move_to_end(text)
        while self.size() > self.most_bytes:
            self._kept.popitem(last=False)

    def size(self) -> int:
        """Bytes of all that is kept; LTX-2.0 has one tensor for video and audio."""
        tensors = {id(tensor): tensor.nbytes for features in self._kept.values() for tensor in features}
        return sum(tensors.values())

    def clear(self) -> None:
        self._kept.clear()
