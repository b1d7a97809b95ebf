"""Latent upsamplers, of which only the name tells what they are for: their tensors are alike in all generations."""

from ..generation import Generation, named_generation
from .kind import Kind
from .records import variant_of


def remark_on_upsampler(name: str, model: str, generation: Generation | None) -> str | None:
    """What is to be said where the upsampler's file, by its `name`, is for another generation than the `model`'s."""
    its_own = named_generation(name)
    if None in (its_own, generation) or its_own is generation:
        return None
    return (
        f"By its name {name} is for {its_own}, but {model} is of {generation}, whose latents are others: the film "
        f"would be noise. Choose {variant_of(Kind.DEV, generation).files.upsampler}."
    )
