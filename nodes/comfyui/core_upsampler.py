"""ComfyUI's own latent upscale model where a node takes an upsampler: the engine's network on its weights."""

from functools import partial
from typing import Any

from ...ltx_core.errors import LTXError, VariantError
from ...ltx_core.upsampler import LatentUpsampler, UpsamplerParams
from . import dtypes
from .borrowed import BorrowedModule, borrow
from .handles import UpsamplerHandle

UPSAMPLER = "comfy.ldm.lightricks.latent_upsampler.LatentUpsampler"

_TAKE = "Connect Load Latent Upscale Model or LTX Upsampler Loader, with ltx-2.3-spatial-upscaler-x2-1.1.safetensors."


class CoreUpsampler:
    """What LatentUpscaleModelLoader gives for LTX's files, as the nodes take an UpsamplerHandle: a patcher."""

    def __init__(self, patcher):
        self._patcher = patcher
        self.params = UpsamplerParams.from_config(patcher.model.config())
        self.params.check_doubles("upsampler, ComfyUI's latent upscale model,")
        self._choice = dtypes.as_loaded(patcher.model.get_dtype(), patcher.load_device, "latent upscale model")

    @property
    def note(self) -> str | None:
        """What is to be said of the dtype that it computes in."""
        return self._choice.note

    def component(self) -> BorrowedModule:
        build = partial(LatentUpsampler, self.params)
        network = borrow(build, self._patcher.model, what="ComfyUI's latent upscale model")
        return BorrowedModule(self._patcher, network, self._choice.compute)


def latent_upsampler(given: Any) -> UpsamplerHandle | CoreUpsampler:
    """What enlarges latents, from the input `upsampler`; LTXError for anything else, which says what."""
    if isinstance(given, UpsamplerHandle):
        return given
    if not hasattr(given, "model"):
        raise LTXError(f"upsampler is a {type(given).__name__}; expected LTX's x2 upsampler. {_TAKE}")
    kind = type(given.model)
    if f"{kind.__module__}.{kind.__qualname__}" != UPSAMPLER:
        # ComfyUI's loader also reads HunyuanVideo's, which come in a class of their own.
        raise VariantError(
            f"upsampler is of another model: ComfyUI's {kind.__name__}; expected LTX's x2 upsampler. {_TAKE}"
        )
    return CoreUpsampler(given)
