"""LoRA files: what they hold, and which fit a model."""

import math

import pytest
import torch

from ltx_duo.ltx_core.errors import CheckpointError, VariantError
from ltx_duo.ltx_core.generation import Generation
from ltx_duo.ltx_core.lora import LoRA, lora_deltas
from ltx_duo.tests.ltx_core.lora.scene import LAYERS, expected_delta

ONE = torch.tensor(1.0)


class TestOpen:
    def test_official_layout(self, write):
        lora = LoRA.open(write())
        assert lora.target_names() == [f"blocks.{name}" for name in sorted(LAYERS)]
        assert lora.ranks() == {f"blocks.{name}": rank for name, (_, _, rank) in LAYERS.items()}
        assert lora.layers["blocks.to_q"].shape == (512, 400)
        assert lora.reference is None
        assert all(scale == 1 for _, _, scale in lora.factors().values())

    @pytest.mark.parametrize(
        "prefix", ["", "diffusion_model.", "model.diffusion_model.", "diffusion_model.diffusion_model."]
    )
    def test_prefixes(self, write, prefix):
        assert LoRA.open(write(prefix=prefix + "blocks.")).target_names() == [f"blocks.{n}" for n in sorted(LAYERS)]

    def test_down_up_with_alpha(self, write):
        lora = LoRA.open(write(style="downup", alpha=64.0))
        assert {name: scale for name, (_, _, scale) in lora.factors().items()} == {
            f"blocks.{name}": 64 / rank for name, (_, _, rank) in LAYERS.items()
        }

    @pytest.mark.parametrize("text", ["1", "2", "1.0", "", "two", "-1", "nan", "x" * 999])
    @pytest.mark.parametrize("key", ["reference_downscale_factor", "reference_temporal_scale_factor"])
    def test_ic_lora_by_its_metadata(self, write, key, text):
        """Whatever stands there: it is not for us to judge."""
        reference = LoRA.open(write(**{key: text})).reference
        assert f"its metadata has {key}" in reference and repr(text[:40]) in reference

    @pytest.mark.parametrize(
        ("name", "reference"),
        [
            ("ltx-2.3-22b-ic-lora-deblur-0.9", True),
            ("LTX23_IC_LoRA", True),
            ("my iclora", True),
            ("magic-lora", False),
            ("ltx-2.3-22b-distilled-lora-384-1.1", False),
        ],
    )
    def test_ic_lora_by_its_name(self, write, name, reference):
        assert (LoRA.open(write(name=name)).reference is not None) == reference

    @pytest.mark.parametrize(
        ("name", "metadata", "generation"),
        [
            ("ltx-2-19b-lora-camera-control-dolly-left", {}, Generation.V2_0),
            ("ltx-2-19b-distilled-lora-384", {}, Generation.V2_0),
            ("LTX-2.0_style", {}, Generation.V2_0),
            ("ltx-2.3-22b-distilled-lora-384-1.1", {}, Generation.V2_3),
            ("ltx2.3_style_v2.0", {}, Generation.V2_3),
            ("LTX_2_3_style", {}, Generation.V2_3),
            ("style", {"model_version": "2.0.0"}, Generation.V2_0),
            ("style", {"model_version": "2.3.0"}, Generation.V2_3),
            ("ltx-2-19b-style", {"ss_base_model_version": "ltx2.3"}, Generation.V2_3),
            ("style", {"modelspec.architecture": "ltx-video-2.0/lora"}, Generation.V2_0),
            # What does not tell.
            ("ltx2_style", {}, None),
            ("ltx-2-style", {"ss_base_model_version": "ltx2"}, None),
            ("style", {"model_version": "1.0"}, None),
            ("ltx-20-steps", {}, None),
            ("ltxv-13b-0.9.8", {}, None),
        ],
    )
    def test_generation_that_it_was_made_for(self, write, name, metadata, generation):
        made_for = LoRA.open(write(name=name, **metadata)).made_for
        assert (made_for and made_for[0]) is generation

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
    @pytest.mark.parametrize("part", ["lora_A", "lora_B"])
    def test_factors_that_are_no_real_numbers(self, write, part, dtype):
        tensors = {"a.lora_A.weight": torch.ones(2, 4), "a.lora_B.weight": torch.ones(4, 2)}
        tensors[f"a.{part}.weight"] = tensors[f"a.{part}.weight"].to(dtype)
        with pytest.raises(CheckpointError, match=f"stores a.{part}.weight as .*; expected bf16"):
            LoRA.open(write(tensors))

    @pytest.mark.parametrize(("dtype", "good"), [(torch.int64, True), (torch.bool, False), (torch.complex64, False)])
    def test_alpha_may_be_a_whole_number(self, write, dtype, good):
        tensors = {"a.lora_A.weight": torch.ones(2, 4), "a.lora_B.weight": torch.ones(4, 2)}
        path = write(tensors | {"a.alpha": torch.tensor(1).to(dtype)})
        if good:
            assert LoRA.open(path).factors()["a"][2] == 0.5
        else:
            with pytest.raises(CheckpointError, match="stores a.alpha as"):
                LoRA.open(path)

    @pytest.mark.parametrize(
        ("tensors", "words"),
        [
            ({"a.weight": (2, 2)}, "not a LoRA that LTX Duo can use: it holds a.weight"),
            ({"a.lokr_w1": (2, 2)}, "has only a.lokr_w1 for the layer a, without lokr_w2_a, lokr_w2_b"),
            ({"a.hada_w1_a": (2, 2)}, "without hada_w1_b, hada_w2_a, hada_w2_b"),
            (
                {"a.lokr_w1": (2, 2), "a.lokr_w2_a": (4, 2), "a.lokr_w2_b": (3, 4)},
                "lokr_w2_a of shape (4, 2) and lokr_w2_b of shape (3, 4)",
            ),
            ({"a.dora_scale": (2,)}, "a kind of adapter that LTX Duo does not know (a.dora_scale)"),
            ({"a.oft_blocks": (2, 2, 2)}, "a kind of adapter that LTX Duo does not know (a.oft_blocks)"),
            ({}, "it is empty"),
            ({"a.lora_A.weight": (2, 4)}, "has only a.lora_A.weight for the layer a"),
            ({"a.lora_B.weight": (2, 4), "a.alpha": ()}, "has only a.alpha, a.lora_B.weight for the layer a"),
            ({"a.lora_A.weight": (2, 4), "a.lora_B.weight": (4, 3)}, "shapes (2, 4) and (4, 3)"),
            ({"a.lora_A.weight": (0, 4), "a.lora_B.weight": (4, 0)}, "shapes (0, 4) and (4, 0)"),
            ({"a.lora_A.weight": (2, 4, 1, 1), "a.lora_B.weight": (4, 2, 3, 3)}, "of a Linear layer"),
            ({"a.lora_A.weight": (2, 4), "a.lora_B.weight": (4, 2), "a.alpha": (2,)}, "several numbers as alpha of a"),
            (
                {"a.lora_A.weight": (2, 4), "a.lora_B.weight": (4, 2), "diffusion_model.a.lora_down.weight": (2, 4)},
                "changes the layer a twice",
            ),
        ],
    )
    def test_what_is_no_lora(self, write, tensors, words):
        path = write({name: torch.zeros(shape) for name, shape in tensors.items()})
        with pytest.raises(CheckpointError) as error:
            LoRA.open(path)
        assert words in str(error.value)
        assert str(path) in str(error.value)

    @pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight", "alpha"])
    def test_nan(self, write, part):
        tensors = {"a.lora_A.weight": torch.ones(2, 4), "a.lora_B.weight": torch.ones(4, 2), "a.alpha": torch.ones(())}
        tensors[f"a.{part}"] = torch.full_like(tensors[f"a.{part}"], math.nan)
        with pytest.raises(CheckpointError, match="holds NaN"):
            LoRA.open(write(tensors)).factors()


