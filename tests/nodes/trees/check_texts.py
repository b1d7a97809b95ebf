"""LTX Text Encode: what is encoded again, what a prompt may hold, and what the node says has no effect."""

import logging
import re
import time

import pytest
import torch

from ltx_duo.ltx_core import two_stage
from ltx_duo.ltx_core.errors import LTXError
from ltx_duo.nodes.comfyui import compat
from ltx_duo.nodes.comfyui.encoded import EncodedTexts
from ltx_duo.nodes.prompt_syntax import without_effect


@pytest.fixture
def fresh(encoder):
    """A text encoder that keeps no text yet."""
    encoder.encoded.clear()
    return encoder


@pytest.fixture
def encode(nodes):
    """Executes LTX Text Encode and gives its whole answer."""

    def execute(encoder, prompt, negative=""):
        node = nodes["LTXDuoTextEncode"]
        return node.execute(text_encoder=encoder, prompt=prompt, negative_prompt=negative)

    return execute


@pytest.fixture
def encoded(monkeypatch):
    """The texts that have gone through the encoder."""
    texts, whole = [], two_stage.encode_prompt

    def watched(tokenizer, encoder, prompt, *arguments):
        texts.append(prompt)
        return whole(tokenizer, encoder, prompt, *arguments)

    monkeypatch.setattr(two_stage, "encode_prompt", watched)
    return texts


def features(output) -> list[torch.Tensor]:
    return [conditioning[0][0] for conditioning in output.args]


class TestOnlyWhatChangedIsEncoded:
    def test_one_of_two_prompts(self, fresh, encode, encoded):
        first = features(encode(fresh, "a lake", "noise"))
        second = features(encode(fresh, "a river", "noise"))
        assert encoded == ["a lake", "noise", "a river"]
        third = features(encode(fresh, "a lake", "rain"))
        assert encoded == ["a lake", "noise", "a river", "rain"]
        assert torch.equal(first[1], second[1]) and torch.equal(first[0], third[0])
        assert not torch.equal(first[0], second[0])

    def test_kept_features_have_the_bits_of_fresh_ones(self, fresh, encode, encoded):
        kept = features([encode(fresh, "a lake", "noise"), encode(fresh, "a lake", "noise")][1])
        fresh.encoded.clear()
        again = features(encode(fresh, "a lake", "noise"))
        assert len(encoded) == 4
        assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))

    def test_equal_prompts_are_encoded_once(self, fresh, encode, encoded):
        one, other = features(encode(fresh, "a lake", "a lake"))
        assert encoded == ["a lake"] and torch.equal(one, other)

    def test_nothing_is_loaded_when_nothing_changed(self, fresh, encode, monkeypatch):
        encode(fresh, "a lake", "noise")
        monkeypatch.setattr(type(fresh), "component", lambda _: pytest.fail("loads the encoder"))
        encode(fresh, "noise", "a lake")

    def test_what_others_write_into_a_conditioning_stays_theirs(self, fresh, encode):
        first = features(encode(fresh, "a lake"))[0]
        expected = first.clone()
        first.zero_()
        assert torch.equal(features(encode(fresh, "a lake"))[0], expected)

    def test_a_text_that_failed_is_not_kept(self, fresh, encode, monkeypatch):
        with monkeypatch.context() as patched:
            nan = torch.full((1, 2, 4), float("nan"))
            patched.setattr(two_stage, "encode_prompt", lambda *_: (nan, nan))
            with pytest.raises(ValueError, match="text encoding holds NaN"):
                encode(fresh, "a lake")
        assert torch.isfinite(features(encode(fresh, "a lake"))[0]).all()

    def test_handles_do_not_share_texts(self, run, names, encoder):
        other = run("TextEncoderLoader", text_encoder="gemma-3-small", projection=names.checkpoint, device="cpu")
        assert other.encoded is not encoder.encoded

    def test_memory_is_bounded_and_the_last_used_stay(self):
        def pair():
            return torch.zeros(1, 2, 4), torch.zeros(1, 2, 1)  # 40 bytes

        kept = EncodedTexts(most_bytes=100)
        kept.keep("a", pair())
        kept.keep("b", pair())
        assert kept.get("a") is not None
        kept.keep("c", pair())
        assert kept.size() == 80
        assert kept.get("b") is None and kept.get("a") is not None and kept.get("c") is not None
        both = torch.zeros(1, 10, 1)  # LTX-2.0's text, which is the same for video and audio
        kept.keep("a", (both, both))
        assert kept.size() == 80
        kept.keep("large", (torch.zeros(1, 99, 4), torch.zeros(1, 99, 1)))
        assert kept.size() <= 100


