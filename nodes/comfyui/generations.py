"""What works together is of one generation of LTX-2: model, VAEs, and the latent that they made."""

from ...ltx_core.errors import VariantError
from ...ltx_core.generation import Generation


def check_together(**inputs: Generation | None) -> None:
    """VariantError that names two inputs of different generations; None fits to any."""
    known = [(name, generation) for name, generation in inputs.items() if generation is not None]
    for name, generation in known[1:]:
        first, its_own = known[0]
        if generation is not its_own:
            raise VariantError(
                f"{first} is of {its_own}, but {name} is of {generation}: their latents are not alike, and the film "
                "would be noise. Load both from files of one generation."
            )
