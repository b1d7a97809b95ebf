"""Each Triton kernel against its plain twin and against float64: on a GPU if there is one, else interpreted.

Outputs are compared whole, from memory that was poisoned before, on fresh random inputs.
"""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be set before triton is imported

from ltx_duo.ltx_core.kernels import norm as plain_norm
from ltx_duo.ltx_core.kernels import triton_heads, triton_norm, triton_pixel_norm
from ltx_duo.ltx_core.kernels.heads import gate_heads, norm_rotate
from ltx_duo.ltx_core.kernels.norm import Norm, TokenVector
from ltx_duo.ltx_core.kernels.pixel_norm import EPS as PIXEL_EPS
from ltx_duo.ltx_core.kernels.pixel_norm import add_update, convolve_apart, repeat_ends
from ltx_duo.ltx_core.kernels.rotary import RotaryTable
from ltx_duo.ltx_core.transformer.rope import rotary_table

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPS = 1e-6
# Half a bfloat16 step is 2e-3 of a number, and a sum may be rounded the other way than float64's; Triton's interpreter
# rounds towards zero, which is four times that.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 6e-3 if DEVICE == "cuda" else 2e-2}


@pytest.fixture(autouse=True)
def plain_twins(monkeypatch):
    """The functions of kernels.norm and kernels.heads take their plain path, whatever the device."""
    monkeypatch.setattr(plain_norm, "can_fuse", lambda x: False)
    monkeypatch.setattr("ltx_duo.ltx_core.kernels.heads.can_fuse", lambda x: False)
    monkeypatch.setattr("ltx_duo.ltx_core.kernels.pixel_norm.can_fuse", lambda x: False)


@pytest.fixture
def draw(rng):
    return lambda *shape, dtype=torch.float32: torch.randn(shape, generator=rng).to(DEVICE, dtype)


def assert_close(result: torch.Tensor, exact: torch.Tensor, dtype: torch.dtype) -> None:
    assert result.shape == exact.shape
    error = (result.double() - exact.double()).abs().max() / exact.double().abs().max()
    assert error <= TOLERANCE[dtype], f"{error:.1e}"  # NaN fails


def widened(vector: TokenVector) -> TokenVector:
    return TokenVector(vector.values.double(), vector.index)


def poisoned(monkeypatch):
    """Fresh memory is NaN, so that an element that a kernel leaves out shows."""
    empty_like, empty = torch.empty_like, torch.empty
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: empty_like(*a, **k).fill_(float("nan")))
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **k).fill_(float("nan")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [96, 128])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("norms", [0, 1, 2])
@pytest.mark.parametrize("gated", [False, True])
def test_residual_norm(draw, rng, monkeypatch, dtype, width, indexed, norms, gated):
    rows, tokens, distinct = 3, 5, 4 if indexed else 1
    index = torch.randint(distinct, (1, tokens), generator=rng).to(DEVICE) if indexed else None
    table = draw(distinct, 5, width, dtype=dtype)
    shift_a, scale_a, shift_b, scale_b, gate = (TokenVector(vector, index) for vector in table.unbind(1))
    pairs = ((shift_a, scale_a), (shift_b, scale_b))[:norms]
    x, update = draw(rows, tokens, width, dtype=dtype), draw(rows, tokens, width, dtype=dtype)
    exact, _ = plain_norm.residual_norm(x.double(), update.double(), widened(gate) if gated else None, (), EPS)
    wide = [Norm(widened(shift), widened(scale)) for shift, scale in pairs]
    exact_norms = [plain_norm.modulated_norm(exact.to(dtype).double(), norm, EPS).tensor for norm in wide]
    own = tuple(Norm(*pair) for pair in pairs)
    twin, twin_norms = plain_norm.residual_norm(x, update, gate if gated else None, own, EPS)
    poisoned(monkeypatch)
    result, results, quantised = triton_norm.residual_norm(x.clone(), update, gate if gated else None, pairs, EPS)
    assert_close(result, exact, dtype)
    assert_close(twin, exact, dtype)
    assert len(results) == norms and quantised == []
    for kernel, plain, reference in zip(results, twin_norms, exact_norms, strict=True):
        assert_close(kernel, reference, dtype)
        if dtype == torch.float32:  # in bfloat16 the twin rounds after every operation
            assert_close(plain.tensor, reference, dtype)


