"""Float8 rows and products, against the numbers that they stand for."""

import os

import pytest
import torch
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be set before triton is imported

from ltx_duo.ltx_core.kernels import fp8, heads, norm, triton_fp8, triton_heads, triton_norm
from ltx_duo.ltx_core.kernels import layer_protocols as protocols
from ltx_duo.ltx_core.kernels.activation import Activation, read
from ltx_duo.ltx_core.kernels.fp8_linear import Fp8Linear, convert_linears
from ltx_duo.ltx_core.kernels.heads import gate_heads
from ltx_duo.ltx_core.kernels.norm import Norm, TokenVector
from ltx_duo.ltx_core.transformer.feed_forward import FeedForward

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# e4m3 has three bits behind the point: half a step is at most a sixteenth of a number.
HALF_STEP = {torch.float8_e4m3fn: 1 / 16, torch.float32: 1e-5}


@pytest.fixture(autouse=True)
def _unrounded_without_gpu(monkeypatch):
    """Triton's interpreter rounds float8 wrongly (126.9 to 64): there the kernels' numbers are seen before rounding."""
    if DEVICE == "cpu":
        monkeypatch.setattr(triton_fp8, "DTYPE", torch.float32)


@pytest.fixture
def draw(rng):
    return lambda *shape, dtype=torch.float32: torch.randn(shape, generator=rng).to(DEVICE, dtype)


def number(rows) -> torch.Tensor:
    values, scales = (rows.values, rows.scales) if isinstance(rows, fp8.Fp8Rows) else rows
    return values.float() * scales


def assert_within_steps(rows, exact: torch.Tensor) -> None:
    exact = exact.float().reshape(-1, exact.shape[-1])
    smallest = exact.abs().amax(dim=1, keepdim=True) / fp8.LARGEST * 2**-6  # below it the steps stop shrinking
    values = rows.values if isinstance(rows, fp8.Fp8Rows) else rows[0]
    allowed = exact.abs().maximum(smallest) * HALF_STEP[values.dtype] * 1.01
    error = (number(rows) - exact).abs()
    assert (error <= allowed).all(), f"off by {error.max():.1e}"


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_hold_the_numbers_to_half_a_step(draw, gelu, dtype):
    x = draw(2, 5, 96, dtype=dtype) * torch.logspace(-4, 4, 5, device=DEVICE, dtype=dtype)[:, None]
    x[0, 0] = 0
    exact = F.gelu(x.double(), approximate="tanh") if gelu else x.double()
    twin = fp8.gelu_rows(x.float()) if gelu else fp8.quantize_rows(x.float())
    assert_within_steps(twin, exact)
    assert_within_steps(triton_fp8.quantize_rows(x, gelu), exact)
    assert number(twin).abs().max() <= exact.abs().max() * 1.07


def test_norm_kernel_leaves_the_rows_of_what_it_returns(draw):
    x, update, vector = draw(2, 3, 64), draw(2, 3, 64), TokenVector(draw(1, 64), None)
    _, results, quantised = triton_norm.residual_norm(x.clone(), update, vector, ((vector, vector),) * 2, 1e-6, True)
    for result, rows in zip(results, quantised, strict=True):
        assert_within_steps(rows, result)
        for own, other in zip(rows, triton_fp8.quantize_rows(result, False), strict=True):
            assert torch.equal(own.float(), other.float())


def test_gate_kernel_gives_rows(draw):
    x, logits = draw(2, 6, 4, 24).transpose(1, 2), draw(2, 6, 4)
    rows = triton_heads.gate_heads([x[:1], x[1:]], logits, True)
    assert rows[0].shape == (12, 96)
    assert_within_steps(rows, gate_heads([x.cpu()], logits.cpu()).to(DEVICE))


class Reader(torch.nn.Linear):
    """A layer of somebody's that reads float8, if it is told so; it keeps what it got."""

    takes = True

    def takes_fp8_rows(self, x):
        return self.takes

    def forward(self, x):
        self.got = x
        return x.shape


@pytest.fixture
def reader():
    return Reader(32, 16, device=DEVICE, dtype=torch.bfloat16)


def test_an_activation_has_rows_for_a_reader_that_takes_them(draw, reader):
    x = draw(3, 5, 32, dtype=torch.bfloat16)
    made = Activation.made_for(reader, x)
    assert_within_steps(made.rows, x)
    assert read(reader, made) == x.shape and reader.got is made.rows
    for other in (None, torch.nn.Linear(32, 16)):
        assert Activation.made_for(other, x).rows is None
    assert Activation.made_for(reader, x.float()).rows is None
    reader.takes = False
    assert Activation.made_for(reader, x).rows is None
    read(reader, made)
    assert reader.got is x
    read(reader, x)
    assert reader.got is x


