"""What a noise schedule does that its user may not expect, in words; it runs all the same."""

from collections.abc import Iterator

from .names import RECIPE

# A schedule's first level may be a rounding below 1, and others begin close to it.
ALL_NOISE, NEARLY_ALL_NOISE = 1 - 1e-6, 0.98


def remarks(first: float, last: float, stage: int, own: bool, picture: bool | None) -> Iterator[str]:
    """Remarks on the schedule of stage 1 or 2, from noise level `first` to `last`; `own`: the user's.

    `picture`: whether the latent to start from holds one, or is an empty one as core's samplers ask for; None without.
    """
    if picture and first >= ALL_NOISE:
        begin = "The sigmas begin" if own else f"Without sigmas of your own, stage {('one', 'two')[stage - 1]} begins"
        yield (
            f"{begin} at 1, which is noise alone: nothing of the connected latent is left. Connect 'sigmas' that begin "
            f"below 1, e.g. ManualSigmas with 0.725, 0.421875, 0, or {('disconnect it', 'leave them open')[stage - 1]}."
        )
    if stage == 1 and picture is None and first < NEARLY_ALL_NOISE:
        yield (
            f"The sigmas begin at {first:.4g}, but without a latent stage one begins with noise alone, which is 1. "
            "Begin them with 1, or connect a latent to start from."
        )
    yield from _keeps_noise(last)


def sound_remarks(first: float, last: float) -> Iterator[str]:
    """Remarks on the schedule of a sound without a picture, which is made of noise alone."""
    if first < NEARLY_ALL_NOISE:
        yield f"The sigmas begin at {first:.4g}, but the sound begins with noise alone, which is 1. Begin them with 1."
    yield from _keeps_noise(last)


def _keeps_noise(last: float) -> Iterator[str]:
    if last > 0:
        yield f"The sigmas end at {last:.4g} and not at 0: the result keeps noise. End them with 0."


def unused_schedule(schedule: str | None, own: bool) -> str | None:
    """What to say of the choice of a schedule beside sigmas of the user's own."""
    if not own or schedule in (None, RECIPE):
        return None
    return f"schedule '{schedule}' has no effect: the connected sigmas count. Disconnect them, or set it to '{RECIPE}'."
