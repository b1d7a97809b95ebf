"""Whether a file holds a dev or a distilled model.

Both have the same tensors, shapes, config and metadata: among what an official file says of itself only its name tells.
"""

import re
from enum import Enum


class Kind(Enum):
    """How a model was trained: to run with guidance, or distilled to a few steps without."""

    DEV = "dev"
    DISTILLED = "distilled"

    def __str__(self) -> str:
        return self.value


# "distilled" as a word of its own, or with a version behind it; words before it that say the opposite.
_DISTILLED = re.compile(r"(?<![a-z])distil(?:l?ed|l)?(?![a-uw-z]|v(?!\d))")
_NEGATED = re.compile(r"(?<![a-z])(?:un|non?|not|de|pre|without)[^a-z0-9]*$")


def kind_of_name(name: str) -> Kind:
    """The kind by the words of a file's name, in lower, upper or camel case; folders before it say nothing.

    `name` may be a path with either kind of slash.  "distilled", "distil" and "distill" mean a distilled model or a
    LoRA that makes one; not within another word, as in "undistilled", nor negated, as in "non-distilled".
    """
    file = re.split(r"[\\/]", name)[-1]
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", file).lower()
    found = any(not _NEGATED.search(words[: match.start()]) for match in _DISTILLED.finditer(words))
    return Kind.DISTILLED if found else Kind.DEV
