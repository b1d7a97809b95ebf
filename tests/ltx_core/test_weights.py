"""Strict loading, the check for NaN, and the audio VAE's latent statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ltx_duo.ltx_core.checkpoint import Checkpoint, Component
from ltx_duo.ltx_core.errors import CheckpointError
from ltx_duo.ltx_core.weights import backfill_audio_statistics, check_finite, load_module

MEAN, STD = "per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means"
SOURCE = {"source": "some/file.safetensors", "component": Component.VOCODER}


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.second = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
        self.register_buffer("table", torch.zeros(5))


def weights() -> dict[str, torch.Tensor]:
    return {name: torch.randn(tensor.shape) for name, tensor in Small().state_dict().items()}


class TestLoad:
    def test_tensors_are_taken_over_as_they_are(self):
        state = weights()
        state["table"] = state["table"].double()
        state["first.weight"] = state["first.weight"].bfloat16()
        with torch.device("meta"):
            module = Small()
        assert load_module(module, state, **SOURCE) is module
        for name, tensor in module.state_dict().items():
            assert tensor.dtype == state[name].dtype
            assert tensor.data_ptr() == state[name].data_ptr()

    def test_dtype_converts_numbers_only(self):
        state = weights()
        state["table"] = torch.arange(5)
        module = load_module(Small(), state, **SOURCE, dtype=torch.bfloat16)
        assert module.first.weight.dtype == torch.bfloat16
        assert module.table.dtype == torch.int64

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda s: s.pop("table"), "1 missing of 11 tensors (table)"),
            (lambda s: s.update(new=s["table"]), "1 unexpected (new)"),
            (lambda s: s.update(table=torch.zeros(6)), "1 of another shape (table is 6 instead of 5)"),
            (lambda s: s.update(table=torch.tensor(1.0)), "(table is a single number instead of 5)"),
            (lambda s: s.update({"first.weight": torch.zeros(2, 4)}), "(first.weight is 2x4 instead of 2x3)"),
            (lambda s: s.update({"a.b": s.pop("table")}), "1 missing of 11 tensors (table); 1 unexpected (a.b)"),
            (
                lambda s: [s.pop(name) for name in list(s) if name != "table"],
                "10 missing of 11 tensors (first.weight, first.bias, second.0.weight, second.0.bias, ...; "
                "by part: second 8, first 2)",
            ),
        ],
    )
    def test_what_does_not_fit_is_listed(self, change, words):
        state = weights()
        change(state)
        with pytest.raises(CheckpointError) as error:
            load_module(Small(), state, **SOURCE)
        assert words in str(error.value)
        assert "The vocoder in some/file.safetensors does not fit" in str(error.value)

    def test_nothing_is_loaded_when_something_is_wrong(self):
        module, state = Small(), weights()
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        state["second.3.bias"][1] = math.nan
        with pytest.raises(CheckpointError, match=r"second\.3\.bias in some/file\.safetensors holds NaN"):
            load_module(module, state, **SOURCE)
        assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


class TestFinite:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("place", [0, 77, -1])
    def test_small_tensors_are_checked_wholly(self, dtype, place):
        tensor = torch.randn(300)
        check_finite({"w": tensor.to(dtype)}, "file")
        tensor[place] = math.nan
        with pytest.raises(CheckpointError, match="Weight w in file holds NaN"):
            check_finite({"w": tensor.to(dtype)}, "file")

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_infinity(self, value):
        with pytest.raises(CheckpointError):
            check_finite({"w": torch.tensor([[0.0, value]], dtype=torch.bfloat16)}, "file")

    @pytest.mark.parametrize("place", [0, -1])
    def test_large_tensors_at_both_ends(self, place):
        tensor = torch.zeros(1000, 1000)
        check_finite({"w": tensor}, "file")
        tensor[place, place] = math.nan
        with pytest.raises(CheckpointError):
            check_finite({"w": tensor}, "file")

    @pytest.mark.parametrize("start", [0, 3, 100_000, 300_001, 833_333])
    def test_a_damaged_sixth_of_a_large_tensor_is_found_wherever_it_lies(self, start):
        tensor = torch.zeros(1_000_000)
        tensor[start : start + 166_667] = math.nan
        with pytest.raises(CheckpointError):
            check_finite({"w": tensor}, "file")

    def test_large_tensors_are_not_read_wholly(self):
        seen = []

        class Watched(torch.Tensor):
            def float(self):
                seen.append(self.numel())
                return torch.zeros(1)

        check_finite({"w": torch.zeros(2**22).as_subclass(Watched)}, "file")
        assert sum(seen) == 16_384

    def test_what_holds_no_numbers_is_passed_over(self):
        check_finite({"a": torch.arange(3), "b": torch.empty(0), "c": torch.empty(9, device="meta")}, "file")

    def test_not_contiguous(self):
        tensor = torch.randn(4, 6)
        tensor[3, 1] = math.nan
        with pytest.raises(CheckpointError):
            check_finite({"w": tensor.T}, "file")


class TestStatistics:
    @given(st.sets(st.sampled_from([MEAN, STD, "latents_mean", "latents_std"])))
    def test_each_is_taken_from_its_other_name_and_none_is_overwritten(self, present):
        state = {name: torch.full((4,), float(i + 1)) for i, name in enumerate(sorted(present))}
        state["conv_in.conv.weight"] = torch.zeros(2)
        before = dict(state)
        if not (present & {MEAN, "latents_mean"} and present & {STD, "latents_std"}):
            with pytest.raises(CheckpointError, match="has no latent statistics"):
                backfill_audio_statistics(state)
            return
        filled = backfill_audio_statistics(state)
        assert state == before, "the caller's table was changed"
        assert set(filled) == {MEAN, STD, "latents_mean", "latents_std", "conv_in.conv.weight"}
        for name, other in ((MEAN, "latents_mean"), (STD, "latents_std")):
            assert filled[name] is state.get(name, state.get(other))
            assert filled[other] is state.get(other, state.get(name))

    @pytest.mark.parametrize("name", [MEAN, STD, "latents_mean", "latents_std"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
    def test_unusable_values(self, name, value):
        names = [MEAN, STD] if name.startswith("per") else ["latents_mean", "latents_std"]
        state = {n: torch.ones(4, dtype=torch.bfloat16) for n in names}
        state[name][2] = value
        if math.isfinite(value) and name in (MEAN, "latents_mean"):
            backfill_audio_statistics(state)
        else:
            with pytest.raises(CheckpointError, match="latent statistics .* hold .*; expected finite numbers"):
                backfill_audio_statistics(state)

    @pytest.fixture
    def file(self, tmp_path):
        def write(kind: str, statistics: dict[str, torch.Tensor]) -> Checkpoint:
            window = (3, 3, 3) if kind == "video" else (3, 3)
            tensors = {f"{side}.conv_in.conv.weight": torch.zeros(1, 1, *window) for side in ("encoder", "decoder")}
            save_file(tensors | statistics, tmp_path / "vae.safetensors")
            return Checkpoint.open(tmp_path / "vae.safetensors")

        return write

    @pytest.mark.parametrize("component", [Component.AUDIO_ENCODER, Component.AUDIO_DECODER])
    def test_an_audio_vae_file_with_the_other_names(self, file, component):
        checkpoint = file("audio", {"latents_mean": torch.full((4,), 0.5), "latents_std": torch.full((4,), 2.0)})
        state = checkpoint.state_dict(component)
        assert set(state) == {"conv_in.conv.weight", MEAN, STD} == set(checkpoint.tensors(component))
        assert state[MEAN].tolist() == [0.5] * 4
        assert state[STD].tolist() == [2.0] * 4

    def test_an_audio_vae_file_without(self, file):
        checkpoint = file("audio", {MEAN: torch.zeros(4)})
        with pytest.raises(CheckpointError) as error:
            checkpoint.state_dict(Component.AUDIO_DECODER)
        assert str(checkpoint.path) in str(error.value)
        assert f"{STD} or latents_std" in str(error.value)

    def test_a_video_vae_is_left_alone(self, file):
        checkpoint = file("video", {"latents_mean": torch.zeros(4), "latents_std": torch.ones(4)})
        assert set(checkpoint.state_dict(Component.VIDEO_DECODER)) == {"conv_in.conv.weight"}
