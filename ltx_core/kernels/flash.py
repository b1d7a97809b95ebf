"""FlashAttention 3 or 4 for long attentions, where a package that has it is installed and works on the GPU."""

import importlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger("ltx_duo")

# Queries and keys from which the packages are faster than PyTorch's kernels; the video's heads have this width.
LONG = 6144
HEAD_WIDTH = 128
# What there may be, best first, by the GPU's compute capability: Hopper, then Blackwell's large chips.
_FA3 = [("FlashAttention 3", "flash_attn_interface"), ("FlashAttention 3", "fa3_fwd_interface")]
_FA4 = [("FlashAttention 4", "flash_attn.cute")]
_PACKAGES = {(9, 0): [*_FA3, *_FA4], (10, 0): _FA4, (10, 3): _FA4}
_FURTHEST = 0.02  # relative distance from PyTorch's result; bfloat16 leaves 0.003


@dataclass(frozen=True)
class Flash:
    """A package's attention by its name for people; it works on (B, T, H, D)."""

    name: str
    module: str
    function: Callable[..., Tensor | tuple]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, Tq, D), k and v (B, H, Tk, D) -> (B, H, Tq, D), stored as (B, Tq, H, D)."""
        with torch.cuda.device_of(q):
            made = self.function(*(x.transpose(1, 2) for x in (q, k, v)))
        # Some of their versions give the logarithms of the sums, too.
        return (made[0] if isinstance(made, tuple) else made).transpose(1, 2)


def flash_for(q: Tensor, k: Tensor, v: Tensor) -> Flash | None:
    """What is faster than PyTorch for the attention of q (B, H, Tq, D) over k and v (B, H, Tk, D), without a mask."""
    if min(q.shape[2], k.shape[2]) < LONG or q.dtype != torch.bfloat16 or q.shape[-1] != HEAD_WIDTH:
        return None
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return None  # some packages have no way back
    return _CHOICE.on(q.device)


def flash_name(device: torch.device, tokens: int) -> str | None:
    """Who has computed the self-attention of so many tokens there, for people; None where it is PyTorch."""
    chosen = _CHOICE.known.get(device)
    return None if chosen is None or tokens < LONG else chosen.name


class _Choice:
    """What each device computes with; tried there once, before anything depends on it."""

    def __init__(self):
        self.known: dict[torch.device, Flash | None] = {}
        self._trying = threading.Lock()  # several GPUs are served from a thread each

    def on(self, device: torch.device) -> Flash | None:
        if device in self.known:
            return self.known[device]
        packages = _PACKAGES.get(_capability(device), ())
        if packages and torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return None  # nothing can be tried in a recording
        with self._trying:
            if device not in self.known:
                self.known[device] = next(filter(None, (_tried(*package, device) for package in packages)), None)
        return self.known[device]


_CHOICE = _Choice()


def _capability(device: torch.device) -> tuple[int, int] | None:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def _tried(name: str, module: str, device: torch.device) -> Flash | None:
    """The package's attention if it is there and right on this device."""
    try:
        flash = Flash(name, module, importlib.import_module(module).flash_attn_func)
        _check(flash, device)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            _tell(name, module, device, error)
        return None
    except Exception as error:  # built for another PyTorch, CUDA or GPU: whatever it raises, PyTorch's kernels do
        _tell(name, module, device, error)
        return None
    logger.info("LTX Duo: long attentions on %s by %s (%s)", device, name, module)
    return flash


def _tell(name: str, module: str, device: torch.device, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    logger.info(
        "LTX Duo: %s (%s) is installed but does not work on %s, attention stays PyTorch's: %s: %s",
        name, module, device, type(error).__name__, reason,
    )  # fmt: skip


def _check(flash: Flash, device: torch.device) -> None:
    """Raises unless a small attention comes out as PyTorch's, from inputs that lie as those of divided heads do."""
    generator = torch.Generator(device).manual_seed(1)
    drawn = torch.randn(3, 1, 320, 4, HEAD_WIDTH, generator=generator, device=device).bfloat16()
    q, k, v = drawn[..., 1:3, :].transpose(2, 3)
    expected, made = F.scaled_dot_product_attention(q.float(), k.float(), v.float()), flash(q, k, v).float()
    off = ((made - expected).norm() / expected.norm()).item()
    if not off < _FURTHEST:
        raise RuntimeError(f"its result is {off:.3f} away from PyTorch's")