def test_entries_keep_their_rows_where_they_lie_in_front(draw, reader):
    whole = Activation.made_for(reader, draw(3, 5, 32, dtype=torch.bfloat16))
    for part in (whole[:2], whole.select((0, 1))):
        assert_within_steps(part.rows, whole.tensor[:2])
        assert part.rows.shape == part.tensor.shape == (2, 5, 32)
        assert part.rows.values.data_ptr() == whole.rows.values.data_ptr()  # no second quantisation
    assert whole[1:2].rows is None and torch.equal(whole[1:2].tensor, whole.tensor[1:2])


def test_entries_in_another_order_are_quantised_again_once(draw, reader):
    whole = Activation.made_for(reader, draw(3, 5, 32, dtype=torch.bfloat16))
    chosen = whole.select((2, 0, 0))
    assert torch.equal(chosen.tensor, whole.tensor[[2, 0, 0]])
    assert_within_steps(chosen.rows, chosen.tensor)
    assert Activation(whole.tensor).select((2, 0)).rows is None


def test_quantised_weight(draw):
    weight = draw(48, 64) * 1e-3
    weight[0, 0] = 0.01
    values, scale = fp8.quantize_weight(weight)
    assert values.dtype == torch.float8_e4m3fn
    assert values.float().abs().max() <= fp8.LARGEST / 2 * 1.07, "no room for a LoRA"
    error = (values.float() * scale - weight).norm() / weight.norm()
    assert 1e-4 < error < 0.04


def test_expanded_product_is_that_of_the_numbers(draw):
    x, bias = draw(2, 3, 64), draw(48)
    values, scale = fp8.quantize_weight(draw(48, 64))
    exact = F.linear(x.double(), values.double() * scale, bias.double())
    torch.testing.assert_close(fp8.expanded_linear(x, values, scale, bias).double(), exact, rtol=1e-5, atol=1e-5)
    plain = fp8.expanded_linear(x, values, scale, None).double()
    torch.testing.assert_close(plain, exact - bias.double(), rtol=1e-5, atol=1e-5)


def test_product_that_the_library_lacks_is_made_otherwise_and_other_failures_are_not_hidden(draw, monkeypatch):
    said = "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasLtMatmulAlgoGetHeuristic(...)`"

    def refuse(*_, **__):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    x, bias = draw(2, 3, 64, dtype=torch.bfloat16), draw(48, dtype=torch.bfloat16)
    values, scale = fp8.quantize_weight(draw(48, 64))
    scales = torch.full((1, 48), scale, device=DEVICE)
    exact = number(fp8.quantize_rows(x)).double() @ (values.double() * scale).T
    for added, expected in ((bias, exact + bias.double()), (None, exact)):
        result = fp8.fp8_linear(x, values, scales, added)
        assert result.shape == (2, 3, 48) and result.dtype == torch.bfloat16
        assert (result.double().view(6, 48) - expected).norm() < 6e-3 * expected.norm()
    said = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        fp8.fp8_linear(x, values, scales, bias)


@pytest.mark.parametrize(("outputs", "columns", "units"), [(48, 64, True), (4, 64, False), (48, 72, False)])
def test_weights_of_odd_sides_are_expanded(draw, monkeypatch, outputs, columns, units):
    """Also where somebody's file has them in float8, and whoever made x left its rows for other layers."""
    made = []

    def product(values, weight, scales, weight_scales, *, bias, out_dtype, use_fast_accum):
        made.append(weight.shape)
        return ((values.float() * scales) @ weight.float() * weight_scales + bias).to(out_dtype)

    monkeypatch.setattr(fp8, "fp8_matmul_works", lambda device: True)
    monkeypatch.setattr(torch, "_scaled_mm", product)
    x, bias = draw(2, 3, columns, dtype=torch.bfloat16), draw(outputs, dtype=torch.bfloat16)
    layer = Fp8Linear(*fp8.quantize_weight(draw(outputs, columns)), bias)
    assert fp8.takes_rows(layer, x) == units
    given = Activation(x, fp8.quantize_rows(x))
    result = layer(x)
    assert torch.equal(read(layer, given), result)
    assert len(made) == 2 * units
    exact = F.linear(x.double(), layer.weight.double() * layer.weight_scale, bias.double())
    error = (result.double() - exact).norm() / exact.norm()
    assert error < (0.05 if units else 5e-3)


