"""How strongly a LoRA acts on each layer."""

from dataclasses import dataclass

from .names import Stream, is_cross, stream


@dataclass(frozen=True)
class StreamStrengths:
    """Factors on the strength: of what writes the picture, of what writes the sound, and of the attention between.

    The two directions of that attention count as both: as what they write to, and as cross.
    """

    video: float = 1.0
    audio: float = 1.0
    cross: float = 1.0

    def of(self, layer: str) -> float:
        """The factor of the layer with this official name."""
        own = self.audio if stream(layer) is Stream.AUDIO else self.video
        return own * self.cross if is_cross(layer) else own


@dataclass(frozen=True)
class Strengths:
    """The strength of a LoRA in one stage, and its factors."""

    overall: float
    streams: StreamStrengths = StreamStrengths()

    def of(self, layer: str) -> float:
        """The strength on the layer with this official name; 0 leaves it as it is."""
        return self.overall * self.streams.of(layer)

    @property
    def largest(self) -> float:
        """The largest that any layer has, with its sign."""
        factors = (s * c for s in (self.streams.video, self.streams.audio) for c in (1.0, self.streams.cross))
        return max((self.overall * factor for factor in factors), key=abs)
