"""Long attentions by a FlashAttention package: which go there, what it is given, and what happens where it fails."""

import logging
import sys
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from ltx_duo.ltx_core.execution.capture import CudaRecorder
from ltx_duo.ltx_core.kernels import attention, flash
from ltx_duo.ltx_core.kernels.attention import attend, scaled_dot_product

CPU = torch.device("cpu")
LONG = 24


class Package(ModuleType):
    """A package with the interface of fa3-fwd 0.0.3 and of flash-attn-4; `more`: what its result is besides."""

    def __init__(self, name: str, scale: float = 1.0, more: tuple = (), error: Exception | None = None):
        super().__init__(name)
        self.scale, self.more, self.error, self.seen = scale, more, error, []

    def flash_attn_func(self, q, k, v, softmax_scale=None, causal=False):
        if self.error is not None:
            raise self.error
        assert softmax_scale is None and not causal and {q.dtype, k.dtype, v.dtype} == {torch.bfloat16}
        assert q.shape[::2] == k.shape[::2] == v.shape[::2]  # (B, T, H, D): batch and heads
        assert k.shape == v.shape and q.shape[3] == k.shape[3] and q.stride(-1) == k.stride(-1) == v.stride(-1) == 1
        self.seen.append((q.shape, k.shape))
        out = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2) * self.scale
        return (out, *self.more) if self.more else out


@pytest.fixture
def install(monkeypatch):
    """A machine that pretends to have this GPU and these packages, and no others."""

    def installed(*packages: Package, capability=(9, 0)) -> None:
        found = {package.__name__: package for package in packages}
        for name in ("flash_attn_interface", "fa3_fwd_interface", "flash_attn", "flash_attn.cute"):
            monkeypatch.delitem(sys.modules, name, raising=False)
            if name in found:
                monkeypatch.setitem(sys.modules, name, found[name])
        if "flash_attn.cute" in found:
            monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
        monkeypatch.setattr(flash, "_capability", lambda device: capability)
        monkeypatch.setattr(flash, "_CHOICE", flash._Choice())
        monkeypatch.setattr(flash, "LONG", LONG)

    return installed


def heads(queries: int, keys: int, width: int = 128, dtype=torch.bfloat16, device="cpu") -> list[torch.Tensor]:
    """q, k and v as the transformer has them: (B, H, T, D), stored as (B, T, H, D)."""
    generator = torch.Generator(device).manual_seed(3)
    lengths = (queries, keys, keys)
    made = [torch.randn(1, length, 2, width, generator=generator, device=device) for length in lengths]
    return [x.to(dtype).transpose(1, 2) for x in made]


@pytest.mark.parametrize("more", [(), (torch.zeros(1),)], ids=["tensor", "with sums"])
@pytest.mark.parametrize(
    ("module", "capability", "name"),
    [
        ("flash_attn_interface", (9, 0), "FlashAttention 3"),
        ("fa3_fwd_interface", (9, 0), "FlashAttention 3"),
        ("flash_attn.cute", (9, 0), "FlashAttention 4"),
        ("flash_attn.cute", (10, 0), "FlashAttention 4"),
    ],
)
def test_long_attentions_go_to_the_package(install, module, capability, name, more):
    package = Package(module, more=more)
    install(package, capability=capability)
    q, k, v = heads(LONG + 8, LONG)
    assert flash.flash_name(CPU, LONG) is None  # not before it is tried
    made = attend(q, k, v)
    assert torch.equal(made, scaled_dot_product(q, k, v))
    assert package.seen[1:] == [((1, LONG + 8, 2, 128), (1, LONG, 2, 128))]  # after one trial
    attend(q, k, v)
    assert len(package.seen) == 3
    assert (flash.flash_name(CPU, LONG), flash.flash_name(CPU, LONG - 1)) == (name, None)


def test_the_best_package_is_taken(install):
    third, fourth = Package("fa3_fwd_interface"), Package("flash_attn.cute")
    install(third, fourth)
    attend(*heads(LONG, LONG))
    assert third.seen and not fourth.seen


def test_all_else_stays_pytorchs(install):
    package = Package("fa3_fwd_interface")
    install(package)
    attend(*heads(LONG, LONG))
    before = len(package.seen)
    for inputs in (heads(LONG - 1, LONG), heads(LONG, LONG - 1), heads(LONG, LONG, 64),
                   heads(LONG, LONG, dtype=torch.float16), heads(LONG, LONG, dtype=torch.float32),
                   [*heads(LONG, LONG), torch.zeros(1, 1, LONG, LONG, dtype=torch.bfloat16)]):  # fmt: skip
        assert torch.equal(attend(*inputs), scaled_dot_product(*inputs))
    learning = [x.requires_grad_() for x in heads(LONG, LONG)]
    attend(*learning).sum().backward()
    assert len(package.seen) == before and learning[0].grad is not None


