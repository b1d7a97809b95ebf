"""Large tensors are filled piece by piece, so that a run can be cancelled meanwhile and needs no second copy."""

from collections.abc import Iterator

from ..progress import Reporter

# A CPU fills this many values in far less than a second.
MOST_VALUES = 2**22


def pieces(count: int, reporter: Reporter, values: int = 1) -> Iterator[slice]:
    """Slices of `count` rows of `values` values each, of at least MOST_VALUES values but for a single one.

    Asks for a cancel before each.
    """
    rows = max(1, MOST_VALUES // values)
    last = max(1, count // rows) - 1
    for number in range(last + 1):
        reporter.check_cancel()
        yield slice(number * rows, (number + 1) * rows if number < last else count)