def test_norm_alone_leaves_its_input(draw, monkeypatch):
    x = draw(2, 3, 64)
    before = x.clone()
    poisoned(monkeypatch)
    _, (normed,), _ = triton_norm.residual_norm(x, None, None, ((None, None),), EPS)
    assert torch.equal(x, before)
    assert_close(normed, plain_norm.rms_norm(before.double(), EPS), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("axes", [0, 1, 3])
@pytest.mark.parametrize(("heads", "head_dim"), [(4, 24), (2, 64)])
def test_norm_rotate(draw, rng, monkeypatch, dtype, axes, heads, head_dim):
    rows, tokens, width = 3, 7, heads * head_dim
    x, weight = draw(rows, tokens, width, dtype=dtype), draw(width, dtype=dtype)
    positions = torch.randint(4, (axes, tokens), generator=rng).to(DEVICE)
    table = rotary_table(positions, (3.0,) * axes, width, heads, 100.0) if axes else None
    wide = table and RotaryTable(table.cos.double(), table.sin.double(), table.index, width, heads)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # the twin's own float32 would hide the error
    exact = norm_rotate(x.double(), weight.double(), heads, wide, EPS)
    monkeypatch.undo()
    poisoned(monkeypatch)
    result = triton_heads.norm_rotate(x, weight, heads, table, EPS)
    assert result.transpose(1, 2).is_contiguous()
    assert_close(result, exact, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gate_heads(draw, monkeypatch, dtype):
    x, logits = draw(3, 6, 4, 24, dtype=dtype).transpose(1, 2), draw(3, 6, 4, dtype=dtype)
    exact = gate_heads([x.double()], logits.double())
    assert torch.equal(gate_heads([x[:1].double(), x[1:].double()], logits.double()), exact)
    poisoned(monkeypatch)
    for parts in ([x], [x[:1], x[1:]]):
        assert_close(triton_heads.gate_heads(parts, logits, fp8_rows=False), exact, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (1, 1)])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(1, 24, 1, 3, 5), (2, 48, 3, 4, 3)])
def test_repeat_ends(draw, monkeypatch, dtype, activate, before, after, biased, shape):
    x, bias = draw(*shape, dtype=dtype), draw(shape[1], dtype=dtype) if biased else None
    exact = repeat_ends(x.double(), before, after, activate=activate, bias=bias.double() if biased else None)
    poisoned(monkeypatch)
    result = triton_pixel_norm.norm_silu_pad(x, before, after, activate, PIXEL_EPS, bias)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    assert_close(result, exact, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 24, 1, 3, 5), (2, 48, 3, 11, 7)])
def test_add_update(draw, monkeypatch, dtype, shape):
    x, update, bias = draw(*shape, dtype=dtype), draw(*shape, dtype=dtype), draw(shape[1], dtype=dtype)
    exact = add_update(x.double(), update.double(), bias.double())
    poisoned(monkeypatch)
    assert_close(triton_pixel_norm.add_update(x, update, bias), exact, dtype)


def test_a_convolution_apart_from_its_bias_is_the_whole(draw, monkeypatch):
    conv = torch.nn.Conv3d(6, 4, 3, padding=(0, 1, 1), device=DEVICE)
    x = draw(1, 6, 4, 5, 3)
    monkeypatch.setattr("ltx_duo.ltx_core.kernels.pixel_norm.can_fuse", lambda x: True)
    with torch.no_grad():
        result, bias = convolve_apart(conv, x)
        assert_close(result + bias[:, None, None, None], conv(x).double(), torch.float32)
