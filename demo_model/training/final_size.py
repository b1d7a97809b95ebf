"""The transformer goes on, mostly at the final size: of stage one's picture only a tenth reaches stage two.

What is missing there the transformer makes up, as stage one makes it from nothing.
"""

from .loop import Plan
from .network import TextToAV
from .pools import pools
from .run import Run
from .text_features import Components
from .transformer import Course, learn
from .transformer import trained as begun

PIECE = "final-size"
FULL = Course(Plan(9_245, 4e-4, warmup=100, weight_decay=0.01), 0.75, (32, 16))
SMALL = Course(Plan(12, 5e-3, warmup=2), 0.75, (2, 1))


def train(run: Run) -> None:
    """Trains the piece and leaves `final-size.safetensors`, as `transformer.safetensors` is."""
    network, _ = begun(run)
    learn(run, PIECE, SMALL if run.small else FULL, pools(run), network.train().requires_grad_(True))


def trained(run: Run) -> tuple[TextToAV, Components]:
    """As `transformer.trained`."""
    return begun(run, PIECE)
