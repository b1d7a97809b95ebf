"""Prompts to CONDITIONINGs: each text is encoded once, and the node says what of it has no effect."""

from collections.abc import Iterator, Mapping, Sequence

from ...ltx_core import two_stage
from ...ltx_core.execution import memory_estimates
from ...ltx_core.text.tokenizer import MAX_LENGTH, whole_characters
from ..prompt_syntax import without_effect
from . import conditioning
from .encoded import Features
from .fitting import with_more_room
from .handles import TextEncoderHandle
from .memory import check_finite
from .progress import READING, NodeProgress
from .report import NodeReport


def encode_texts(handle: TextEncoderHandle, prompts: Mapping[str, str], report: NodeReport) -> list[list]:
    """One CONDITIONING for each of `prompts`, which are named as the report calls them: "prompt", "negative prompt".

    Texts that the handle has encoded before are not encoded again.
    """
    texts = {name: whole_characters(prompt) for name, prompt in prompts.items()}
    for name, text in texts.items():
        for sentence in _without_effect(handle, text):
            report.warn(f"In the {name}: {sentence}")
    features = {text: handle.encoded.get(text) for text in texts.values()}
    features |= _encode(handle, [text for text, known in features.items() if known is None])
    generation = handle.projection.generation
    return [conditioning.make(*features[text], generation) for text in texts.values()]


def _without_effect(handle: TextEncoderHandle, text: str) -> Iterator[str]:
    if (count := handle.tokenizer.count(text)) > MAX_LENGTH:
        yield (
            f"it has {count:,} tokens and the model reads the first {MAX_LENGTH:,}: the last {count - MAX_LENGTH:,} "
            "have no effect. Shorten it, or put what matters first."
        )
    yield from without_effect(text)


def _encode(handle: TextEncoderHandle, texts: Sequence[str]) -> dict[str, Features]:
    """Features of each text, which the handle keeps; the encoder is loaded only if there are any."""
    if not texts:
        return {}
    progress = NodeProgress({READING: 1, **{f"encoding prompt {i + 1}": 4 for i in range(len(texts))}})
    progress.phase(READING)
    component = handle.component()
    # Prompts are rarely longer: this asks for memory once, whatever their length.
    need = memory_estimates.text_encoder(handle.params, MAX_LENGTH, component.compute_dtype.itemsize)
    need += component.expanding_bytes
    component.load(need)
    encoded = {}
    for i, text in enumerate(texts):
        reporter = progress.phase(f"encoding prompt {i + 1}")

        def encode(text=text, reporter=reporter) -> Features:
            return two_stage.encode_prompt(handle.tokenizer, component.module, text, component.device, reporter)

        video, audio = with_more_room(encode, [component], need, "encoding the prompt")
        for tensor in (video, audio):
            check_finite(tensor, "text encoding", component)
        kept = video.cpu()
        encoded[text] = kept, kept if audio is video else audio.cpu()
        handle.encoded.keep(text, encoded[text])
        reporter.step(1, 1)
    return encoded
