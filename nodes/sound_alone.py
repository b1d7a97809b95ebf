"""What a sound without a picture can be given, and how long it may be, in words."""

from ..ltx_core.errors import ConditioningError
from .given import Given

LEARNED_SECONDS = 20.0  # the model's audio positions reach so far
NEEDS_VAE = (
    "LTX Sound Sampler has no VAE to encode it: connect LTX VAE Loader or LTXVAudioVAELoader to audio_vae of LTX "
    "Reference Voice."
)
TAKES_VOICES = (
    "LTX Sound Sampler makes a sound without a picture, and takes a reference voice alone. Take it out of the chain, "
    "or make a film with LTX Stage One Sampler."
)


def check_given(given: Given) -> None:
    """ConditioningError for what belongs to a picture, and for a sound that is there already."""
    found = {
        "an image (LTX Image Condition)": bool(given.images),
        "a film (LTX Film Sound, LTX Retake, LTX Extend or LTX Region)": given.film is not None,
        "a reference video (LTX Reference Video)": bool(given.references),
        "a sound (LTX Sound Condition)": given.sound is not None,
    }
    for what, there in found.items():
        if there:
            raise ConditioningError(f"The conditions give {what}. {TAKES_VOICES}")


def long_sound(seconds: float) -> str | None:
    """What to say of a length beyond those that the model has learned."""
    if seconds <= LEARNED_SECONDS:
        return None
    return (
        f"The model has learned sounds of up to about {LEARNED_SECONDS:g} s; {seconds:g} s may fall apart towards the "
        "end. Make several, and join them."
    )