@pytest.mark.parametrize(
    ("package", "capability", "said"),
    [
        (None, (9, 0), None),
        (Package("fa3_fwd_interface"), (12, 0), None),
        (Package("fa3_fwd_interface"), (10, 0), None),
        (Package("fa3_fwd_interface", error=RuntimeError("no kernel image\nCompile with")), (9, 0), "no kernel image"),
        (Package("fa3_fwd_interface", scale=1.05), (9, 0), "away from PyTorch's"),
        (Package("fa3_fwd_interface", scale=float("nan")), (9, 0), "away from PyTorch's"),
        (ModuleType("fa3_fwd_interface"), (9, 0), "AttributeError"),
    ],
    ids=["none", "consumer Blackwell", "FA3 on Blackwell", "other build", "wrong", "not finite", "other interface"],
)
def test_what_does_not_work_is_not_used(install, caplog, package, capability, said):
    caplog.set_level(logging.INFO, "ltx_duo")
    install(*(() if package is None else (package,)), capability=capability)
    q, k, v = heads(LONG, LONG)
    for _ in range(2):
        assert torch.equal(attend(q, k, v), scaled_dot_product(q, k, v))
    assert flash.flash_name(CPU, LONG) is None
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (said is not None) and all(said in line and "\n" not in line for line in lines)
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_a_package_that_cannot_be_imported_is_told_once(install, caplog, monkeypatch, tmp_path):
    """As one that is built for another PyTorch, or misses a package of its own."""
    caplog.set_level(logging.INFO, "ltx_duo")
    install()
    (tmp_path / "flash_attn_interface.py").write_text("raise OSError('undefined symbol: _ZN3c10')")
    (tmp_path / "fa3_fwd_interface.py").write_text("import a_package_that_is_missing")
    monkeypatch.syspath_prepend(tmp_path)
    attend(*heads(LONG, LONG))
    attend(*heads(LONG, LONG))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and "undefined symbol" in lines[0] and "a_package_that_is_missing" in lines[1]


def test_a_trial_draws_from_no_one_elses_numbers(install):
    install(Package("fa3_fwd_interface"))
    before = torch.get_rng_state()
    attend(*heads(LONG, LONG))
    assert torch.equal(torch.get_rng_state(), before)


def on_gpu() -> flash.Flash:
    chosen = flash.flash_for(*heads(flash.LONG, flash.LONG, device="cuda"))
    if chosen is None:
        pytest.skip("needs a FlashAttention package")
    return chosen


def off(made: torch.Tensor, exact: torch.Tensor) -> float:
    return ((made.double() - exact).norm() / exact.norm()).item()


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [6144, 24576])
def test_gpu_the_package_is_as_exact_as_pytorch(tokens):
    on_gpu()
    q, k, v = heads(tokens, tokens, device="cuda")
    exact = attention.scaled_dot_product(*(x.double() for x in (q[:, :, ::64], k, v)))
    made, theirs = (function(q, k, v)[:, :, ::64] for function in (attend, scaled_dot_product))
    assert off(made, exact) <= 1.05 * off(theirs, exact) and not torch.equal(made, theirs)


@pytest.mark.gpu
def test_gpu_heads_in_any_order_of_storage():
    """As they come: of divided heads, and of the joined queries of several passes."""
    on_gpu()
    q, k, v = heads(4096, 4096, device="cuda")
    made = attend(q, k, v)
    assert made.transpose(1, 2).is_contiguous()
    assert torch.equal(attend(q.contiguous(), k, v.contiguous()), made)
    assert torch.equal(attend(*(x[:, 1:] for x in (q, k, v))), made[:, 1:])


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [flash.LONG, 24576])
def test_gpu_the_package_in_a_recording(tokens):
    on_gpu()
    q, k, v = heads(tokens, tokens, device="cuda")
    expected, of_doubled = attend(q, k, v), attend(2 * q, k, v)
    replay, (made,) = CudaRecorder().open(q.device)(lambda: (attend(q, k, v),))
    q.mul_(2)
    for _ in range(2):
        made.zero_()
        replay()
        assert torch.equal(made, of_doubled) and not torch.equal(made, expected)