class TestCheck:
    SHAPES = {f"blocks.{name}.weight": shape[:2] for name, shape in LAYERS.items()}

    def test_fits(self, write):
        LoRA.open(write()).check(self.SHAPES)

    def test_another_model(self, write):
        lora = LoRA.open(write())
        shapes = dict(self.SHAPES)
        del shapes["blocks.gate.weight"]
        shapes["blocks.to_q.weight"] = (640, 400)
        with pytest.raises(VariantError) as error:
            lora.check(shapes, "model.safetensors")
        message = str(error.value)
        assert "is a LoRA of another model than model.safetensors: of its 4 layers" in message
        assert "1 do not exist there (such as blocks.gate)" in message
        assert "1 have another size (such as blocks.to_q (512x400 instead of 640x400))" in message

    def test_what_is_not_there_is_listed_and_does_not_reject_the_rest(self, write, rng):
        """Also convolutions, and what belongs to other models and to text encoders."""
        more = {
            "diffusion_model.transformer_blocks.0.attn9.to_q": (4, 4),
            "diffusion_model.caption_projection.linear_1": (4, 4),
            "text_embedding_projection.aggregate_embed": (4, 4),
            "lora_te1_text_model_encoder_layers_0_mlp_fc1": (4, 4),
            "diffusion_model.blocks.3.cross_attn.k_img": (4, 4),
            "diffusion_model.conv_in": (4, 4, 3, 3),
        }
        tensors = {}
        for layer, (out, width, rank) in LAYERS.items():
            tensors[f"diffusion_model.blocks.{layer}.lora_A.weight"] = torch.randn(rank, width, generator=rng)
            tensors[f"diffusion_model.blocks.{layer}.lora_B.weight"] = torch.randn(out, rank, generator=rng)
        for layer, (out, width, *kernel) in more.items():
            tensors[f"{layer}.lora_down.weight"] = torch.ones(2, width, *kernel)
            tensors[f"{layer}.lora_up.weight"] = torch.ones(out, 2, *(1 for _ in kernel))
        tensors |= {"diffusion_model.blocks.gate.reshape_weight": torch.ones(2), "steps": torch.ones(1)}
        lora = LoRA.open(write(tensors)).fitted(self.SHAPES)
        assert set(lora.layers) == {f"blocks.{name}" for name in LAYERS}
        listed = {unused.why: len(unused.keys) for unused in lora.unused}
        assert listed == {
            "of the text projection, over which no LoRA is laid": 2,
            "of a text encoder, over which no LoRA is laid": 2,
            "of Wan": 2,
            "of a kind of adapter that is not supported": 1,
            "that are no part of a LoRA": 1,
            "of layers that this model does not have": 2,
            "whose names are not LTX-2's": 4,
        }
        used = {key for layer in lora.layers.values() for key in layer.parts.values()}
        assert used | {key for unused in lora.unused for key in unused.keys} == set(tensors)

    @pytest.mark.parametrize(
        ("layers", "words"),
        [
            (["model.layers.1.mlp.gate_proj", "text_encoder.layers.0.self_attn.q_proj"], "is a text encoder's LoRA"),
            (["lora_te_model_layers_0_self_attn_q_proj"], "is a text encoder's LoRA"),
            (["diffusion_model.blocks.0.self_attn.q"], "is a LoRA of Wan, not of LTX-2"),
            (["lora_unet_blocks_0_cross_attn_k"], "is a LoRA of Wan, not of LTX-2"),
            (
                ["transformer.single_transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.attn.to_q"],
                "Flux",
            ),
            (["diffusion_model.double_blocks.0.img_attn.qkv"], "is a LoRA of Flux or HunyuanVideo"),
            (["lora_unet_down_blocks_0_attentions_0_proj_in"], "is a LoRA of Stable Diffusion"),
            (["diffusion_model.layers.0.attention.qkv"], "is a LoRA of Z-Image"),
            (["vae.decoder.up_blocks.0.res_blocks.0.conv1.conv"], "is a VAE's LoRA"),
            (["decoder.up_blocks.0.res_blocks.0.conv1.conv", "encoder.conv_in"], "is a VAE's LoRA"),
            (["text_embedding_projection.video_aggregate_embed"], "nothing but the text projection"),
        ],
    )
    def test_what_is_for_something_else_says_for_what(self, write, layers, words):
        tensors = {f"{layer}.lora_{side}.weight": torch.ones(4, 4) for layer in layers for side in ("down", "up")}
        with pytest.raises(CheckpointError) as error:
            LoRA.open(write(tensors))
        assert words in str(error.value) and layers[0] in str(error.value)

    @pytest.mark.parametrize("part", ["oft_blocks", "boft_blocks", "a1.weight"])
    def test_another_adapter_with_an_alpha_does_not_reject_good_pairs(self, write, part):
        other = {f"transformer_blocks.0.attn1.to_q.{part}": torch.ones(2), "transformer_blocks.0.attn1.to_q.alpha": ONE}
        with pytest.raises(CheckpointError, match="a kind of adapter that LTX Duo does not know"):
            LoRA.open(write(other))
        pair = {f"proj_out.lora_{side}.weight": torch.ones(4, 4) for side in ("A", "B")}
        lora = LoRA.open(write(other | pair))
        assert lora.target_names() == ["proj_out"]
        [unused] = lora.unused
        assert unused.why == "of a kind of adapter that is not supported" and set(unused.keys) == set(other)

    def test_half_a_layer_of_something_else_does_not_reject_good_pairs(self, write):
        pair = {f"proj_out.lora_{side}.weight": torch.ones(4, 4) for side in ("A", "B")}
        lora = LoRA.open(write({**pair, "other.thing.lora_A.weight": torch.ones(4, 4)}))
        assert lora.target_names() == ["proj_out"] and lora.unused[0].keys == ("other.thing.lora_A.weight",)
        with pytest.raises(CheckpointError, match="has only transformer_blocks.0.attn1.to_q.lora_A.weight"):
            LoRA.open(write({**pair, "transformer_blocks.0.attn1.to_q.lora_A.weight": torch.ones(4, 4)}))

    def test_an_unknown_form_is_not_called_another_model(self, write):
        tensors = {f"dit.layer7.query.lora_{side}.weight": torch.ones(4, 4) for side in ("down", "up")}
        with pytest.raises(VariantError) as error:
            LoRA.open(write(tensors)).check(self.SHAPES, "model.safetensors")
        message = str(error.value)
        assert "dit.layer7.query" in message and "another key format" in message
        assert "another model" not in message and "damaged" not in message and "download" not in message

    @pytest.mark.parametrize(("count", "generation"), [(6, "LTX-2.0"), (9, "LTX-2.3")])
    def test_the_generation_by_shapes_is_said(self, write, count, generation):
        name = "transformer.time_embed.linear"
        pair = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8 * count, 2)}
        with pytest.raises(VariantError, match=f"It is for {generation} \\(adaln_single.linear makes {count} mod"):
            LoRA.open(write(pair)).check({"adaln_single.linear.weight": (8 * (15 - count), 8)})

    def test_ranks_of_the_official_size_give_the_published_size(self, official_tensors):
        shapes = official_tensors("transformer")
        linear = [shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2]
        assert len(linear) == 1660
        assert sum(2 * min(384, *shape) * sum(shape) for shape in linear) == pytest.approx(7.605e9, rel=1e-3)


def test_deltas(write):
    lora = LoRA.open(write(alpha=2.0))
    deltas = dict(lora_deltas(lora, 0.5))
    assert set(deltas) == {f"blocks.{name}.weight" for name in LAYERS}
    for name, (out, width, rank) in LAYERS.items():
        delta = deltas[f"blocks.{name}.weight"]
        assert (delta.shape, delta.dtype) == ((out, width), torch.float32)
        torch.testing.assert_close(delta, expected_delta(lora, name, 0.5 * 2 / rank))
