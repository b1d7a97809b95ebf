"""What is wrong with a list of jobs or a call, in words that say what to do."""

SHOWN = 30


class JobFault(ValueError):
    """One thing that is wrong with one job."""


class BatchError(RuntimeError):
    """Why the batch cannot be made, or cannot go on."""


class Faults(BatchError):
    """All that is wrong with a list, each with its line; nothing was started."""

    def __init__(self, found: list[str]):
        self.found = found
        more = len(found) - SHOWN
        shown = found[:SHOWN] + ([f"... and {more} more"] if more > 0 else [])
        super().__init__("\n".join(["Nothing was started:", *shown]))
