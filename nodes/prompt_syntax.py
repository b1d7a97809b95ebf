"""Signs in a prompt that mean something to other text encoders or programs, and nothing to LTX-2.3's.

Gemma reads a prompt as it is written.  ComfyUI's own LTX-2.3 encoder does the same: it takes weights for text.
"""

import re

_EMBEDDING = re.compile(r"(?:^|(?<=\s))embedding:[^\s,]{1,40}")
_LORA = re.compile(r"<lora:[^<>\n]{1,40}>")
# What stands before the closing parenthesis of "(word:1.3)"; not of "(at 10:45)".
_WEIGHT = re.compile(r"[^\d\s:]\s{0,3}:\s{0,3}[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s{0,3}$")
_LONGEST_WEIGHT, _SHOWN = 40, 30


def without_effect(prompt: str) -> list[str]:
    """A sentence on each kind of sign in `prompt` that does not do what it does elsewhere."""
    found = []
    if weighted := _weighted(prompt):
        found.append(
            f"“{weighted}” weights nothing: LTX-2.3 reads the parentheses and the number as text. Say in more words "
            "what matters."
        )
    if embedding := _EMBEDDING.search(prompt):
        found.append(f"“{embedding[0]}” loads nothing: LTX-2.3 reads it as text. Take it out.")
    if lora := _LORA.search(prompt):
        found.append(f"“{lora[0]}” loads nothing: LTX-2.3 reads it as text. Use LTX LoRA Loader.")
    return found


def _weighted(prompt: str) -> str | None:
    """The first "(word:1.3)", shortened; a parenthesis after a backslash is none."""
    opened: list[int] = []
    for i, char in enumerate(prompt):
        if char not in "()" or prompt[max(0, i - 1) : i] == "\\":
            continue
        if char == "(":
            opened.append(i)
        elif opened:
            start = opened.pop()
            if _WEIGHT.search(prompt[max(start + 1, i - _LONGEST_WEIGHT) : i]):
                group = prompt[start : i + 1]
                return group if len(group) <= _SHOWN else f"{group[: _SHOWN // 2]}…{group[-_SHOWN // 2 :]}"
    return None