def test_rows_of_scales_share_their_memory():
    rows = fp8.rows_of_scales([(16, 0.5), (48, 3.0)], torch.device(DEVICE))
    assert [row.shape for row in rows] == [(1, 16), (1, 48)]
    assert all((row == scale).all() for row, scale in zip(rows, (0.5, 3.0), strict=True))
    assert all(row.is_contiguous() and row.data_ptr() % 16 == 0 for row in rows)
    assert len({row.untyped_storage().data_ptr() for row in rows}) == 1


def test_the_layer_offers_what_is_asked_for(draw):
    layer = Fp8Linear(*fp8.quantize_weight(draw(16, 32)), None)
    assert all(protocols.offers(layer, protocol) for protocol in (protocols.TakesFp8Rows, protocols.TellsFixedWeights))
    assert not any(
        protocols.offers(other, protocols.TakesFp8Rows) for other in (None, torch.nn.Linear(2, 2), torch.nn.Identity())
    )


@pytest.mark.gpu
@pytest.mark.parametrize(("rows", "columns"), [(40, 256), (1, 256), (13, 8192), (26, 8192)])
def test_gpu_product_is_that_of_the_numbers(draw, rows, columns):
    x, bias = draw(2, rows, columns, dtype=torch.bfloat16)[: 1 + (rows == 40)], draw(128, dtype=torch.bfloat16)
    x[-1] *= 1000
    layer = Fp8Linear(*fp8.quantize_weight(draw(128, columns)), bias)
    assert layer.takes_fp8_rows(x)
    rows = fp8.quantize_rows(x)
    exact = number(rows).double() @ (layer.weight.double() * layer.weight_scale).T + bias.double()
    result = layer(x).double().view_as(exact)
    error = (result - exact).norm(dim=1) / exact.norm(dim=1)
    assert error.max() < 4e-3  # bfloat16's own rounding


def test_converted_feed_forward_stays_near(draw, rng):
    network = FeedForward(64, dtype=torch.bfloat16, device=DEVICE)
    blocks = torch.nn.ModuleDict({"transformer_blocks": torch.nn.ModuleList([network])})
    x = draw(2, 7, 64, dtype=torch.bfloat16)
    with torch.no_grad():
        exact = network(x)
        convert_linears(blocks)
        assert {type(m).__name__ for m in network.modules() if hasattr(m, "weight")} == {"Fp8Linear"}
        error = (network(x) - exact).norm() / exact.norm()
    assert 1e-3 < error < 0.08


def test_gates_and_odd_sizes_stay(draw):
    block = torch.nn.ModuleDict(
        {"to_gate_logits": torch.nn.Linear(64, 32), "odd": torch.nn.Linear(64, 40), "to_q": torch.nn.Linear(64, 64)}
    )
    convert_linears(torch.nn.ModuleDict({"transformer_blocks": torch.nn.ModuleList([block])}))
    kinds = {name: type(module).__name__ for name, module in block.items()}
    assert kinds == {"to_gate_logits": "Linear", "odd": "Linear", "to_q": "Fp8Linear"}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("takes", [False, True])
def test_norms_and_gates_make_what_their_readers_take(draw, reader, monkeypatch, fused, takes):
    for module in (norm, heads):
        monkeypatch.setattr(module, "can_fuse", lambda x: fused)
    reader.takes = takes
    x, update, vector = (draw(*shape, dtype=torch.bfloat16) for shape in ((2, 3, 32), (2, 3, 32), (1, 32)))
    vector = TokenVector(vector, None)
    of_reader, of_nobody = Norm(vector, vector, reader), Norm(vector, vector)
    _, pair = norm.residual_norm(x.clone(), update, None, (of_reader, of_reader), 1e-6)
    for made in (norm.modulated_norm(x, of_reader, 1e-6), norm.modulate(x, of_reader), *pair):
        assert (made.rows is not None) == takes
        if takes:
            assert_within_steps(made.rows, made.tensor)
            assert made.rows.shape == x.shape and made.rows.dtype == x.dtype
    assert norm.modulated_norm(x, of_nobody, 1e-6).rows is None
    gated = gate_heads([x.unflatten(-1, (2, 16)).transpose(1, 2)], draw(2, 3, 2, dtype=torch.bfloat16), reader)
    assert isinstance(gated, fp8.Fp8Rows) == (takes and fused)
    assert gated.shape == x.shape and gated.dtype == x.dtype
