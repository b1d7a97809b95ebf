"""Recorders for tests: real ones on a GPU, elsewhere a stand-in that runs again what was recorded."""

import contextlib

from ltx_duo.ltx_core.execution.capture import CudaRecorder
from ltx_duo.tests.ltx_core.transformer.scenes import DEVICE


class Cancelled(Exception):
    pass


class Reporter:
    """Counts, and raises at the check that `stop_at` names."""

    def __init__(self):
        self.checks, self.stop_at = 0, None

    def check_cancel(self) -> None:
        self.checks += 1
        if self.checks == self.stop_at:
            raise Cancelled

    def step(self, done, total, video_x0=None) -> None:
        pass


class Done:
    """The event of work that is finished."""

    def synchronize(self) -> None:
        pass


class Again:
    """In the place of a GPU's recorder: what was recorded runs again."""

    def suits(self, x) -> bool:
        return True

    def may_record(self) -> bool:
        return True

    def has_room(self, device) -> bool:
        return True

    def side_by_side(self, device, inner):
        return contextlib.nullcontext(inner)

    def mark(self) -> Done:
        return Done()

    def open(self, device):
        def capture(function):
            outputs = function()

            def replay():
                for old, new in (pair for pair in zip(outputs, function(), strict=True) if pair[0] is not None):
                    old.copy_(new)

            return replay, outputs

        return capture


class Logged(CudaRecorder if DEVICE == "cuda" else Again):
    """Lists what was recorded and replayed, and whether side by side."""

    def __init__(self):
        super().__init__()
        self.log, self.opened = [], 0

    def side_by_side(self, device, inner):
        self.opened += 1
        return super().side_by_side(device, inner)

    def open(self, device):
        capture = super().open(device)

        def logged(function):
            self.log.append("record")
            replay, outputs = capture(function)
            return lambda: (self.log.append("replay"), replay())[1], outputs

        return logged