class TestWhatAPromptMayHold:
    @pytest.mark.parametrize(
        "prompt, as_if",
        [
            ("a smile \ud83d", "a smile \ufffd"),
            ("a smile \ud83d\ude00", "a smile 😀"),
            (" \n\t ", ""),
            (7, "7"),
            (1.5, "1.5"),
            (True, "True"),
        ],
    )
    def test_is_encoded_as(self, encoder, encode, prompt, as_if):
        encoder.encoded.clear()
        found = features(encode(encoder, prompt))[0]
        encoder.encoded.clear()
        assert torch.equal(found, features(encode(encoder, as_if))[0])

    def test_a_zero_byte(self, encoder, encode):
        assert torch.isfinite(features(encode(encoder, "a\0b"))[0]).all()

    @pytest.mark.parametrize("prompt", [None, ["a", "b"], {"text": "a"}, b"a"])
    def test_what_is_no_text_is_refused(self, encoder, encode, prompt):
        with pytest.raises(LTXError, match=f"^negative_prompt is {re.escape(repr(prompt))}; expected text"):
            encode(encoder, "a lake", prompt)


class TestWhatHasNoEffectIsSaid:
    def test_tokens_beyond_the_limit(self, encoder, encode, caplog):
        words = "a cat and a dog " * 280
        count = encoder.tokenizer.count(words)
        assert count == 1401
        with caplog.at_level(logging.WARNING, "ltx_duo"):
            output = encode(encoder, words, "noise")
        [line] = output.ui["text"]
        assert line.startswith("In the prompt: it has 1,401 tokens and the model reads the first 1,024: the last 377 ")
        assert [record.message for record in caplog.records] == [f"LTX Duo: {line}"]
        assert features(output)[0].shape[1] == 1024

    def test_as_many_tokens_as_there_may_be(self, encoder, encode):
        text = "cat " * 1023
        assert encoder.tokenizer.count(text) == 1024
        assert encode(encoder, text).ui is None

    def test_weights_and_embeddings_of_either_prompt(self, encoder, encode):
        output = encode(encoder, "a (red:1.3) coat", "(ugly:2) embedding:easynegative <lora:lake:0.5>")
        first, *others = output.ui["text"]
        assert first.startswith("In the prompt: “(red:1.3)” weights nothing")
        assert [line.split("”")[0] for line in others] == [
            "In the negative prompt: “(ugly:2)",
            "In the negative prompt: “embedding:easynegative",
            "In the negative prompt: “<lora:lake:0.5>",
        ]

    def test_weights_do_nothing_indeed(self, encoder, encode):
        """They reach the model as they are written, as in core's encoder of LTX-2.3."""
        assert encoder.tokenizer.count("a (red:1.3) coat") > encoder.tokenizer.count("a red coat")

    def test_notes_are_on_the_node_at_the_end(self, fresh, encode, monkeypatch):
        shown = []
        monkeypatch.setattr(compat, "send_text", shown.append)
        output = encode(fresh, "a (red:1.3) coat")
        assert shown[-1] == output.ui["text"][0]

    @pytest.mark.parametrize(
        "prompt",
        [
            "(a dog:1.1)",
            "(a dog : 2)",
            "((cat:1.2) on a mat)",
            "(a (large) cat:1.3)",
            "(rain:.5)",
            "(fog:-1)",
            "(a long sentence about a dog and a cat that walk home in the rain:1.25)",
            "embedding:name",
            "bad, embedding:some/name.pt, rain",
            "<lora:film_look:0.8>",
        ],
    )
    def test_found(self, prompt):
        assert len(without_effect(prompt)) == 1

    @pytest.mark.parametrize(
        "prompt",
        [
            "",
            "a dog (the large one)",
            "they meet (at 10:45)",
            "16:9 (or 4:3)",
            "two scenes: 1) a dog 2) a cat",
            'he says: "(well: yes)"',
            r"\(word:1.3\)",
            "an embedding: words as numbers",
            "<b>bold</b>",
            ")(",
        ],
    )
    def test_plain_words(self, prompt):
        assert without_effect(prompt) == []

    @pytest.mark.parametrize(
        "prompt", ["(" * 10**5, "(a:" + "1" * 10**5, "(a:1.3" * 10**5, "((a: 1)" * 10**4 + "x" + ")" * 10**5]
    )
    def test_hostile_prompts_take_no_time(self, prompt):
        begin = time.process_time()
        without_effect(prompt)
        assert time.process_time() - begin < 2
