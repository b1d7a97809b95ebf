"""Errors that the engine raises on bad input.

Each message says what was found, what was expected and what to do about it.
"""


class LTXError(ValueError):
    """Base of every error that the engine raises on purpose."""


class CheckpointError(LTXError):
    """A file is missing, damaged, of the wrong kind, or does not hold what was asked of it."""


class VariantError(CheckpointError):
    """A file belongs to another model generation than the one it is used with."""


class GeometryError(LTXError):
    """A size, frame count, frame rate or latent shape that the model cannot take."""


class ConditioningError(LTXError):
    """Text or image conditioning that does not fit the model or the latent."""


class NotFiniteError(LTXError):
    """A result holds NaN or infinity.  `found` is the sentence that says so, without what can cause it."""

    def __init__(self, found: str, causes: str):
        super().__init__(f"{found} {causes}")
        self.found = found
