"""What is seen and heard in a clip of the drawn world, drawn or generated: plain measurements, nothing trained."""

from .hearing import Heard, heard
from .seeing import Seen, seen

__all__ = ["Heard", "Seen", "heard", "seen"]
